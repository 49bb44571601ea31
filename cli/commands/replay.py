"""`replay`: sends old events through the same mapping and delivery as new ones."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace as changed
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.replay.checkpoint import Checkpoint, Identity, digest_of
from cli.replay.plan import Bulk, Import, Singles, Step, map_entries, plan_steps
from cli.replay.progress import Meter
from cli.replay.project import project_of, versioned_settings
from cli.replay.retry_loop import RetryLoop, StopRequest, Throttle
from cli.replay.run import IMPORT_FIRES_NOTHING, Replay
from cli.replay.settlement import FAILED
from cli.replay.source import Input, Position, find_inputs, windows
from handler.model.job import DeliveryStatus
from handler.model.policy import StaleAttributesAction
from handler.settings.sources import DEFAULT_SOURCE
from handler.voucherify.bulk import CUSTOMERS, ORDERS
from mapping import EventMapping

EPILOG = """Examples:

voucherify-destination replay s3://my-bucket/segment-logs/AbC123/ --dry-run

voucherify-destination replay s3://my-bucket/segment-logs/AbC123/ --rate 50/min

voucherify-destination replay events-2026-05.jsonl.gz --source shop --checkpoint may.sqlite"""

# The number of events in memory. A customer who has events in several windows is sent once in each.
WINDOW_EVENTS = 5_000

CLOCK = time.time
SLEEP = time.sleep

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|min)")
_SECONDS = {"s": 1.0, "min": 60.0}

_OUTCOMES = (
    DeliveryStatus.DELIVERED,
    DeliveryStatus.DUPLICATE,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.REJECTED,
    FAILED,
)
_TO_SEND = "to_send"


def replay(
    context: typer.Context,
    inputs: Annotated[
        list[str], typer.Argument(help="Files or directories (.json, .jsonl, .jsonl.gz), or s3://bucket/prefix.")
    ],
    source: Annotated[str, typer.Option(help="The source whose settings apply.")] = DEFAULT_SOURCE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be sent.")] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The file that keeps the position. Default: replay-….sqlite in this directory."),
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="The most calls, such as 10/s or 50/min. Default: what the plan allows.")
    ] = None,
    bulk: Annotated[bool, typer.Option("--bulk/--no-bulk", help="Send customers in bulk, or one by one.")] = True,
    as_live: Annotated[
        bool, typer.Option("--as-live", help="Send orders one by one: earning rules and distributions fire.")
    ] = False,
    stale_attributes: Annotated[
        StaleAttributesAction | None,
        typer.Option(help="What to do with attributes that newer events have set. Default: the setting."),
    ] = None,
) -> None:
    """Send old events: Segment's S3 archive or any JSON lines, with the current settings.

    Identify and group events go to Voucherify's bulk endpoint, 1,000
    customers a call. It creates and updates customers; a customer that it
    refuses is sent alone. Several identify events of a customer are merged
    into one, and the customer's tracks follow it.

    Orders (orderEvents) go through Voucherify's import, 2,000 a call. An
    import fires no earning rules, distributions or webhooks of orders; a
    customer's entry into a segment still does. An order that it refuses is
    rejected. With --as-live, orders are sent one by one like those of new
    events, and everything fires.

    All other events are sent one by one, in their order. A track with a
    messageId that was delivered in the last 15 days is not sent again. If
    deletions are enabled, events from before a customer's deletion are
    skipped.

    Attributes that newer events have set since are left out
    (staleAttributes), as far as their times are noted: those of the events
    of this replay, and of all that the function delivers while it runs.
    With an archive that reaches up to now, that is every event.

    Ctrl-C stops the replay, and the same command continues it. When it
    ends, CHECKPOINT.rejected.jsonl has the events that were rejected or
    kept failing, each with its reason; fix them and replay that file. Exit
    code 1: there are such events.
    """
    ctx: Context = context.obj
    per_second = _per_second(rate) if rate else None
    settings, version = versioned_settings(ctx.target, source)
    if stale_attributes:
        settings = changed(settings, policy=changed(settings.policy, stale_attributes=stale_attributes))
    found = find_inputs(inputs, lambda: ctx.target.s3)
    if dry_run:
        _show_plan(ctx.output, found, settings.policy.mapping, in_bulk=bulk, as_live=as_live)
        return
    path = checkpoint or Path(f"replay-{digest_of([ctx.target.name, source, *inputs])}.sqlite")
    stop_request = StopRequest()
    throttle = Throttle(per_second, CLOCK, stop_request.interruptible(SLEEP))
    project = project_of(ctx.target, settings, throttle, CLOCK)
    with closing(Checkpoint(path, Identity(found, version))) as state:
        try:
            with stop_request.on_interrupt(ctx.output.note):
                retry_loop = RetryLoop(stop_request, SLEEP, ctx.output.note)
                sender = Replay(project, state, retry_loop, ctx.output.note, in_bulk=bulk, as_live=as_live)
                _send(ctx.output, sender, state, found)
        except (KeyboardInterrupt, CommandFailed):
            rejected = state.export_rejected()
            files = f"the checkpoint is {path}" + (f", the rejected events are in {rejected}" if rejected else "")
            so_far = f"{_in_words(state.counts)}; {files}"
            ctx.output.note(f"so far: {so_far}")
            ctx.output.done = lambda: f"the checkpoint is {path}"
            raise
        _show_result(ctx.output, state)


def _send(output: Output, sender: Replay, checkpoint: Checkpoint, inputs: Sequence[Input]) -> None:
    if checkpoint.is_resumed:
        output.note(f"continuing from {checkpoint.path}")
    sender.begin()
    with Meter(output, sum(source.size for source in inputs)) as meter:
        checkpoint.on_settled = meter.count
        for window in windows(inputs, checkpoint.position, WINDOW_EVENTS):
            meter.begin(window.bytes_read, len(window.entries), len(checkpoint.settled))
            sender.send(window)
    checkpoint.advance(Position(len(inputs)))


def _show_result(output: Output, checkpoint: Checkpoint) -> None:
    counts, rejected = checkpoint.counts, checkpoint.export_rejected()
    files = {"checkpoint": str(checkpoint.path), "rejectedFile": str(rejected) if rejected else None}
    output.result({**_by_outcome(counts, _OUTCOMES), **files})
    output.table(("outcome", "reason", "events"), [(*key, number) for key, number in sorted(counts.items())])
    if rejected:
        output.wrong("some events were not delivered", f"each is in {rejected} with its reason")
        raise typer.Exit(Exit.WRONG)
    output.fine(f"all events are settled; {checkpoint.path} is no longer needed")


def _show_plan(output: Output, inputs: Sequence[Input], mapping: EventMapping, *, in_bulk: bool, as_live: bool) -> None:
    """Show how many events would be sent, and in how many calls."""
    counts: Counter[tuple[str, str]] = Counter()
    calls = imported = imports = 0
    for window in windows(inputs, Position(), WINDOW_EVENTS):
        planned, unsent = map_entries(window.entries, mapping, as_live=as_live)
        counts.update((_TO_SEND, request.operation) for one in planned for request in one.requests)
        faults = (fault for one in planned for fault in one.faults)
        counts.update((DeliveryStatus.REJECTED, fault.code) for fault in faults)
        counts.update((DeliveryStatus.REJECTED, one.failure.code) for one in unsent if one.failure)
        counts.update((DeliveryStatus.SKIPPED, one.skip_reason) for one in unsent if not one.failure)
        for step in plan_steps(planned, in_bulk=in_bulk, as_live=as_live):
            calls += _calls_of(step)
            if isinstance(step, Import):
                imported += len(step.rows)
                imports += ceil(len(step.rows) / ORDERS.most_rows)
    by_outcome = _by_outcome(counts, (_TO_SEND, DeliveryStatus.SKIPPED, DeliveryStatus.REJECTED))
    output.result({**by_outcome, "calls": calls, "imports": {"orders": imported, "calls": imports}})
    output.table(("outcome", "reason", "events"), [(*key, number) for key, number in sorted(counts.items())])
    if imported:
        output.line(f"about {imports} calls import {imported} orders")
        output.note(IMPORT_FIRES_NOTHING)
    output.line(f"about {calls} calls; nothing was sent")
    if by_outcome[DeliveryStatus.REJECTED]:
        raise typer.Exit(Exit.WRONG)


def _calls_of(step: Step) -> int:
    """Return the calls of a step. Each bulk call is polled once, and the last one of a step usually twice."""
    if isinstance(step, Singles):
        return sum(len(one.requests) for one in step.planned)
    most_rows = CUSTOMERS.most_rows if isinstance(step, Bulk) else ORDERS.most_rows
    return 2 * ceil(len(step.rows) / most_rows) + 1


def _by_outcome(counts: Mapping[tuple[str, str], int], outcomes: Iterable[str]) -> dict[str, Any]:
    """Return a number for each outcome, or numbers by reason where it has reasons."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        by_detail = {detail: number for (name, detail), number in sorted(counts.items()) if name == outcome}
        found[str(outcome)] = by_detail if by_detail.keys() - {""} else by_detail.get("", 0)
    return found


def _in_words(counts: Mapping[tuple[str, str], int]) -> str:
    totals: Counter[str] = Counter()
    for (outcome, _), number in counts.items():
        totals[outcome] += number
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(totals.items())) or "no event settled"


def _per_second(rate: str) -> float:
    match = _RATE.fullmatch(rate)
    if not match or not float(match[1]):
        raise CommandFailed(f"invalid rate: {rate}", "give one such as --rate 10/s or --rate 50/min", Exit.USAGE)
    return float(match[1]) / _SECONDS[match[2]]
