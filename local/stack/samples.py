"""The sample requests of events/ and the expected result of each."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVENTS = Path(__file__).parents[2] / "events"

# Signs the samples. It is public, so no deployment may use it.
SHARED_SECRET = "local-shared-secret"

# The token of the source `app`: the write key that Segment's libraries are given.
ACCESS_TOKEN = "local-access-token"


@dataclass(frozen=True)
class Sample:
    """A payload of events/ with its expected answer: the status, and the counts that are not 0.

    `requests` is the number of calls of Voucherify. With `voucherify_is_down` the stub answers them with 503.
    """

    title: str
    file: str
    status: int
    counts: dict[str, int]
    requests: int
    voucherify_is_down: bool = False

    @property
    def payload(self) -> dict[str, Any]:
        """Return API Gateway's proxy event."""
        payload: dict[str, Any] = json.loads((EVENTS / self.file).read_text("utf-8"))
        return payload


SAMPLES = (
    Sample("identify", "identify.json", 200, {"delivered": 1}, requests=1),
    Sample("track", "track.json", 200, {"delivered": 1}, requests=1),
    Sample("batch", "batch.json", 200, {"delivered": 3, "skipped": 1, "rejected": 1}, requests=3),
    Sample("library batch", "segment_library.json", 200, {"delivered": 3}, requests=3),
    Sample("deletion", "delete.json", 200, {"delivered": 1}, requests=1),
    Sample("wrong signature", "bad_signature.json", 401, {}, requests=0),
    Sample("unknown type", "unknown_type.json", 501, {"rejected": 1}, requests=0),
    Sample("no userId or anonymousId", "rejected.json", 400, {"rejected": 1}, requests=0),
    Sample("Voucherify is down", "identify.json", 202, {"queued": 1}, requests=1, voucherify_is_down=True),
)


def sign(body: bytes, secret: str = SHARED_SECRET) -> str:
    """Return `X-Signature` as Segment makes it: hex HMAC-SHA1."""
    return hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()
