"""`make scale`: simulate large loads with the model of cli/planning, and write docs/scale.md.

It takes some minutes and two gigabytes of memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from cli.planning.events import IDENTIFY, TRACK, Mix, Phase
from cli.planning.figures import Figures
from cli.planning.model import simulate
from cli.planning.voucherify import Limit
from cli.planning.world import Setup
from handler.settings.settings import DEFAULT_CALL_SHARE
from local.bench.report import paragraph, table
from local.soak.modelled import modelled, recorded

_DOCUMENT = Path(__file__).parents[2] / "docs/scale.md"

PLANS = (100, 2_000)
RATE, MINUTES, BATCH, ENVIRONMENTS = 10_000, 10, 100, 1_000
MIX = Mix({IDENTIFY: 0.4, TRACK: 0.6}, customers=600_000, batch=BATCH)

# What is simulated of the flood. The rest is extrapolated.
SIMULATED_HOURS = 3

DAY = 24 * 3600


def flood(calls_per_minute: int) -> Figures:
    """Simulate the large load against a plan."""
    setup = Setup(Limit(calls_per_minute, 60), environments=ENVIRONMENTS)
    arrivals = MIX.arrivals([Phase(MINUTES * 60, RATE)])
    return simulate(setup, arrivals, most_seconds=SIMULATED_HOURS * 3600)


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
        environments, with `callShare` at {DEFAULT_CALL_SHARE}. {SIMULATED_HOURS} hours are simulated. What is left then
        is extrapolated at the pace of the second half."""
    )
    yield table(("", *(f"{plan:,} calls a minute" for plan in floods)), list(_flood_rows(floods)))
    yield paragraph(
        """Nothing dies of waiting: an event that waits is sent again as a new message before SQS would lose it. But
        custom events take a call each, so their number decides how long a backlog lasts; identifies go 1,000 a call. A
        flood of this size belongs on a larger plan, or should be sent with `voucherify-destination replay`, which has
        a rate of its own."""
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
        hours = [hour / 4 for hour in range(SIMULATED_HOURS * 4 + 1)]
        waiting = [_backlog_at(figures, hour * 3600) / 1e6 for hour in hours]
        yield paragraph(f"At {plan:,} calls a minute, in millions of events.")
        yield chart("million events", "hours", hours, waiting)
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
        that soak. Compared are all calls including polls, the time from the first event to the last call that was
        applied, and the share of calls that were answered 429."""
    )
    yield "\n".join(soaks)


def _flood_rows(floods: dict[int, Figures]) -> Iterator[list[str]]:
    rows = {
        "events accepted": lambda one: f"{one.accepted:,}",
        "delivered in ten minutes": lambda one: f"{one.accepted - _backlog_at(one, MINUTES * 60):,}",
        "calls in ten minutes": lambda one: f"{_calls(one):,}",
        "of them answered 429": lambda one: f"{_refused(one) / _calls(one):.1%}",
        f"answered 429 in {SIMULATED_HOURS} hours": lambda one: f"{one.share_refused:.1%}",
        f"delivered in {SIMULATED_HOURS} hours": lambda one: f"{one.delivered:,}",
        f"left after {SIMULATED_HOURS} hours": lambda one: f"{one.left:,}",
        "drained after": lambda one: _days(one.drained_in()),
        "dead letters": lambda one: f"{one.dead:,}",
        "execution environments": lambda one: f"{one.environments:,}",
    }
    for name, cell in rows.items():
        yield [name, *map(cell, floods.values())]
    for service in ("API Gateway", "Lambda", "SQS", "DynamoDB"):
        yield [f"USD, {service}", *(f"{dollars(one)[service]:.2f}" for one in floods.values())]
    yield ["USD in all", *(f"{sum(dollars(one).values()):.2f}" for one in floods.values())]


def dollars(figures: Figures) -> dict[str, float]:
    """Return the costs until the backlog is drained, those of the time that was not simulated at the same pace."""
    spent = figures.usage.dollars()
    rest = (figures.drained_in() - figures.seconds) / (figures.seconds - MINUTES * 60) if figures.left else 0.0
    share = max(0.0, rest)
    # The intake is over. What goes on is the worker's.
    return {name: usd * (1 if name == "API Gateway" else 1 + share) for name, usd in spent.items()}


def _calls(figures: Figures) -> int:
    return sum(figures.calls_by_minute[minute] for minute in range(MINUTES))


def _refused(figures: Figures) -> int:
    return sum(figures.refused_by_minute[minute] for minute in range(MINUTES))


def _backlog_at(figures: Figures, seconds: float) -> int:
    return next((one.events for one in figures.backlog if one.at >= seconds), figures.left)


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
