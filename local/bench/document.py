"""docs/performance.md and its drawings."""

from __future__ import annotations

import os
import platform
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version

from handler import __version__
from local.bench.cold import ColdStart
from local.bench.cost import LATENCY, MEMORY_SIZES, ONE_CPU_MB, PRICES, Cost, seconds_on_lambda
from local.bench.drawing import drawing
from local.bench.growth import Growth
from local.bench.load import BATCH_SIZE, BUDGET_SECONDS, HALF_STORED_LATENCY, Load
from local.bench.numbers import Line, quantity
from local.bench.report import Results, main_table, table
from local.bench.warm import BATCH
from local.bench.world import CONCURRENCY

# What the numbers depend on.
_PACKAGES = ("boto3", "urllib3", "aws-lambda-powertools", "jmespath", "awslambdaric", "aws-sam-cli", "moto")

_DEAR_IMPORTS = 10
_WIDTH = 120

# A share of the smallest size that a line does not begin with.
_NOTHING = 0.05


def files(results: Results, day: date) -> Mapping[str, str]:
    """What belongs into docs/, by name."""
    drawings = {_file_of(growth): drawing(growth.title, growth.unit, growth.curves) for growth in results.growths}
    return {"performance.md": "\n\n".join(_sections(results, day)) + "\n", **drawings}


def _file_of(growth: Growth) -> str:
    return f"performance-{growth.name}.svg"


def _sections(results: Results, day: date) -> Iterator[str]:
    yield "# Performance"
    yield _paragraph(
        """Written by `make bench`, with its drawings. What each part costs beside its floor: the least that such work
        can cost on the same machine, measured in turns with it in the same run."""
    )
    yield _conditions(day)
    yield main_table(results)
    yield from _explanations(results)
    if results.cold:
        yield from _imports(results.cold)
    yield from _growths(results.growths)
    yield from _memory_sizes(results.half_stored)
    yield from _costs(results.costs)


def _conditions(day: date) -> str:
    cores = f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return _paragraph(f"{day:%-d %B %Y}, version {__version__}, on {cores} with {python}, {packages}.")


def _explanations(results: Results) -> Iterator[str]:
    mapped = results.mapped
    yield _paragraph(
        """Medians; ± is half the distance between the quartiles, of the measurement or of its floor, whichever is
        more. A ratio is the median of the ratios of neighbours in time. The function has one core, of which Lambda
        gives a part below 1,769 MB; moto, SQS and the stub for Voucherify have the others. CPU is that of the
        function's process."""
    )
    yield "\n".join(
        map(
            _bullet,
            (
                """*The minimal handler* is [minimal_handler.py](../local/bench/minimal_handler.py), the least function
                on the same libraries: it checks the signature, parses the JSON, calls Voucherify over a kept pool of
                urllib3, writes one
                line by Powertools' Logger and one by its Metrics. A track it writes to DynamoDB before and
                after its call, by boto3. It checks no event, keeps to no deadline and tries nothing again.""",
                """*Cold start*: what `sam build` made, on Lambda's runtime client under its interface emulator; the
                minimal handler with the same packages beside it. It reads its settings from SSM in one call too.
                Lambda's own packages are compiled, as they are there.""",
                f"""*Warm*: each in several processes, since one has more luck than another with where its parts come
                to lie in memory. Of {BATCH} identifies in a request both deliver {CONCURRENCY} at a time.""",
                f"""*Mapping*: an identify with all twelve fields of the default mapping: {mapped.events_a_second:,.0f}
                a second. Plain code knows one casing, checks that values are text or numbers, and says nothing of
                what it leaves out. Naive look-ups find the twelve dotted paths and do nothing with what is there:
                {1 / mapped.look_ups.median:,.0f} events a second, {mapped.look_ups_a_second:,.0f} look-ups.
                [decisions.md](decisions.md) says why it is no nearer to its floor.""",
                f"""*1,000 events*, *worker*: where nothing is known of Voucherify's window, one call goes before all
                others. The worker gets batches of {BATCH_SIZE}, each of which ends before the next one begins.""",
                f"""*4,000 events*: the slowest time; {HALF_STORED_LATENCY} ms a call;
                {quantity(results.half_stored.cpu.median, "s")} of CPU.""",
            ),
        )
    )


