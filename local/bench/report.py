"""Tables in Markdown, and the main one: what each part costs beside its floor."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from local.bench.numbers import Series, quantity, ratio, spread

HEADER = ("what", "measured", "floor", "measured", "ratio", "aim", "", "±")


@dataclass(frozen=True)
class Row:
    """One measurement beside its floor, and its aim."""

    what: str
    unit: str
    ours: Series
    floor_is: str = ""
    floor: Series = ()
    aim: str = ""
    is_met: bool | None = None

    @classmethod
    def times(cls, what: str, ours: Series, floor_is: str, floor: Series, most: float | None = None) -> Self:
        """Return a row of seconds, whose aim is at most `most` times the floor."""
        if most is None:
            return cls(what, "s", ours, floor_is, floor)
        return cls(what, "s", ours, floor_is, floor, f"≤ {most:.3g}", ratio(ours, floor) <= most)

    @classmethod
    def size(cls, what: str, ours: Series, most: float, floor_is: str = "", floor: Series = ()) -> Self:
        """Return a row of bytes, whose aim is at most `most` of them."""
        return cls(what, "bytes", ours, floor_is, floor, f"≤ {quantity(most, 'bytes')}", median(ours) <= most)

    @property
    def cells(self) -> list[str]:
        widest = max(spread(self.ours), spread(self.floor))
        return [
            self.what,
            quantity(median(self.ours), self.unit),
            self.floor_is,
            quantity(median(self.floor), self.unit) if self.floor else "",
            f"{ratio(self.ours, self.floor):.2f}" if self.floor else "",
            self.aim,
            {True: "met", False: "missed", None: ""}[self.is_met],
            f"{widest:.0%}" if widest else "",
        ]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns."""
    widths = [max(3, *map(len, column)) for column in zip(header, *lines, strict=True)]
    rows = [header, ["-" * width for width in widths], *lines]
    return "\n".join(
        "| " + " | ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def main_table(rows: Sequence[Row]) -> str:
    return table(HEADER, [row.cells for row in rows])


def paragraph(text: str) -> str:
    """Return text in lines of the documents' width; a list item is indented."""
    indent = "  " if text.startswith("- ") else ""
    words = " ".join(text.split())
    return textwrap.fill(words, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
