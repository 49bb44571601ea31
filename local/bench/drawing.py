"""Points and the straight lines nearest to them, as SVG; on logarithmic axes, which have room for 1 and 100,000."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from local.bench.numbers import Line, Point, quantity

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 40, 50

_COLOURS = ("#1f6feb", "#c2410c", "#15803d")
_STEPS = 48


class Axis:
    """Whole powers of ten around the values, on so many pixels from `start` to `end`."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low = math.floor(math.log10(min(values)))
        self._high = max(math.ceil(math.log10(max(values))), self._low + 1)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return round(self._start + share * (self._end - self._start), 1)

    @property
    def marks(self) -> list[float]:
        return [10.0**power for power in range(self._low, self._high + 1)]


def drawing(title: str, unit: str, curves: Mapping[str, Sequence[Point]]) -> str:
    """Points are sizes, in `unit`s, and seconds."""
    points = [point for curve in curves.values() for point in curve]
    x_axis = Axis([x for x, _ in points], LEFT, WIDTH - RIGHT)
    y_axis = Axis([y for _, y in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' role="img" font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(WIDTH / 2, 22, title, size=15),
        *_grid(x_axis, y_axis, unit),
    ]
    for number, (name, curve) in enumerate(curves.items()):
        radius = 3 + 3 * (len(curves) - 1 - number)  # the first ones larger, so that they show behind the later ones
        parts += _curve(curve, x_axis, y_axis, _COLOURS[number], radius)
        parts.append(_text(LEFT + 12, TOP + 18 + 18 * number, name, anchor="start", colour=_COLOURS[number]))
    return "\n".join([*parts, "</svg>", ""])


def _grid(x_axis: Axis, y_axis: Axis, unit: str) -> Iterator[str]:
    for mark in x_axis.marks:
        x = x_axis.at(mark)
        yield f'<path d="M{x} {TOP}V{HEIGHT - BOTTOM}" stroke="#e5e7eb"/>'
        yield _text(x, HEIGHT - BOTTOM + 18, f"{mark:,.0f}")
    for mark in y_axis.marks:
        y = y_axis.at(mark)
        yield f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>'
        yield _text(LEFT - 8, y + 4, re.sub(r"\.0+", "", quantity(mark, "s")), anchor="end")
    yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, f"{unit}s")


def _curve(points: Sequence[Point], x_axis: Axis, y_axis: Axis, colour: str, radius: int) -> Iterator[str]:
    line = Line.through(points)
    first, last = points[0][0], points[-1][0]
    sizes = [first * (last / first) ** (step / _STEPS) for step in range(_STEPS + 1)]
    places = " ".join(f"{x_axis.at(size)},{y_axis.at(line.at(size))}" for size in sizes if line.at(size) > 0)
    yield f'<polyline points="{places}" fill="none" stroke="{colour}"/>'
    for x, y in points:
        yield (
            f'<circle cx="{x_axis.at(x)}" cy="{y_axis.at(y)}" r="{radius}" fill="{colour}">'
            f"<title>{x:,.0f}: {quantity(y, 's')}</title></circle>"
        )


def _text(x: float, y: float, text: str, *, anchor: str = "middle", colour: str = "#111827", size: int = 12) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
