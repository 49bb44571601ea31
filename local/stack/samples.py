"""The sample requests of events/ and what must become of each."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parents[2] / "events"

# What signs the samples. Known to the world: never a deployment's.
SHARED_SECRET = "local-shared-secret"

# The token of the source `app`, and so the write key of Segment's libraries.
ACCESS_TOKEN = "local-access-token"


@dataclass(frozen=True)
class Sample:
    """A payload of events/ with the answer it must get: the status, and the counts that are not 0.

    `requests` is how many calls of Voucherify it takes. With `voucherify_is_down` those are answered 503, which only
    the stub can be asked to do.
    """

    title: str
    file: str
    status: int
    counts: dict[str, int]
    requests: int
    voucherify_is_down: bool = False

    @property
    def payload(self) -> dict[str, Any]:
        """API Gateway's proxy event."""
        payload: dict[str, Any] = json.loads((EVENTS / self.file).read_text("utf-8"))
        return payload


SAMPLES = (
    Sample("identify", "identify.json", 200, {"delivered": 1}, requests=1),
    Sample("track", "track.json", 200, {"delivered": 1}, requests=1),
    Sample("a batch, one event of it rejected", "batch.json", 200, {"delivered": 3, "skipped": 1, "rejected": 1}, 3),
    Sample("a batch of one of Segment's own libraries", "segment_library.json", 200, {"delivered": 3}, requests=3),
    Sample("a deletion, of another source", "delete.json", 200, {"delivered": 1}, requests=1),
    Sample("a wrong signature", "bad_signature.json", 401, {}, requests=0),
    Sample("a type that nobody knows", "unknown_type.json", 501, {"rejected": 1}, requests=0),
    Sample("an event of nobody", "rejected.json", 400, {"rejected": 1}, requests=0),
    Sample("Voucherify is down", "identify.json", 202, {"queued": 1}, requests=1, voucherify_is_down=True),
)


def sign(body: bytes, secret: str = SHARED_SECRET) -> str:
    """`X-Signature` as Segment makes it: hex HMAC-SHA1."""
    return hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
