"""Waiting for a result that another part of the system brings about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Waiting:
    """The clock and the pauses of the smoke test, in seconds."""

    clock: Callable[[], float]
    sleep: Callable[[float], object]

    def until(self, attempt: Callable[[], T], is_done: Callable[[T], bool], *, seconds: float, pause: float) -> T:
        """Try again until a result is the wanted one, for so many seconds, and return the last result."""
        ends = self.clock() + seconds
        while not is_done(result := attempt()) and self.clock() < ends:
            self.sleep(pause)
        return result
