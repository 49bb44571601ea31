"""`make bench`: measure each part beside its floor in the same run, and write docs/performance.md.

QUICK=1 repeats less, leaves out the growth and the costs, and writes nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

from handler import __version__
from local.bench import cost, warm
from local.bench.cold_start import ColdStart, build, cold_start, imports_section
from local.bench.environment import CONCURRENCY, in_own_process, servers
from local.bench.events import FIELDS
from local.bench.growth import growth_section
from local.bench.load import BATCH_SIZE, BUDGET_SECONDS, HALF_STORED_LATENCY, Load, one_request, worker
from local.bench.mapping import Mapped, mapping_beside_plain_code
from local.bench.memory import artifact_rows, memory_rows
from local.bench.numbers import quantity
from local.bench.report import Row, main_table, paragraph
from local.stack.emulator import is_possible

P = ParamSpec("P")
T = TypeVar("T")

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"
MINIMAL = "the minimal handler"

# The measurements depend on these.
_PACKAGES = ("boto3", "urllib3", "aws-lambda-powertools", "jmespath", "awslambdaric", "aws-sam-cli", "moto")


@dataclass(frozen=True)
class Effort:
    """The repetitions of each measurement."""

    cold: int
    warm: int
    idempotent: int
    batched: int
    mapping: int
    loads: int
    memory_events: int


FULL = Effort(cold=15, warm=100, idempotent=30, batched=30, mapping=30, loads=3, memory_events=10_000)
QUICK = Effort(cold=3, warm=25, idempotent=10, batched=10, mapping=10, loads=1, memory_events=1_000)

PROCESSES = 5


@dataclass(frozen=True)
class Results:
    """The rows of the main table, and the measurements that the document uses again.

    `cold` is None where the emulator does not run.
    """

    rows: Sequence[Row]
    cold: ColdStart | None
    mapped: Mapped
    half_stored: Load


def measure(effort: Effort, scratch: Path) -> Results:
    """Take all measurements of the main table, one after the other. Progress goes to stderr."""
    artifact = _step("sam build", build, scratch / "build")
    cold = _apart("cold start", cold_start, artifact, scratch, effort.cold) if is_possible() else None
    rows = (
        [Row.times("cold start: process start to first answer", cold.ours, MINIMAL, cold.floor, 1.25)] if cold else []
    )
    for what, measurement, rounds, times, most in (
        ("warm identify: CPU", warm.identify_beside_minimal, effort.warm, 40, 1.25),
        ("warm track without idempotency: CPU", warm.track_beside_minimal, effort.warm, 40, 1.25),
        ("warm track: CPU", warm.idempotent_track_beside_minimal, effort.idempotent, 10, 1.25),
        (
            f"warm identify, one of {warm.BATCH} in a request: CPU",
            warm.batched_identify_beside_minimal,
            effort.batched,
            3,
            None,
        ),
    ):
        ours, floor = _in_several(what, measurement, rounds, times)
        rows.append(Row.times(what, ours, MINIMAL, floor, most))
    mapped = _apart("mapping", mapping_beside_plain_code, effort.mapping, 1_000)
    thousand = _apart("1,000 events", one_request, 1_000, 50, effort.loads)
    half = _apart("4,000 events", one_request, 4_000, HALF_STORED_LATENCY, effort.loads, BUDGET_SECONDS)
    worked_off = _apart("worker", worker, 1_000, 50, effort.loads)
    half_stored = f"4,000 events in one request: {half.delivered:,} delivered, {half.queued:,} stored"
    parallel, ideal = f"{CONCURRENCY} calls at a time", (1_000 * 0.05 / CONCURRENCY,)
    rows += [
        Row.times("mapping: event to body", mapped.ours, "plain code", mapped.floor, 2),
        Row.times("mapping: event to bytes", mapped.to_json, "plain code", mapped.floor_to_json, 2),
        Row.times("mapping: event to body", mapped.ours, f"{len(FIELDS)} look-ups", mapped.look_ups),
        Row.times("1,000 events in one request, 50 ms a call", thousand.wall, parallel, ideal, 1.1),
        Row.times(half_stored, (max(half.wall),), "the budget", (BUDGET_SECONDS,), 1),
        Row.times("worker: 1,000 messages, 50 ms a call", worked_off.wall, parallel, ideal, 1.15),
        *_step("memory", lambda: list(memory_rows(effort.memory_events))),
        *artifact_rows(artifact),
    ]
    return Results(rows, cold, mapped, half)


def _apart(name: str, measurement: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return _step(name, lambda: in_own_process(measurement, *args, **kwargs))


def _in_several(name: str, measurement: Callable[[int, int], warm.Warm], rounds: int, times: int) -> warm.Warm:
    """Measure in several processes: the memory layout of a process, which is chance, changes such short times."""
    each = rounds // PROCESSES
    runs = _step(name, lambda: [in_own_process(measurement, each, times) for _ in range(PROCESSES)])
    ours, floor = (tuple(value for series in of_runs for value in series) for of_runs in zip(*runs, strict=True))
    return warm.Warm(ours, floor)


def _step(name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    started = time.monotonic()
    print(f"  {name} …", end="", file=sys.stderr, flush=True)
    result = work(*args, **kwargs)
    print(f" {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return result


def sections(results: Results, day: date) -> Iterator[str]:
    """Yield the document without the sections that take measurements of their own."""
    cores = f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    yield "# Performance"
    yield paragraph(
        """Written by `make bench`. Each part is measured beside its floor, which is the least that such work can cost
        on the same machine, in turns with it in the same run."""
    )
    yield paragraph(f"{day:%-d %B %Y}, version {__version__}, on {cores} with {python}, {packages}.")
    yield main_table(results.rows)
    yield paragraph(
        """The values are medians. ± is half the distance between the quartiles, of the measurement or of its floor,
        whichever is larger. A ratio is the median of the ratios of neighbours in time. The function has one core, of
        which Lambda gives a share below 1,769 MB. moto, SQS and the stub for Voucherify have the others. CPU is that of
        the function's process."""
    )
    yield "\n".join(map(paragraph, _explanations(results)))
    if results.cold:
        yield from imports_section(results.cold.imports)
    yield from cost.memory_sizes_section(results.half_stored)


