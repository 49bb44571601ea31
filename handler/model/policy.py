"""A source's choices for its events: the mapping, and two decisions where a duplicate and a loss are both possible."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mapping import EventMapping


class AmbiguousTrack(StrEnum):
    """The setting `ambiguousTrack`: the action for a track event that Voucherify may have applied without an answer."""

    RETRY = "retry"
    DEAD_LETTER = "deadLetter"


class UnguardedTrack(StrEnum):
    """The setting `unguardedTrack`: the action for a track event while its idempotency record cannot be read."""

    QUEUE = "queue"
    DELIVER = "deliver"


class StaleAttributesAction(StrEnum):
    """The setting `staleAttributes`: the action for an attribute that a newer event has set since."""

    DROP = "drop"
    SEND = "send"


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    mapping: EventMapping
    ambiguous_track: AmbiguousTrack
    unguarded_track: UnguardedTrack
    stale_attributes: StaleAttributesAction = StaleAttributesAction.DROP
