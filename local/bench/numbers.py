"""The bench's own arithmetic: repeated measurements, taken in turns with their floor, and straight lines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Measurements of one thing, in their order."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median; 0 of fewer than three."""
        if len(self.values) < 3:
            return 0.0
        lower, _, upper = statistics.quantiles(self.values, n=4)
        return (upper - lower) / 2 / self.median

    def over(self, floor: Series) -> float:
        """How many times its floor it is: the median of the ratios, each of two neighbours in time."""
        return statistics.median(own / other for own, other in zip(self.values, cycle(floor.values), strict=False))


def constant(value: float) -> Series:
    """A floor that is computed and not measured."""
    return Series((value,))


def interleaved(rounds: int, *measures: Callable[[], float]) -> list[Series]:
    """Each measure in its turn, round after round, so that whatever slows the machine slows them all.

    A round before the first one warms up and is forgotten.
    """
    taken = [[measure() for measure in measures] for _ in range(rounds + 1)][1:]
    return [Series(values) for values in zip(*taken, strict=True)]


def cpu_of_one(action: Callable[[], object], times: int) -> Callable[[], float]:
    """Measures this process's CPU seconds for one of so many repetitions, and of no other process."""

    def measure() -> float:
        started = time.process_time()
        for _ in range(times):
            action()
        return (time.process_time() - started) / times

    return measure


@dataclass(frozen=True)
class Line:
    """A straight line: what is fixed, and what each unit adds."""

    fixed: float
    each: float

    @classmethod
    def through(cls, points: Sequence[Point]) -> Line:
        """The line with the least squares of relative deviations, so that small sizes count as much as large ones."""
        weights = [y**-2 for _, y in points]
        weight = sum(weights)
        x_mean = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / weight
        y_mean = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / weight
        covariance = sum(w * (x - x_mean) * (y - y_mean) for w, (x, y) in zip(weights, points, strict=True))
        each = covariance / sum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True))
        return cls(y_mean - each * x_mean, each)

    def at(self, x: float) -> float:
        return self.fixed + self.each * x

    def deviation(self, points: Sequence[Point]) -> float:
        """The largest distance of a point from the line, as a share of the point."""
        return max(abs(y - self.at(x)) / y for x, y in points)


def quantity(value: float, unit: str) -> str:
    """With three digits and the unit; seconds as `ms` or `µs` where they are few, bytes as `MB`."""
    scale: Sequence[tuple[float, str]] = [(1.0, unit)]
    if unit == "s":
        scale = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")]
    elif unit == "bytes":
        scale = [(1e6, "MB")]
    factor, name = next((step for step in scale if abs(value) >= step[0]), scale[-1])
    return f"{digits(value / factor)} {name}".rstrip()


def digits(number: float) -> str:
    """Three digits, or all of them where more stand before the point."""
    return f"{number:,.0f}" if abs(number) >= 99.95 else f"{number:#.3g}"
