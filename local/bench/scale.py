"""`make scale`: simulate large loads with the model of cli/planning, and write docs/scale.md.

It takes some minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cli.planning.deployment import BATCH_SIZE, MEMORY_GB
from cli.planning.events import IDENTIFY, TRACK, Mix, Phase
from cli.planning.figures import Backlog, Figures
from cli.planning.model import simulate
from cli.planning.prices import API_REQUEST, GB_SECOND
from cli.planning.voucherify import Limit
from cli.planning.world import Setup
from handler.settings.settings import DEFAULT_CALL_SHARE
from local.bench.report import paragraph, table
from local.soak.modelled import modelled, recorded

_DOCUMENT = Path(__file__).parents[2] / "docs/scale.md"

PLANS = (100, 2_000)
RATE, MINUTES, BATCH, ENVIRONMENTS = 10_000, 10, 100, 1_000
MIX = Mix({IDENTIFY: 0.4, TRACK: 0.6}, customers=600_000, batch=BATCH)

# One event in so many is simulated, and for so long. The backlog of all of them is drained at the same pace, which the
# calls decide.
ONE_IN = 50
SIMULATED_MINUTES = 40

DAY = 24 * 3600


def flood(calls_per_minute: int) -> Figures:
    """Simulate the large load against a plan."""
    setup = Setup(Limit(calls_per_minute, 60), environments=ENVIRONMENTS)
    arrivals = MIX.arrivals([Phase(MINUTES * 60, RATE / ONE_IN)])
    return simulate(setup, arrivals, most_seconds=SIMULATED_MINUTES * 60)


def refused_with(environments: int, *, is_shared: bool) -> Figures:
    """Simulate ten minutes of 20 events a second, one a request, at 100 calls a minute."""
    mix = Mix({IDENTIFY: 0.4, TRACK: 0.6}, customers=10_000)
    setup = Setup(Limit(100, 60), environments=environments, is_shared=is_shared)
    return simulate(setup, mix.arrivals([Phase(600, 20)]), most_seconds=600)


def document(floods: dict[int, Figures], soaks: Sequence[str]) -> Iterator[str]:
    """Yield the sections."""
    yield "# Scale"
    yield paragraph(
        """Written by `make scale`, from the discrete-event model behind `voucherify-destination plan`: Voucherify's
        windows, the execution environments, the retry queue, the retry worker and its calls in bulk. The model decides
        by the function's own rate limiter, shared state and constants; only the time that passes is simulated. A call
        takes 100 ms, and the costs are AWS's list prices."""
    )
    yield "## 10,000 events a second for ten minutes"
    yield paragraph(
        f"""{RATE * MINUTES * 60:,} events, 40 % of them identify, in requests of {BATCH}, to {ENVIRONMENTS:,} execution
        environments, with `callShare` at {DEFAULT_CALL_SHARE}. One event in {ONE_IN} is simulated, for
        {SIMULATED_MINUTES} minutes. The backlog of all of them is extrapolated at the pace of those that take a call
        each, since the calls decide it and not the length of the queue."""
    )
    yield table(
        ("events at 10,000 a second", *(f"{plan:,} calls a minute" for plan in floods)), list(_flood_rows(floods))
    )
    yield paragraph(
        """Nothing dies of waiting: an event that waits is sent again as a new message before SQS would lose it. But
        custom events take a call each, so their number decides how long a backlog lasts; identifies go 1,000 a call. A
        flood of this size belongs on a larger plan, or should be sent with `voucherify-destination replay`, which has
        a rate of its own. A backlog of more than 15 days outlives the idempotency records of events that Segment sends
        again, and one of more than 30 days the noted times of attributes."""
    )
    yield paragraph(
        """API Gateway's throttle comes first: `RequestsPerSecond` is 100 by default, which is this load with 100 events
        in a request. With one event in a request, 9,900 of 10,000 requests a second would be answered 429, and Segment
        gives up after four hours: raise `RequestsPerSecond` and the concurrency of the account, or send batches."""
    )
    yield "### Calls of the first 15 minutes"
    for plan, figures in floods.items():
        minutes = range(15)
        made = [figures.calls_by_minute[minute] for minute in minutes]
        refused = [figures.refused_by_minute[minute] for minute in minutes]
        yield paragraph(f"At {plan:,} calls a minute; the lower line is the calls that were answered 429.")
        yield chart("calls a minute", "minute", list(minutes), made, refused)
    yield "### Backlog"
    for plan, figures in floods.items():
        sampled = figures.backlog[:: max(1, len(figures.backlog) // 12)]
        yield paragraph(f"At {plan:,} calls a minute, of the events that are simulated.")
        yield chart(
            "thousand events", "minutes", [one.at / 60 for one in sampled], [one.events / 1000 for one in sampled]
        )
    yield "## Refused calls by execution environments"
    yield paragraph(
        """The calls of ten minutes, with 20 events a second at 100 calls a minute. Execution environments share in
        DynamoDB that a window is used up, and count the calls of the next one there. Without the table each finds out
        by itself."""
    )
    yield table(("execution environments", "calls", "answered 429", "without the table"), list(_refused_rows()))
    yield "## The model beside the function"
    yield paragraph(
        """`make soak LIMIT=…` sends events through the real function and worker to a stub that enforces a limit, in
        real time. The model has the same events, and the times that a call of Voucherify and one of DynamoDB took in
        that soak, and its first answer comes as late in its window. Compared are all calls including polls, the time
        from the first event to the last call that was applied, and the share of calls that were answered 429. The
        figures are of a machine with much other work, and vary by a tenth from run to run."""
    )
    yield "\n".join(soaks)
    yield paragraph(
        """Where the machine is so slow that events run out of time before a window is used up, the two differ: such
        events are not spread over the windows to come, and go in bulk. A soak of 500 events at 100 calls in 60 s took
        373 calls and 266 s with one worker and 355 calls and 244 s with two, where a call of DynamoDB took 0.13 to 0.26
        s; the model says 500 calls and 370 s, and 407 calls and 303 s."""
    )


def _flood_rows(floods: dict[int, Figures]) -> Iterator[list[str]]:
    rows: dict[str, Callable[[Figures], str]] = {
        "calls in ten minutes": lambda one: f"{_calls(one):,}",
        "of them answered 429": lambda one: f"{_refused(one) / _calls(one):.1%}",
        f"calls in {SIMULATED_MINUTES} minutes": lambda one: f"{one.calls.total():,}",
        "of them in bulk, with polls": lambda one: f"{one.calls['bulk'] + one.calls['poll']:,}",
        f"delivered in {SIMULATED_MINUTES} minutes": lambda one: f"{one.delivered:,}",
        "drained after, all events": lambda one: _days(_drained_in(one)),
        "dead letters": lambda one: f"{one.dead:,}",
    }
    for name, cell in rows.items():
        yield [name, *map(cell, floods.values())]
    costs = [_dollars(one) for one in floods.values()]
    for service in costs[0]:
        yield [f"USD, {service}, all events", *(f"{of_plan[service]:,.2f}" for of_plan in costs)]


def _worked(figures: Figures) -> tuple[Backlog, Backlog]:
    """Return the backlog after the intake, and when it was last full enough for whole batches."""
    after = [one for one in figures.backlog if one.at >= MINUTES * 60]
    return after[0], [one for one in after if one.others > BATCH_SIZE or one is after[0]][-1]


def _drained_in(figures: Figures) -> float:
    """Return when all events are delivered, in seconds, at the pace of those that take a call each."""
    begin, end = _worked(figures)
    singles = RATE * MINUTES * 60 * sum(share for kind, share in MIX.shares.items() if not kind.is_row)
    return MINUTES * 60 + singles * (end.at - begin.at) / (begin.others - end.others)


def _dollars(figures: Figures) -> dict[str, float]:
    """Return the costs of all events: for the intake by the events, for the worker by the time."""
    usage, factor = figures.usage, RATE * MINUTES * 60 / figures.accepted
    workers = 2 * _drained_in(figures) * MEMORY_GB * GB_SECOND.usd
    return {
        "API Gateway": usage.api_requests * factor * API_REQUEST.usd,
        "the worker's Lambda": workers,
        "DynamoDB": usage.dollars()["DynamoDB"] / max(1, figures.delivered) * RATE * MINUTES * 60,
        "SQS": usage.dollars()["SQS"] / figures.seconds * _drained_in(figures),
    }


def _calls(figures: Figures) -> int:
    return sum(figures.calls_by_minute[minute] for minute in range(MINUTES))


def _refused(figures: Figures) -> int:
    return sum(figures.refused_by_minute[minute] for minute in range(MINUTES))


def _refused_rows() -> Iterator[list[str]]:
    for environments in (1, 20, 200, 1_000):
        shared, alone = (refused_with(environments, is_shared=is_shared) for is_shared in (True, False))
        made = f"{shared.calls.total():,}"
        yield [f"{environments:,}", made, f"{shared.share_refused:.1%}", f"{alone.share_refused:.1%}"]


def soak_section() -> list[str]:
    """Return the table of recorded soaks and of what the model says of the same loads."""
    lines = []
    for soak in recorded():
        model = modelled(soak)
        lines.append(
            [
                f"{soak.limit} in {soak.window_seconds:g} s, {soak.events:,} events",
                str(soak.workers),
                f"{soak.calls:.0f}, {model.calls:.0f}",
                f"{soak.drained_in:.0f} s, {model.drained_in:.0f} s",
                f"{soak.refused / soak.calls:.1%}, {model.refused / model.calls:.1%}",
            ]
        )
    return [table(("load", "workers", "calls: soak, model", "drained in: soak, model", "429: soak, model"), lines)]


def chart(y: str, x: str, places: Sequence[float], *lines: Sequence[float]) -> str:
    """Return a chart of lines as GitHub draws it. https://mermaid.js.org/syntax/xyChart.html"""
    most = max(1.0, *(max(line) for line in lines))
    return "\n".join(
        [
            "```mermaid",
            "xychart-beta",
            f'    x-axis "{x}" {places[0]:g} --> {places[-1]:g}',
            f'    y-axis "{y}" 0 --> {math.ceil(most)}',
            *(f"    line [{', '.join(f'{value:.4g}' for value in line)}]" for line in lines),
            "```",
        ]
    )


def _days(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds < 2 * DAY else f"{seconds / DAY:.1f} days"


def main() -> None:
    """Write the document."""
    floods = {plan: flood(plan) for plan in PLANS}
    _DOCUMENT.write_text("\n\n".join(document(floods, soak_section())) + "\n", "utf-8")
    print(f"{_DOCUMENT.name} is written")


if __name__ == "__main__":
    main()
