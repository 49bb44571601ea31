"""`make bench`: what each part costs beside its floor, measured in the same run; writes docs/performance.md.

QUICK repeats less, leaves out how cost grows, and writes nothing. Each measurement has a module, local/bench_*.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from local.bench.cold import build, cold_start
from local.bench.cost import BATCHES, LATENCY, Cost, costs
from local.bench.document import files
from local.bench.growth import Growth, of_backlogs, of_mappings, of_requests
from local.bench.load import BUDGET_SECONDS, HALF_STORED_LATENCY, one_request, worker
from local.bench.mapping import mapping_beside_plain_code
from local.bench.memory import artifact_size, memory
from local.bench.report import Results, main_table
from local.bench.warm import (
    Warm,
    batched_identify_beside_minimal,
    guarded_track_beside_minimal,
    identify_beside_minimal,
    joined,
    track_beside_minimal,
)
from local.bench.world import in_its_own_process, world
from local.stack.emulator import is_possible

P = ParamSpec("P")
T = TypeVar("T")

DOCS = Path(__file__).parents[2] / "docs"


@dataclass(frozen=True)
class Effort:
    """How often each is measured, and whether what only the document has is measured too."""

    cold: int
    warm: int
    guarded: int
    batched: int
    mapping: int
    loads: int
    memory_events: int
    for_document: bool


PROCESSES = 5

FULL = Effort(cold=15, warm=100, guarded=30, batched=30, mapping=30, loads=3, memory_events=10_000, for_document=True)
QUICK = Effort(cold=3, warm=25, guarded=10, batched=10, mapping=10, loads=1, memory_events=1_000, for_document=False)


def measure(effort: Effort) -> Results:
    """Everything, one after the other; what is under way is said on stderr."""
    with world(), tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        artifact = _step("sam build", build, scratch / "build")
        return Results(
            cold=_apart("cold start", cold_start, artifact, scratch, effort.cold) if is_possible() else None,
            identify=_in_several("warm identify", identify_beside_minimal, effort.warm, 40),
            track=_in_several("warm track", track_beside_minimal, effort.warm, 40),
            guarded_track=_in_several("warm track with its ledger", guarded_track_beside_minimal, effort.guarded, 10),
            batched=_in_several("warm identify in a batch", batched_identify_beside_minimal, effort.batched, 3),
            mapped=_apart("mapping", mapping_beside_plain_code, effort.mapping, 1_000),
            thousand=_apart("1,000 events", one_request, 1_000, 50, effort.loads),
            half_stored=_apart("4,000 events", one_request, 4_000, HALF_STORED_LATENCY, effort.loads, BUDGET_SECONDS),
            worked_off=_apart("worker", worker, 1_000, 50, effort.loads),
            memory=_apart("memory", memory, 1, effort.memory_events),
            artifact=artifact_size(artifact),
            costs=_costs() if effort.for_document else (),
            growths=_growths() if effort.for_document else (),
        )


def _costs() -> list[Cost]:
    return costs({size: _apart(f"cost, {size} a request", one_request, size, LATENCY, 5) for size in BATCHES})


def _growths() -> list[Growth]:
    return [
        _step("growth with the events of a request", of_requests),
        _step("growth with the fields of a mapping", of_mappings),
        _step("growth with the backlog", of_backlogs),
    ]


def _apart(name: str, measurement: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    return _step(name, lambda: in_its_own_process(measurement, *args, **kwargs))


def _in_several(name: str, measurement: Callable[[int, int], Warm], rounds: int, times: int) -> Warm:
    """Where the parts of a process come to lie in memory is its luck, and worth a fifth of such a short time."""
    each = rounds // PROCESSES
    return _step(name, lambda: joined([in_its_own_process(measurement, each, times) for _ in range(PROCESSES)]))


def _step(name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    started = time.monotonic()
    print(f"  {name} …", end="", file=sys.stderr, flush=True)
    result = work(*args, **kwargs)
    print(f" {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return result


def main() -> None:
    """Prints the table, and but for a quick run writes docs/."""
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, no growth, and nothing is written")
    effort = QUICK if parser.parse_args().quick else FULL
    results = measure(effort)
    print(main_table(results))
    if not effort.for_document:
        return
    for name, content in files(results, datetime.now(UTC).date()).items():
        (DOCS / name).write_text(content, "utf-8")
        print(f"written: docs/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
