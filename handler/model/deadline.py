"""The moment until which a caller waits, as one value."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment `at` on a monotonic clock, in seconds."""

    at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(clock() + seconds, clock)

    @property
    def seconds_left(self) -> float:
        """The seconds until the deadline; below 0 once it has passed."""
        return self.at - self.clock()

    def later(self, seconds: float) -> Deadline:
        """Return the deadline `seconds` later; earlier where `seconds` is below 0."""
        return Deadline(self.at + seconds, self.clock)
