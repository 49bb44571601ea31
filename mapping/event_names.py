"""Event names as settings have them: exact, or with `*` for any characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from mapping.values import MAX_EVENT_NAME

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class NamePattern:
    """An event name with `*` for any characters, or none. Matching takes time that is linear in the name."""

    prefix: str
    middle: tuple[str, ...]
    suffix: str

    @classmethod
    def of(cls, name: str) -> NamePattern:
        prefix, *middle, suffix = name.split("*")
        return cls(prefix, tuple(middle), suffix)

    def matches(self, name: str) -> bool:
        position, end = len(self.prefix), len(name) - len(self.suffix)
        if position > end or not (name.startswith(self.prefix) and name.endswith(self.suffix)):
            return False
        for part in self.middle:
            found = name.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class ByName(Generic[V]):
    """Values by event name. The exact name wins over the longest name with `*`, and that over `*` alone.

    Of two names of one length the first in the alphabet wins.
    """

    exact: Mapping[str, V]
    patterns: tuple[tuple[NamePattern, V], ...]

    @classmethod
    def of(cls, values: Mapping[str, V]) -> ByName[V]:
        longest_first = sorted((name for name in values if "*" in name), key=lambda name: (-len(name), name))
        return cls(dict(values), tuple((NamePattern.of(name), values[name]) for name in longest_first))

    def find(self, name: object) -> V | None:
        """Return the value for an event's name, or None. A name that is no text is matched by `*` alone."""
        if not isinstance(name, str):
            return self.exact.get("*")
        if name in self.exact:
            return self.exact[name]
        if len(name) > MAX_EVENT_NAME:  # Voucherify takes no longer names
            return None
        return next((value for pattern, value in self.patterns if pattern.matches(name)), None)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The names of the track events that pass; all events pass where there is no name."""

    names: ByName[str]

    @classmethod
    def of(cls, names: Iterable[str]) -> EventFilter:
        return cls(ByName.of({name: name for name in names}))

    def passes(self, name: object) -> bool:
        """Whether an event of this name passes. An event without a name passes no filter."""
        return not self.names.exact or (isinstance(name, str) and self.names.find(name) is not None)
