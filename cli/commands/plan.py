"""`plan`: says whether a shop's events fit into a Voucherify plan, how long they wait at peak, and what AWS costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.events import read_events
from cli.output import Output
from cli.planning.deployment import REQUESTS_PER_SECOND
from cli.planning.events import IDENTIFY, ORDER, TRACK, Kind, Mix
from cli.planning.mix import mix_of
from cli.preview.mappings import current_settings, settings_of
from handler.settings.settings import DEFAULT_CALL_SHARE
from handler.settings.sources import DEFAULT_SOURCE
from mapping import EventMapping

if TYPE_CHECKING:
    from cli.planning.estimate import Estimate

EPILOG = """Examples:

voucherify-destination plan --events 2000000/month --identify 40% --limit 100/min

voucherify-destination plan --events 70000/day --from segment-archive/ --mapping mapping.json --peak 8"""

# A month and a billing cycle have 30 days.
_SECONDS = {"s": 1, "min": 60, "h": 3600, "day": 86_400, "month": 30 * 86_400}
_RATE = re.compile(rf"(\d+(?:\.\d+)?)/({'|'.join(_SECONDS)})")
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%?")

# A customer has so many events a month, where --customers does not say how many customers there are.
_EVENTS_OF_CUSTOMER = 10


def plan(
    context: typer.Context,
    events: Annotated[str, typer.Option(help="The events that Segment sends, such as 2000000/month or 50/s.")],
    identify: Annotated[
        str | None, typer.Option(help="The share of identify events, such as 40%. Default: 50%. The rest are tracks.")
    ] = None,
    orders: Annotated[
        str | None, typer.Option(help="The share of events that become an order and a custom event. Default: 0%.")
    ] = None,
    from_: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Files or directories of your events, whose mix and mapping count instead."),
    ] = None,
    mapping: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|classic|actions",
            help="With --from: a settings file, a preset, or a set of default mappings. Default: the current settings.",
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="With --from: the source whose settings apply.")] = DEFAULT_SOURCE,
    limit: Annotated[str, typer.Option(help="The calls of Voucherify's plan.")] = "100/min",
    call_share: Annotated[
        int, typer.Option(help="callShare: the percentage of the calls that is ours.", min=1, max=100)
    ] = DEFAULT_CALL_SHARE,
    calls_per_day: Annotated[int, typer.Option(help="callsPerDay: 0 for any number.", min=0)] = 0,
    calls_per_month: Annotated[
        int, typer.Option(help="The calls of a billing cycle in Voucherify's plan; 0 where none are counted.", min=0)
    ] = 0,
    peak: Annotated[float, typer.Option(help="How many times the average the peak of a day has.", min=1)] = 5.0,
    peak_hours: Annotated[float, typer.Option(help="The hours of a day that the peak lasts.", min=0.01, max=24)] = 1.0,
    batch: Annotated[int, typer.Option(help="The events in a request of Segment's.", min=1, max=4000)] = 1,
    customers: Annotated[
        int | None, typer.Option(help="The number of customers. Default: a tenth of a month's events.", min=1)
    ] = None,
) -> None:
    """Say whether events fit into a Voucherify plan, how long they wait at peak, and what AWS costs.

    It needs no AWS credentials, except for --from without --mapping. An event
    that is skipped is no call, and an event with an order is two. The peak is
    simulated: windows, execution environments, retry queue and retry worker.
    docs/scale.md compares that with the function itself. Exit code 1:
    something does not fit.
    """
    ctx: Context = context.obj
    if from_ and (identify or orders):
        raise CommandFailed("--from has the mix", "leave out --identify and --orders", Exit.USAGE)
    rate = _per_second(events, "--events")
    calls, unit = _rate_of(limit, "--limit")
    if not calls.is_integer():
        raise CommandFailed(f"invalid --limit: {limit}", "give whole calls, such as 100/min", Exit.USAGE)
    if peak * peak_hours > 24:
        raise CommandFailed(
            f"a peak of {peak:g} times the average cannot last {peak_hours:g} hours",
            "the peak alone has more events than the day: give a smaller --peak or --peak-hours",
            Exit.USAGE,
        )
    shares = _shares_of(ctx, from_, mapping, source) if from_ else _given_shares(identify, orders)
    known = customers or max(1, round(rate * _SECONDS["month"] / _EVENTS_OF_CUSTOMER))
    # simpy and the model, which no other command needs.
    from cli.planning.estimate import Load, estimate
    from cli.planning.voucherify import Limit
    from cli.planning.world import Setup

    setup = Setup(Limit(int(calls), _SECONDS[unit]), share=call_share, calls_per_day=calls_per_day)
    ctx.output.note(f"simulating a peak of {rate * peak * peak_hours * 3600:,.0f} events …")
    found = estimate(Load(rate, peak, peak_hours), Mix(shares, known, batch), setup, calls_per_month)
    ctx.output.result(found.to_json())
    _show(ctx.output, found, limit)
    if not found.fits:
        raise typer.Exit(Exit.WRONG)


def _shares_of(ctx: Context, paths: list[Path], mapping: str | None, source: str) -> Mapping[Kind, float]:
    """Return the mix of the events in files. Raises CommandFailed."""
    settings = settings_of(mapping) if mapping else current_settings(ctx.target, source)
    found = mix_of(read_events(paths), EventMapping.compile(settings))
    if not found.kinds:
        raise CommandFailed("the files have no events", code=Exit.USAGE)
    ctx.output.note(f"the mix is that of {found.kinds.total():,} events")
    return found.shares


def _given_shares(identify: str | None, orders: str | None) -> Mapping[Kind, float]:
    of_identify, of_orders = _share(identify or "50%", "--identify"), _share(orders or "0%", "--orders")
    if of_identify + of_orders > 1:
        raise CommandFailed("--identify and --orders are more than 100% together", code=Exit.USAGE)
    shares = {IDENTIFY: of_identify, TRACK: 1 - of_identify - of_orders, ORDER: of_orders}
    return {kind: share for kind, share in shares.items() if share}


def _show(output: Output, found: Estimate, limit: str) -> None:
    load, setup, peak = found.load, found.setup, found.at_peak
    mix = ", ".join(f"{_percent(share)} {kind.name}" for kind, share in found.mix.shares.items())
    output.line(f"{found.events_per_day:,.0f} events a day: {mix}", "bold")
    output.line(
        f"  {load.rate * 60:,.1f} a minute, and {load.peak_rate * 60:,.1f} at peak, {load.peak_hours:g} h a day"
    )
    output.line()
    output.line(f"Voucherify: {limit} calls, {setup.share} % of them ours (callShare)", "bold")
    _verdict(
        output,
        found.fits_day,
        f"a day: {found.calls_per_day:,.0f} calls, {_percent(found.calls_per_day / found.allowed_per_day)} "
        f"of our {found.allowed_per_day:,.0f}",
        "the backlog grows every day: take a larger plan, or send less with\ntrackEventsFilter or identifyDisabled",
    )
    of_plan = (
        f", {_percent(found.calls_in_cycle / found.calls_per_cycle)} of the plan's" if found.calls_per_cycle else ""
    )
    more = f" {found.calls_per_cycle:,}" if found.calls_per_cycle else " (--calls-per-month compares)"
    _verdict(
        output,
        found.fits_cycle,
        f"a billing cycle of 30 days: {found.calls_in_cycle:,.0f} calls{of_plan}{more}",
        "Voucherify blocks a plan that is used up: take a larger one, or send less;\n"
        "callsPerDay keeps the calls of a day within a budget",
    )
    output.line()
    output.line("At peak, simulated", "bold")
    _verdict(
        output,
        found.fits_peak,
        f"{_percent(peak.delivered_at_once)} delivered at once; at most {peak.most_waiting:,} events wait",
        "the backlog of a peak is not gone when the next one begins",
    )
    if peak.stored:
        output.line(
            f"  half of the events within {_duration(peak.delay(0.5))}, 95 % within {_duration(peak.delay(0.95))}"
        )
        output.line(f"  no event waits any more {_drained(found.drained_in)}")
    output.line(
        f"  {peak.calls.total():,} calls, {_percent(peak.share_refused)} answered 429; {peak.dead:,} dead letters"
    )
    _verdict(
        output,
        found.fits_api,
        f"{found.requests_per_second:,.1f} requests a second of {REQUESTS_PER_SECOND} (RequestsPerSecond)",
        "API Gateway answers 429 beyond that, and Segment gives up after 4 hours:\n"
        "raise RequestsPerSecond, or send more events in a request (--batch)",
    )
    output.line()
    output.line("AWS: USD a month, without the fixed costs, logs and traces of docs/cost.md", "bold")
    dollars = found.usage_of_month.dollars()
    output.table(("service", "USD"), [*((name, f"{usd:.2f}") for name, usd in dollars.items())])
    output.line(f"  {sum(dollars.values()):.2f} in all")


def _verdict(output: Output, is_fine: bool, text: str, advice: str) -> None:
    if is_fine:
        output.fine(text)
    else:
        output.wrong(text, advice)


def _drained(seconds: float) -> str:
    return "at no time: the backlog grows" if math.isinf(seconds) else f"{_duration(seconds)} after the peak began"


def _percent(share: float) -> str:
    return f"{share:,.0%}".replace("%", " %")


def _duration(seconds: float) -> str:
    """Return seconds in the largest unit of which there are two, such as `90 min`."""
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _per_second(text: str, option: str) -> float:
    number, unit = _rate_of(text, option)
    return number / _SECONDS[unit]


def _rate_of(text: str, option: str) -> tuple[float, str]:
    match = _RATE.fullmatch(text)
    if not match or not float(match[1]):
        units = ", ".join(_SECONDS)
        raise CommandFailed(
            f"invalid {option}: {text}", f"give a number and a time, such as 100/min: {units}", Exit.USAGE
        )
    return float(match[1]), match[2]


def _share(text: str, option: str) -> float:
    match = _PERCENT.fullmatch(text)
    if not match or float(match[1]) > 100:
        raise CommandFailed(f"invalid {option}: {text}", f"give a percentage, such as {option} 40%", Exit.USAGE)
    return float(match[1]) / 100
