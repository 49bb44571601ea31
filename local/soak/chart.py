"""A chart of block characters: how long a queue was over time."""

from __future__ import annotations

import math
from collections.abc import Sequence

_BLOCKS = " ▁▂▃▄▅▆▇█"

Point = tuple[float, int]


def chart(points: Sequence[Point], *, logarithmic: bool = False, width: int = 64, height: int = 6) -> list[str]:
    """Lines of text: the longest that the queue was in each column's time, and the axes.

    `points` are moments and lengths, in their order; `logarithmic` is the time, whose first second is one column.
    """
    if not points:
        return []
    start, seconds = points[0][0], max(points[-1][0] - points[0][0], 1.0)
    columns = _columns([(moment - start, length) for moment, length in points], seconds, width, logarithmic)
    most = max(*columns, 1)
    margin = len(f"{most:,}")
    lines = []
    for row in range(height, 0, -1):
        label = f"{most:,}" if row == height else "0" if row == 1 else ""
        lines.append(f"{label:>{margin}} ┤{''.join(_block(length / most * height - (row - 1)) for length in columns)}")
    return [*lines, f"{'':{margin}} └{_axis(seconds, width, logarithmic)}"]


def _columns(points: Sequence[Point], seconds: float, width: int, logarithmic: bool) -> list[int]:
    highest, last = [0] * width, [-1] * width
    for moment, length in points:
        column = _column(moment, seconds, width, logarithmic)
        highest[column], last[column] = max(highest[column], length), length
    for column in range(1, width):
        highest[column] = max(highest[column], last[column - 1])
        last[column] = last[column - 1] if last[column] < 0 else last[column]
    return highest


def _column(moment: float, seconds: float, width: int, logarithmic: bool) -> int:
    share = math.log(max(moment, 1.0)) / math.log(max(seconds, 2.0)) if logarithmic else moment / seconds
    return min(int(share * width), width - 1)


def _block(eighths_of: float) -> str:
    return _BLOCKS[min(8, max(0, math.ceil(eighths_of * 8)))]


def _axis(seconds: float, width: int, logarithmic: bool) -> str:
    marks = [1, 10, 60, 600, 3600, 6 * 3600, 86_400] if logarithmic else [seconds * part / 4 for part in range(4)]
    line = "─" * width
    for mark in marks:
        column = _column(mark, seconds, width, logarithmic)
        label = f"┴ {_duration(mark)} "
        if mark < seconds and column + len(label) <= width:
            line = line[:column] + label + line[column + len(label) :]
    return f"{line} {_duration(seconds)}"


def _duration(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds:.3g} s"
