"""Waiting for a result that another part of the system brings about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Waiting:
    """The clock and the pauses of the smoke test, in seconds. `note` tells a person what it waits for."""

    clock: Callable[[], float]
    sleep: Callable[[float], object]
    note: Callable[[str], object]

    def until(
        self, attempt: Callable[[], T], is_done: Callable[[T], bool], what: str, *, seconds: float, pause: float
    ) -> T:
        """Try again until a result is the wanted one, for so many seconds, and return the last result."""
        ends = self.clock() + seconds
        if is_done(result := attempt()) or seconds <= 0:
            return result
        self.note(f"Waiting for {what}, up to {seconds:.0f} seconds …")
        while not is_done(result) and self.clock() < ends:
            self.sleep(pause)
            result = attempt()
        return result
