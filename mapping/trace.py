"""A record of one event's mapping: what was left out and, for an explanation, what filled which field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from mapping.values import to_json_value


class LeftOut(NamedTuple):
    """A value that could not be made valid, by its places in the event and in the request. Never the value."""

    source: str
    destination: str
    reason: str

    def __str__(self) -> str:
        source = f" (from {self.source})" if self.source else ""
        return f"{self.destination}{source}: {self.reason}"


class Filled(NamedTuple):
    """A field of the request, filled by a source of the mapping or, as a fallback, by a field of the event.

    `found_at` is the place in the event with the event's own casing; `given` is the value there, `value` the one sent.
    """

    destination: str
    source: str
    found_at: str
    given: Any
    value: Any
    is_fallback: bool = False

    @property
    def is_converted(self) -> bool:
        """Whether the value differs from the event's; `1`, `1.0` and `true` are three values."""
        return type(self.given) is not type(self.value) or self.given != self.value


class MappingTrace:
    """Records what was left out. One that `is_full` records the rest as well, which takes time.

    `filled` are the fields of the request, `unused` those that were filled and then not sent, with the reason. `empty`
    are the rows, by source and destination, whose source had no value.
    """

    __slots__ = ("empty", "filled", "is_full", "left_out", "unused")

    def __init__(self, *, is_full: bool = False) -> None:
        self.is_full = is_full
        self.left_out: list[LeftOut] = []
        self.filled: list[Filled] = []
        self.unused: list[tuple[Filled, str]] = []
        self.empty: list[tuple[str, str]] = []

    def leave_out(self, source: str, destination: str, reason: str) -> None:
        self.left_out.append(LeftOut(source, destination, reason))

    def record_empty(self, source: str, destination: str) -> None:
        if self.is_full:
            self.empty.append((source, destination))

    def record_filled(self, filled: Filled) -> None:
        """Record a field, which replaces an earlier one at its place unless both are objects and merge."""
        if not self.is_full:
            return
        for earlier in self.filled[:]:
            if earlier.destination == filled.destination:
                merges = isinstance(earlier.value, dict) and isinstance(filled.value, dict)
            else:
                merges = isinstance(filled.value, dict) or not earlier.destination.startswith(f"{filled.destination}.")
            if not merges:
                self._withdraw(earlier, f"replaced by {filled.source}")
        # A copy, since a later row may merge into the value.
        self.filled.append(filled._replace(value=to_json_value(filled.value)))

    def replace(self, destination: str, value: Any) -> None:
        """Record that another value is sent at a place: what its request makes of the one that the row gave."""
        self.filled = [
            filled._replace(value=to_json_value(value)) if filled.destination == destination else filled
            for filled in self.filled
        ]

    def withdraw(self, destination: str, reason: str) -> Filled | None:
        """Record that the fields at a place and below it are not sent, and return the last of them."""
        withdrawn = [filled for filled in self.filled if f"{filled.destination}.".startswith(f"{destination}.")]
        for filled in withdrawn:
            self._withdraw(filled, reason)
        return withdrawn[-1] if withdrawn else None

    def places_of_fallbacks(self) -> Iterator[str]:
        """Yield the places in the event that filled fields without a row, such as both parts of a name."""
        for filled in self.filled:
            if filled.is_fallback:
                yield from filled.found_at.split(" and ")

    def _withdraw(self, filled: Filled, reason: str) -> None:
        self.filled.remove(filled)
        self.unused.append((filled, reason))
