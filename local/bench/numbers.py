"""Repeated measurements, taken in turns with their floor, and how they are shown."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median, quantiles

# Measurements of one thing, in their order.
Series = tuple[float, ...]


def spread(values: Series) -> float:
    """Return half the distance between the quartiles as a share of the median; 0 for fewer than three values."""
    if len(values) < 3:
        return 0.0
    lower, _, upper = quantiles(values, n=4)
    return (upper - lower) / 2 / median(values)


def ratio(values: Series, floor: Series) -> float:
    """Return the median of the ratios to the floor, each of two neighbours in time."""
    return median(own / other for own, other in zip(values, cycle(floor), strict=False))


def interleaved(rounds: int, *measures: Callable[[], float]) -> list[Series]:
    """Take each measure in turn, round after round, so that other load on the machine slows all of them.

    The first round is a warm-up and is not counted.
    """
    rows = [[measure() for measure in measures] for _ in range(rounds + 1)]
    return list(zip(*rows[1:], strict=True))


def cpu_of_one(action: Callable[[], object], times: int) -> Callable[[], float]:
    """Return a measure of this process's CPU seconds for one of several repetitions."""

    def measure() -> float:
        started = time.process_time()
        for _ in range(times):
            action()
        return (time.process_time() - started) / times

    return measure


_SCALES: dict[str, Sequence[tuple[float, str]]] = {
    "s": [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")],
    "bytes": [(1e6, "MB")],
}


def quantity(value: float, unit: str) -> str:
    """Return seconds or bytes with three digits and a unit that fits; no digit before the point is left out."""
    scale = _SCALES[unit]
    factor, name = next((step for step in scale if abs(value) >= step[0]), scale[-1])
    number = value / factor
    return f"{number:,.0f} {name}" if abs(number) >= 99.95 else f"{number:#.3g} {name}"
