"""What happened while one event was mapped: what was left out, and, for an explanation, what filled which field."""

from __future__ import annotations

from typing import Any, NamedTuple


class LeftOut(NamedTuple):
    """A value that could not be made valid, by its places in the event and in the request. Never the value."""

    source: str
    destination: str
    reason: str

    def __str__(self) -> str:
        source = f" (from {self.source})" if self.source else ""
        return f"{self.destination}{source}: {self.reason}"


class Filled(NamedTuple):
    """A field of the request: by which source of the mapping, or by which field of the event as a fallback.

    `found_at` is the place in the event with its own casing; `given` is what stood there, `value` what became of it.
    """

    destination: str
    source: str
    found_at: str
    given: Any
    value: Any
    is_fallback: bool = False

    @property
    def is_converted(self) -> bool:
        """Whether the value is another than the event's; `1`, `1.0` and `true` are three."""
        return type(self.given) is not type(self.value) or self.given != self.value


class MappingTrace:
    """Keeps what was left out; one that `is_full` keeps what was filled too, which takes time.

    `empty` are the rows, by source and destination, whose source held nothing; `unused` is what was filled and then
    not sent, with the reason.
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

    def fill(self, filled: Filled) -> None:
        """A field has its value; what stood there before is replaced, unless both are objects and merge."""
        if not self.is_full:
            return
        for earlier in self.filled[:]:
            if earlier.destination == filled.destination:
                merges = isinstance(earlier.value, dict) and isinstance(filled.value, dict)
            else:
                merges = isinstance(filled.value, dict) or not earlier.destination.startswith(f"{filled.destination}.")
            if not merges:
                self._set_aside(earlier, f"replaced by {filled.source}")
        self.filled.append(filled)

    def set_aside(self, destination: str, reason: str) -> Filled | None:
        """What was filled at a place, or below it, is not sent after all; returns the last of it."""
        if not self.is_full:
            return None
        set_aside = [filled for filled in self.filled if f"{filled.destination}.".startswith(f"{destination}.")]
        for filled in set_aside:
            self._set_aside(filled, reason)
        return set_aside[-1] if set_aside else None

    def _set_aside(self, filled: Filled, reason: str) -> None:
        self.filled.remove(filled)
        self.unused.append((filled, reason))
