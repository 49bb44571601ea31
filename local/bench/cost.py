"""From measured seconds to US dollars, and to the memory size that Lambda needs for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from cli.planning.prices import API_REQUEST, DYNAMODB_WRITE, GB_SECOND, LAMBDA_REQUEST
from local.bench.load import BUDGET_SECONDS, Load
from local.bench.numbers import quantity
from local.bench.report import paragraph, table
from local.bench.template import deployed

EVENTS = 1_000_000
BATCHES = (1, 10, 100)

# Milliseconds of a call, as in docs/cost.md.
LATENCY = 100

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
ONE_CPU_MB = 1_769
MEMORY_SIZES = (128, 256, 512, 1_024, ONE_CPU_MB)


IDENTIFY, TRACK = "**identify**", "**track**, with the two writes of its idempotency record"


def cost(batch: int, seconds: float, memory_mb: int) -> dict[str, float]:
    """Return the US dollars for a million events, by service and in all, for `seconds` of Lambda a request."""
    requests = EVENTS / batch
    services = {
        "API Gateway": requests * API_REQUEST.usd,
        "Lambda, requests": requests * LAMBDA_REQUEST.usd,
        "Lambda, time": requests * seconds * memory_mb / 1024 * GB_SECOND.usd,
    }
    identify = sum(services.values())
    return {**services, IDENTIFY: identify, TRACK: identify + 2 * EVENTS * DYNAMODB_WRITE.usd}


def seconds_on_lambda(wall: float, cpu: float, memory_mb: int) -> float:
    """Return the wall time with Lambda's share of a core, which grows with the memory, from that with a whole core."""
    return wall + cpu * (max(ONE_CPU_MB / memory_mb, 1) - 1)


def memory_sizes_section(load: Load) -> Iterator[str]:
    cpu = median(load.cpu)
    yield "## Memory sizes"
    yield paragraph(
        f"""The 4,000 events above take {quantity(cpu, "s")} of a core like this one. Lambda gives a whole core from
        {ONE_CPU_MB:,} MB on, and a share of it below. Where time is too short nothing is lost: fewer events are
        delivered at once, and more are stored."""
    )
    lines = []
    for megabytes in MEMORY_SIZES:
        seconds = seconds_on_lambda(cpu, cpu, megabytes)
        is_enough = "yes" if seconds <= BUDGET_SECONDS else "no"
        lines.append((f"{megabytes:,} MB", f"{min(megabytes / ONE_CPU_MB, 1):.2f}", quantity(seconds, "s"), is_enough))
    yield table(("memory", "cores", "4,000 events", f"within {BUDGET_SECONDS:.0f} s"), lines)


def cost_section(loads: Mapping[int, Load]) -> Iterator[str]:
    """Yield the costs of a million events, by the events in a request."""
    memory_mb = deployed("MemorySize")
    seconds = [seconds_on_lambda(median(load.wall), median(load.cpu), memory_mb) for load in loads.values()]
    costs = [cost(batch, each, memory_mb) for batch, each in zip(loads, seconds, strict=True)]
    yield "## Cost of a million events"
    yield paragraph(
        f"""In USD, by the events in a request, measured with {LATENCY} ms a call and Lambda's share of a core for
        {memory_mb:,} MB. This is the part that the code decides. [cost.md](cost.md) has the rest, such as logs and
        traces."""
    )
    lines = [["milliseconds of Lambda a request", *(f"{each * 1000:.0f}" for each in seconds)]]
    lines += [[name, *(f"{each[name]:.2f}" for each in costs)] for name in costs[0]]
    yield table(("USD for a million events", *map(str, loads)), lines)
    yield "\n".join(
        f"- {price.usd * 1e6:,.6g} USD a million: {price.each}, [read]({price.source}) on {price.read_on}"
        for price in (API_REQUEST, LAMBDA_REQUEST, GB_SECOND, DYNAMODB_WRITE)
    )
