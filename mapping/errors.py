"""What can go wrong in the mapping, by who must act on it.

MappingError
├── InvalidEvent          the sender: this event can never be delivered
│   ├── UnknownType       the sender: Segment has no such call
│   └── UnmappableEvent   the sender, or the mapping: no valid request can be made of it
└── InvalidMapping        the operator: a mapping setting has faults
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple


class MappingError(Exception):
    """Root of the errors of this package."""


class InvalidEvent(MappingError):
    """An event that can never become a Voucherify request.

    `stage` and `code` are those of the failure record, `path` names the place in the event, `problem` says what is
    wrong there. None of them holds a value of the event.
    """

    stage: ClassVar[str] = "normalise"

    def __init__(self, code: str, path: str, problem: str) -> None:
        super().__init__(code, path, problem)
        self.code = code
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path} {self.problem}" if self.path else self.problem


class UnknownType(InvalidEvent):
    """The event's `type` is none of Segment's calls."""

    def __init__(self) -> None:
        super().__init__("unknown_type", "type", "is none of Segment's calls")


class UnmappableEvent(InvalidEvent):
    """The event is one of Segment's, but no valid request to Voucherify can be made of it."""

    stage: ClassVar[str] = "map"


class Problem(NamedTuple):
    """What is wrong with a text, and where in it: the number of characters before that place."""

    text: str
    position: int | None = None


class Fault(NamedTuple):
    """One fault of one setting: the setting's name, the key inside it (may be empty), and what would be right.

    `position` is the number of characters of the key before the place that is wrong, where one can be named.
    """

    setting: str
    key: str
    problem: str
    position: int | None = None

    def __str__(self) -> str:
        place = f"{self.setting}[{self.key!r}]" if self.key else self.setting
        return f"{place}{'' if self.position is None else f', character {self.position + 1}'}: {self.problem}"


class InvalidMapping(MappingError):
    """A mapping setting with every fault it has."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "; ".join(map(str, self.faults))
