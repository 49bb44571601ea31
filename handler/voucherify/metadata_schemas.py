"""The metadata schemas of a Voucherify project, read after it has refused metadata and then kept.

https://docs.voucherify.io/api-reference/metadata-schemas/list-metadata-schemas
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass

from handler.model.deadline import Deadline
from handler.model.failure import OUT_OF_TIME, Failure
from handler.voucherify.client import Answer, Call, VoucherifyClient
from mapping import MetadataSchemas, Operation, Request

READ_SCHEMAS = Request(Operation.READ_METADATA_SCHEMAS, "GET", "/v1/metadata-schemas", None, "")

KEPT_SECONDS = 60 * 60.0

# Schemas change while a shop sets up its project. A refusal of metadata that fitted them reads them again, this often.
RECHECK_SECONDS = 10 * 60.0

# A schema has up to 100 definitions: https://docs.voucherify.io/prepare/metadata
_MAX_BYTES = 4 * 1024 * 1024


def read_schemas(
    client: VoucherifyClient, deadline: Deadline, call: Call | None = None
) -> tuple[Answer, MetadataSchemas]:
    """Return the answer with the schemas in it; none where it has none. Raises NoAnswer and GivenUp."""
    method, path = READ_SCHEMAS.method, READ_SCHEMAS.path
    response = client.exchange(method, path, None, deadline, is_idempotent=True, most_bytes=_MAX_BYTES, call=call)
    try:
        document = json.loads(response.body) if response.status == 200 else None
    except (ValueError, RecursionError):
        document = None
    return client.answer_in(response), MetadataSchemas.read(document)


def may_pass(answer: Answer) -> bool:
    """Whether an answer without schemas may be another one later.

    A 401 or a 404, for instance, is about this endpoint alone: the credentials and the URL have just been used.
    """
    return answer.status >= 500 or answer.status in (402, 408, 423, 425, 429)


@dataclass(frozen=True, slots=True)
class KnownSchemas:
    """Schemas, and why they could not be read, if so."""

    schemas: MetadataSchemas
    problem: str = ""


class SchemaCache:
    """The schemas of one project, in this execution environment. Thread-safe.

    `clock` returns epoch seconds: a monotonic clock may stand still while Lambda has frozen the execution environment.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._reading = threading.Lock()
        self._known: KnownSchemas | None = None
        self._read_at = 0.0

    def fit(self, request: Request) -> Request:
        """Return the request with metadata that fits the schemas, if they are known."""
        known = self._known_for(KEPT_SECONDS)
        return known.schemas.fit(request) if known else request

    def after_refusal(self, read: Callable[[], KnownSchemas | Failure], deadline: Deadline) -> KnownSchemas | Failure:
        """Return the schemas, read now unless they are known for a short time only, one call at a time.

        `read` returns them, or a failure that may pass, which is not kept. Raises what `read` raises.
        """
        if not self._reading.acquire(timeout=max(0.0, deadline.seconds_left)):
            return OUT_OF_TIME
        try:
            if known := self._known_for(RECHECK_SECONDS):
                return known
            found = read()
            if isinstance(found, KnownSchemas):
                self._known, self._read_at = found, self._clock()
            return found
        finally:
            self._reading.release()

    def _known_for(self, seconds: float) -> KnownSchemas | None:
        return self._known if self._clock() - self._read_at < seconds else None
