"""Until when somebody waits, as one value that is handed on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on a clock that only goes forward, in seconds."""

    at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        return cls(clock() + seconds, clock)

    @property
    def seconds_left(self) -> float:
        """Below 0 once it has passed."""
        return self.at - self.clock()

    def later(self, seconds: float) -> Deadline:
        """Return the deadline that is so many seconds later, or earlier where they are below 0."""
        return Deadline(self.at + seconds, self.clock)
