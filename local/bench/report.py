"""The bench's results, and the table of what each part costs beside its floor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from local.bench.cold import ColdStart
from local.bench.cost import Cost
from local.bench.growth import Growth
from local.bench.load import BUDGET_SECONDS, Load
from local.bench.mapping import Mapped
from local.bench.memory import Artifact, Memory
from local.bench.numbers import Series, constant, quantity
from local.bench.warm import BATCH, Warm
from local.bench.world import CONCURRENCY

SMALLEST = 128e6


@dataclass(frozen=True)
class Results:
    """Everything that was measured.

    `cold` is None where the emulator does not run; a quick run has no `costs` and no `growths`.
    """

    cold: ColdStart | None
    identify: Warm
    track: Warm
    guarded_track: Warm
    batched: Warm
    mapped: Mapped
    thousand: Load
    half_stored: Load
    worked_off: Load
    memory: Memory
    artifact: Artifact
    costs: Sequence[Cost]
    growths: Sequence[Growth]


@dataclass(frozen=True)
class Row:
    """One measurement beside its floor, and what is aimed at."""

    what: str
    floor_is: str
    unit: str
    ours: Series
    floor: Series | None
    aim: str = ""
    is_met: bool | None = None

    @property
    def cells(self) -> list[str]:
        spread = max(series.spread for series in (self.ours, self.floor) if series)
        return [
            self.what,
            quantity(self.ours.median, self.unit),
            self.floor_is,
            quantity(self.floor.median, self.unit) if self.floor else "",
            f"{self.ours.over(self.floor):.2f}" if self.floor else "",
            self.aim,
            {True: "met", False: "missed", None: ""}[self.is_met],
            f"{spread:.0%}" if spread else "",
        ]


HEADER = ("what", "measured", "floor", "measured", "ratio", "aim", "", "±")


def rows(results: Results) -> list[Row]:
    """Every measurement beside its floor."""
    found: list[Row] = []
    if results.cold:
        found.append(_beside_minimal("cold start: process start to first answer", results.cold, 1.25))
    mapped, memory = results.mapped, results.memory
    half, ideal = results.half_stored, constant(1_000 * 0.05 / CONCURRENCY)
    half_stored = f"4,000 events in one request: {half.delivered:,} delivered, {half.queued:,} stored"
    return [
        *found,
        _beside_minimal("warm identify: CPU", results.identify, 1.25),
        _beside_minimal("warm track, no ledger: CPU", results.track, 1.25),
        _beside_minimal("warm track with its ledger: CPU", results.guarded_track, 1.25),
        _beside_minimal(f"warm identify, one of {BATCH} in a request: CPU", results.batched),
        _times("mapping: event to body", "plain code", mapped.ours, mapped.floor, 2),
        _times("mapping: event to bytes", "plain code", mapped.to_json, mapped.floor_to_json, 2),
        _times("mapping: event to body", "12 naive look-ups", mapped.ours, mapped.look_ups),
        _times("1,000 events in one request, 50 ms a call", "16 calls at a time", results.thousand.wall, ideal, 1.1),
        _times(half_stored, "the budget", constant(max(half.wall.values)), constant(BUDGET_SECONDS), 1),
        _times("worker: 1,000 messages, 50 ms a call", "16 calls at a time", results.worked_off.wall, ideal, 1.15),
        _more("memory: identifies, 100 a request", memory.identifies, memory.floor, 25e6),
        _more("memory: the same, some of them tracks", memory.with_tracks, memory.floor, 25e6),
        _more("memory: identifies, 4,000 a request", memory.large_requests, memory.floor),
        _at_most("artifact: zip", results.artifact.zipped, 1.5e6),
        Row("artifact: unpacked", "", "bytes", constant(results.artifact.unpacked), None),
    ]


def _times(what: str, floor_is: str, ours: Series, floor: Series, most: float | None = None) -> Row:
    if most is None:
        return Row(what, floor_is, "s", ours, floor)
    return Row(what, floor_is, "s", ours, floor, f"≤ {most:.3g}", ours.over(floor) <= most)


def _beside_minimal(what: str, measured: ColdStart | Warm, most: float | None = None) -> Row:
    return _times(what, "the minimal handler", measured.ours, measured.floor, most)


def _more(what: str, ours: Series, floor: Series, more: float = math.inf) -> Row:
    """Memory beside its floor: so much more at most, and within the smallest size that Lambda has."""
    is_met = ours.median <= min(floor.median + more, SMALLEST)
    aims = [f"≤ + {quantity(more, 'bytes')}"] * math.isfinite(more) + [f"≤ {quantity(SMALLEST, 'bytes')}"]
    return Row(what, "boto3, one client", "bytes", ours, floor, ", ".join(aims), is_met)


def _at_most(what: str, size: float, most: float) -> Row:
    return Row(what, "", "bytes", constant(size), None, f"≤ {quantity(most, 'bytes')}", size <= most)


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of Markdown whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(header, *lines, strict=True)]
    rule = ["-" * max(3, width) for width in widths]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(f"{cell:{len(dash)}}" for cell, dash in zip(cells, rule, strict=True)) + " |"

    return "\n".join(map(line, (header, rule, *lines)))


def main_table(results: Results) -> str:
    return table(HEADER, [row.cells for row in rows(results)])