def _explanations(results: Results) -> Iterator[str]:
    mapped, half_stored = results.mapped, results.half_stored
    yield """- *The minimal handler* is [minimal_handler.py](../local/bench/minimal_handler.py), the smallest function
        on the same libraries: it checks the signature, parses the JSON, calls Voucherify through a pool of urllib3, and
        writes one line with Powertools' Logger and one with its Metrics. For a track it writes to DynamoDB before and
        after the call. It validates no event, has no deadline and retries nothing."""
    yield """- *Cold start*: the artifact of `sam build` on Lambda's runtime client under its interface emulator, and
        the minimal handler with the same packages. Both read their settings from SSM in one call. Lambda's own packages
        are compiled, as they are there."""
    yield f"""- *Warm*: in {PROCESSES} processes each, since the memory layout of a process changes such short times.
        Of {warm.BATCH} identifies in a request both deliver {CONCURRENCY} at a time."""
    yield f"""- *Mapping*: an identify with all {len(FIELDS)} fields of the default mapping,
        {1 / median(mapped.ours):,.0f} a second. Plain code knows one casing, checks that values are text or numbers,
        and does not report the fields that it leaves out. The look-ups find the {len(FIELDS)} dotted paths and do
        nothing with the values. [decisions.md](decisions.md) says why the mapping is not nearer to its floor."""
    yield f"""- *1,000 events*, *worker*: where Voucherify's quota is unknown, one call goes before all others. The
        worker gets batches of {BATCH_SIZE}, one after the other."""
    yield f"""- *4,000 events*: the slowest time, {HALF_STORED_LATENCY} ms a call,
        {quantity(median(half_stored.cpu), "s")} of CPU."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, and nothing is written")
    is_quick = parser.parse_args().quick
    with servers(), tempfile.TemporaryDirectory() as scratch:
        results = measure(QUICK if is_quick else FULL, Path(scratch))
        print(main_table(results.rows))
        if is_quick:
            return
        growth = _step("growth", lambda: list(growth_section()))
        loads = {
            size: _apart(f"cost, {size} events a request", one_request, size, cost.LATENCY, 5) for size in cost.BATCHES
        }
    document = [*sections(results, datetime.now(UTC).date()), *growth, *cost.cost_section(loads)]
    DOCUMENT.write_text("\n\n".join(document) + "\n", "utf-8")
    print(f"written: {DOCUMENT}", file=sys.stderr)


if __name__ == "__main__":
    main()
