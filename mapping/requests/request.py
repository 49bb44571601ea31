"""The results of the mapping: a request to Voucherify, or a skip with its reason.

A request has no host and no credentials; `handler.voucherify.client` adds those.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from mapping.errors import InvalidEvent
from mapping.trace import LeftOut

_STRICT = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


class Operation(StrEnum):
    """The effect of a request in Voucherify."""

    UPSERT_CUSTOMER = "upsert_customer"
    TRACK_EVENT = "track_event"
    UPSERT_ORDER = "upsert_order"
    DELETE_CUSTOMER = "delete_customer"
    READ_METADATA_SCHEMAS = "read_metadata_schemas"


class Request(NamedTuple):
    """One call of Voucherify's API. `body` is a JSON object, or None for a deletion.

    `customer` is the customer's `source_id` or `id`: requests for one customer keep their order. `also` are the further
    requests of the same event, or why one of them cannot be made: an event is delivered when all are.
    """

    operation: Operation
    method: str
    path: str
    body: dict[str, Any] | None
    customer: str
    left_out: tuple[LeftOut, ...] = ()
    also: tuple[Request | InvalidEvent, ...] = ()

    @property
    def is_idempotent(self) -> bool:
        """Whether it can be sent twice without harm. A custom event may grant a reward each time."""
        return self.operation is not Operation.TRACK_EVENT

    def to_json(self) -> bytes | None:
        """Return the body as strict JSON in UTF-8. Half of a surrogate pair, which truncated text has, becomes `?`."""
        if self.body is None:
            return None
        return _STRICT.encode(self.body).encode("utf-8", "replace")


class SkipReason(StrEnum):
    """The reason code of an event that is not sent: `…_disabled` of each call, `…_not_supported` of other types."""

    OPTED_OUT = "opted_out"
    USER_ID_REQUIRED = "user_id_required"
    TRACK_EVENTS_FILTER = "track_events_filter"
    IDENTIFY_DISABLED = "identify_disabled"
    TRACK_DISABLED = "track_disabled"
    PAGE_DISABLED = "page_disabled"
    SCREEN_DISABLED = "screen_disabled"
    GROUP_DISABLED = "group_disabled"
    DELETE_DISABLED = "delete_disabled"
    ALIAS_NOT_SUPPORTED = "alias_not_supported"


@dataclass(frozen=True, slots=True)
class Skip:
    """An event that is not sent, because of a setting or because Voucherify has no such operation."""

    reason: SkipReason