def _imports(cold: ColdStart) -> Iterator[str]:
    packages = cold.by_package()
    total = sum(packages.values())
    yield "## What the first request waits for"
    yield _paragraph(
        f"""`python -X importtime` of `handler.app`, as it was built: {quantity(total, "s")}, which measuring itself
        makes longer. The ten costliest modules, and what each package's modules cost together. Clients of SQS and
        DynamoDB come with the first need."""
    )
    modules = [
        (f"`{found.name}`", quantity(found.own, "s"), quantity(found.cumulative, "s"))
        for found in cold.costliest(_DEAR_IMPORTS)
    ]
    yield table(("module", "itself", "with its imports"), modules)
    shares = [(name, quantity(seconds, "s"), f"{seconds / total:.0%}") for name, seconds in packages.items()]
    yield table(("package", "together", "of all"), shares[:_DEAR_IMPORTS])


def _growths(growths: Sequence[Growth]) -> Iterator[str]:
    yield "## How cost grows"
    yield _paragraph(
        """What was measured, and the nearest straight line: so much to begin with, and so much for each unit more. It
        looks bent at its beginning, since both axes are logarithmic."""
    )
    for growth in growths:
        yield f"![{growth.title}]({_file_of(growth)})"
        yield "\n".join(_curve(growth, name) for name in growth.curves)


def _curve(growth: Growth, name: str) -> str:
    points = growth.curves[name]
    line = Line.through(points)
    sizes = ", ".join(f"{size:,.0f}: {quantity(seconds, 's')}" for size, seconds in points)
    verdict = "A straight line" if growth.is_straight(name) else "**Not a straight line**; the nearest is"
    begins = f"{quantity(line.fixed, 's')} and " if line.fixed > points[0][1] * _NOTHING else ""
    return _bullet(
        f"""{name}: {sizes}. {verdict}: {begins}{quantity(line.each, "s")} for each {growth.unit}; no point is further
        from it than {line.deviation(points):.0%}."""
    )


def _memory_sizes(load: Load) -> Iterator[str]:
    cpu = load.cpu.median
    yield "## Which memory size"
    yield _paragraph(
        f"""The 4,000 events above take {quantity(cpu, "s")} of a core like this one. With {ONE_CPU_MB:,} MB Lambda
        gives a whole core, with less its part. Where that is not enough nothing is lost: fewer events are delivered at
        once, more are stored."""
    )
    lines = []
    for megabytes in MEMORY_SIZES:
        seconds = seconds_on_lambda(cpu, cpu, megabytes)
        is_enough = "yes" if seconds <= BUDGET_SECONDS else "no"
        lines.append((f"{megabytes:,} MB", f"{min(megabytes / ONE_CPU_MB, 1):.2f}", quantity(seconds, "s"), is_enough))
    yield table(("memory", "cores", "4,000 events", f"within {BUDGET_SECONDS:.0f} s"), lines)


def _costs(costs: Sequence[Cost]) -> Iterator[str]:
    yield "## What a million events cost"
    yield _paragraph(
        f"""In USD, by the events in a request; measured with {LATENCY} ms a call, with as much CPU as Lambda gives to
        {costs[0].memory_mb:,} MB. It is the part that this code decides: [cost.md](cost.md) has what comes on top,
        such as logs and traces."""
    )
    lines = [
        ["milliseconds of Lambda a request", *(f"{cost.seconds * 1000:.0f}" for cost in costs)],
        *([name, *(f"{cost.by_service[name]:.2f}" for cost in costs)] for name in costs[0].by_service),
        ["**identify**", *(f"**{cost.identifies:.2f}**" for cost in costs)],
        ["**track**, with the ledger's two writes", *(f"**{cost.tracks:.2f}**" for cost in costs)],
    ]
    yield table(("USD a million events", *(str(cost.batch) for cost in costs)), lines)
    yield "\n".join(
        f"- {price.usd * 1e6:,.6g} USD a million: {price.each}, [read]({price.source}) on {price.read_on}"
        for price in PRICES
    )


def _paragraph(text: str) -> str:
    """In lines of the documents' width."""
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def _bullet(text: str) -> str:
    return _paragraph(f"- {text}").replace("\n", "\n  ")
