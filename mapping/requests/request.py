"""What the mapping returns: a request to Voucherify or the reason for sending none, as values.

A request knows no host and no credentials; `handler.voucherify.client` adds those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from mapping.trace import LeftOut

_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


class Operation(StrEnum):
    """What a request does in Voucherify."""

    UPSERT_CUSTOMER = "upsert_customer"
    TRACK_EVENT = "track_event"
    DELETE_CUSTOMER = "delete_customer"


class Request(NamedTuple):
    """One call of Voucherify's API: `method`, `path` and the JSON object `body`, which a deletion has not.

    `customer` is the customer's `source_id` or `id`: requests of one customer keep their order.
    """

    operation: Operation
    method: str
    path: str
    body: dict[str, Any] | None
    customer: str
    left_out: tuple[LeftOut, ...] = ()

    @property
    def is_idempotent(self) -> bool:
        """Whether sending it twice does no harm. A custom event may grant something each time."""
        return self.operation is not Operation.TRACK_EVENT

    def to_json(self) -> bytes | None:
        """The body as it leaves: strict JSON in UTF-8. Half of a surrogate pair, as cut text has it, becomes `?`."""
        if self.body is None:
            return None
        return _STRICT.encode(self.body).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Skip:
    """An event that a setting keeps from Voucherify, or that Voucherify has no operation for."""

    reason: str
