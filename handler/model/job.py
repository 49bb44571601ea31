"""An event to deliver, and the outcome of it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from handler.model.failure import Failure
from mapping import LeftOut, message_id_of, time_of

# Segment's own message ids have 36 to 50 characters.
MAX_SHOWN_CHARACTERS = 200


class Job(NamedTuple):
    """A raw event to deliver.

    `stored_at` is the time at which it was first stored, `rejection` the failure of an event that must
    not be delivered. `is_routed`: Segment has chosen this destination for it. A stored event counts as routed, since it
    was stored after its `integrations` were checked.
    """

    event: Any
    stored_at: datetime | None = None
    rejection: Failure | None = None
    is_routed: bool = True

    @property
    def happened_at(self) -> datetime:
        """When the event happened; never later than it was stored, whatever its sender's clock says."""
        latest = self.stored_at or utc_now()
        return min(time_of(self.event) or latest, latest)


class DeliveryStatus(StrEnum):
    """The result of one event, in the words of the answer."""

    DELIVERED = "delivered"
    QUEUED = "queued"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Outcome(NamedTuple):
    """The result of one raw event, decided `at` a time in UTC.

    `failure` is the reason for `queued` and `rejected`, `skip_reason` that for `skipped`. `left_out` are the fields
    that could not be made valid. `without_deduplication`: the event was delivered while its idempotency record could
    not be read or written; `unordered`: nobody could say whether a newer event has set its attributes. `seconds` is the
    duration of the call.
    """

    event: Any
    status: DeliveryStatus
    at: datetime
    failure: Failure | None = None
    skip_reason: str = ""
    left_out: tuple[LeftOut, ...] = ()
    without_deduplication: bool = False
    unordered: bool = False
    seconds: float | None = None

    @property
    def message_id(self) -> str | None:
        """The messageId as answers and logs show it."""
        return shown_message_id(self.event)


def shown_message_id(event: object) -> str | None:
    """Return the messageId of a raw event, cut to the length that answers and logs show."""
    message_id = message_id_of(event)
    return message_id[:MAX_SHOWN_CHARACTERS] if message_id else message_id


def utc_now() -> datetime:
    return datetime.now(UTC)
