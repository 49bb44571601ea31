"""Errors of the mapping, and the parts of their messages. None of them holds a value of an event."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple


class RejectReason(StrEnum):
    """The reason code of an event that can never become a request."""

    INVALID_EVENT = "invalid_event"
    UNKNOWN_TYPE = "unknown_type"
    CUSTOMER_ID_MISSING = "customer_id_missing"
    PLACEHOLDER_ID = "placeholder_id"
    INVALID_CUSTOMER_ID = "invalid_customer_id"
    INVALID_EVENT_NAME = "invalid_event_name"
    ORDER_ID_MISSING = "order_id_missing"

    @property
    def stage(self) -> str:
        """The stage that rejects the event, for the failure record."""
        return "normalise" if self in (RejectReason.INVALID_EVENT, RejectReason.UNKNOWN_TYPE) else "map"


class InvalidEvent(Exception):
    """An event that can never become a Voucherify request: its sender, or its mapping, must change.

    `path` is the place in the event, `problem` is the message.
    """

    def __init__(self, code: RejectReason, path: str, problem: str) -> None:
        super().__init__(code, path, problem)
        self.code = code
        self.stage = code.stage
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class UnknownType(InvalidEvent):
    """The event's `type` is not one of Segment's calls."""

    def __init__(self) -> None:
        super().__init__(RejectReason.UNKNOWN_TYPE, "type", "type is not one of Segment's calls")


class Problem(NamedTuple):
    """What is wrong with a text, and where: `position` is the number of characters before that place."""

    text: str
    position: int | None = None


class Fault(NamedTuple):
    """One fault of one setting: the setting's name, the key inside it (may be empty), and what to write instead.

    `position` is the number of characters of the key before the faulty place, where there is one. `event` is the name
    of the event whose mapping has the key, in a setting that has mappings by event name.
    """

    setting: str
    key: str
    problem: str
    position: int | None = None
    event: str = ""

    def __str__(self) -> str:
        place = self.setting + "".join(f"[{name!r}]" for name in (self.event, self.key) if name)
        return f"{place}{'' if self.position is None else f', character {self.position + 1}'}: {self.problem}"


class InvalidMapping(Exception):
    """A mapping setting with all its faults: the operator must change it."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))
