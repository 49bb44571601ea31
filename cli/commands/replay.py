"""`replay`: history through the same mapping and delivery as what comes in."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.replay.bulk import MOST_ROWS
from cli.replay.checkpoint import Checkpoint, Identity, digest_of
from cli.replay.plan import Bulk, mapped, steps
from cli.replay.progress import Meter
from cli.replay.project import project_of, settings_in_force
from cli.replay.retry_loop import RetryLoop, Stopping, Turns
from cli.replay.run import FAILED, Replay
from cli.replay.source import Input, Position, find_inputs, windows
from handler.delivery.dispatcher import DeliveryStatus
from handler.settings.sources import DEFAULT_SOURCE
from mapping import EventMapping

EPILOG = """Examples:

voucherify-destination replay s3://my-bucket/segment-logs/AbC123/ --dry-run

voucherify-destination replay s3://my-bucket/segment-logs/AbC123/ --rate 50/min

voucherify-destination replay events-2026-05.jsonl.gz --source shop --checkpoint may.json"""

# So many events are in memory at a time. Of a customer who comes up in several windows, each is sent on its own.
WINDOW_EVENTS = 5_000

CLOCK = time.time
SLEEP = time.sleep

_RATE = re.compile(r"(\d+(?:\.\d+)?)/(s|min)")
_SECONDS = {"s": 1.0, "min": 60.0}


def replay(
    context: typer.Context,
    inputs: Annotated[
        list[str], typer.Argument(help="Files or directories (.json, .jsonl, .jsonl.gz), or s3://bucket/prefix.")
    ],
    source: Annotated[str, typer.Option(help="The source whose settings and project it goes by.")] = DEFAULT_SOURCE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; say what would be sent.")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where to keep how far it is; else a file here, named after the inputs.")
    ] = None,
    rate: Annotated[
        str | None, typer.Option(help="No more calls than this, such as 10/s or 50/min; else what the plan allows.")
    ] = None,
    bulk: Annotated[
        bool, typer.Option("--bulk/--no-bulk", help="Send customers by the hundred, or one by one.")
    ] = True,
) -> None:
    """Send history: Segment's S3 archive, or any JSON lines, under the settings in force.

    Identifies and groups go through Voucherify's bulk endpoint, 100 customers a
    call. It updates customers and makes those that are not there; a customer
    that it refuses is sent alone. Several identifies of a customer become one
    that sums them up, and the customer's tracks follow it.

    Everything else goes one by one, in its order. A track that was delivered in
    the last 15 days is a duplicate and not sent again, where it has a messageId.
    What is older than its customer's deletion is skipped, where deletions are
    switched on.

    It can be stopped at any time (Ctrl-C): the same command goes on where it
    was. What is rejected or fails for good is in CHECKPOINT.rejected.jsonl, with
    its reason, and can be replayed from there. Ends with 1 where there is any.
    """
    ctx: Context = context.obj
    per_second = _per_second(rate) if rate else None
    settings, version = settings_in_force(ctx.target, source)
    found = find_inputs(inputs, lambda: ctx.target.s3)
    if dry_run:
        _survey(ctx.output, found, settings.policy.mapping, in_bulk=bulk)
        return
    stopping = Stopping()
    project = project_of(ctx.target, settings, version, Turns(per_second, CLOCK, SLEEP), CLOCK)
    path = checkpoint or Path(f"replay-{digest_of([ctx.target.name, source, *inputs])}.json")
    books = Checkpoint(path, Identity(found, version))
    work = Replay(project, books, RetryLoop(stopping, SLEEP, ctx.output.note), in_bulk=bulk)
    try:
        with stopping.on_interrupt(ctx.output.note):
            _run(ctx.output, work, books, found)
    except (KeyboardInterrupt, CommandFailed):
        ctx.output.note(f"so far: {_in_words(books.counts)}; the checkpoint is {path}")
        raise
    _report(ctx.output, books)


def _run(output: Output, work: Replay, books: Checkpoint, inputs: Sequence[Input]) -> None:
    books.write()
    if books.is_resumed:
        output.note(f"goes on from {books.path}")
    with Meter(output, sum(source.size for source in inputs)) as meter:
        books.on_settled = meter.count
        for window in windows(inputs, books.position, WINDOW_EVENTS):
            meter.begin(window.bytes_read, len(window.entries), len(books.settled))
            work.work_off(window)
    books.advance(Position(len(inputs)))


def _report(output: Output, books: Checkpoint) -> None:
    counts = _by_outcome(books.counts)
    is_wrong = bool(counts[DeliveryStatus.REJECTED] or counts[FAILED])
    rejected = str(books.rejected_path) if is_wrong else None
    output.result({**counts, "checkpoint": str(books.path), "rejectedFile": rejected})
    output.table(("outcome", "reason", "events"), [(*key, number) for key, number in sorted(books.counts.items())])
    if is_wrong:
        output.wrong("not everything was delivered", f"what was not, and why: {rejected}")
        raise typer.Exit(Exit.WRONG)
    output.fine(f"everything is settled; {books.path} is no longer needed")


def _survey(output: Output, inputs: Sequence[Input], mapping: EventMapping, *, in_bulk: bool) -> None:
    """What would be sent, and in how many calls."""
    counts: Counter[tuple[str, str]] = Counter()
    calls = 0
    for window in windows(inputs, Position(), WINDOW_EVENTS):
        planned, unsent = mapped(window.entries, mapping)
        counts.update(("to_send", one.request.operation) for one in planned)
        counts.update((DeliveryStatus.REJECTED, one.failure.code) for one in unsent if one.failure)
        counts.update((DeliveryStatus.SKIPPED, one.skip_reason) for one in unsent if not one.failure)
        calls += sum(_calls_of(step) for step in steps(planned, in_bulk=in_bulk))
    by_outcome = _by_outcome(counts, ("to_send", DeliveryStatus.SKIPPED, DeliveryStatus.REJECTED))
    output.result({**by_outcome, "calls": calls})
    output.table(("outcome", "reason", "events"), [(*key, number) for key, number in sorted(counts.items())])
    output.line(f"about {calls} calls; nothing was sent")
    if by_outcome[DeliveryStatus.REJECTED]:
        raise typer.Exit(Exit.WRONG)


def _calls_of(step: Any) -> int:
    """A bulk call is asked for its end; the last one of a step twice, as a rule."""
    return 2 * ceil(len(step.rows) / MOST_ROWS) + 1 if isinstance(step, Bulk) else len(step.planned)


_OUTCOMES = (
    DeliveryStatus.DELIVERED,
    DeliveryStatus.DUPLICATE,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.REJECTED,
    FAILED,
)


def _by_outcome(counts: Mapping[tuple[str, str], int], outcomes: Iterable[str] = _OUTCOMES) -> dict[str, Any]:
    """A number for each outcome, or numbers by reason where it has any."""
    found: dict[str, Any] = {}
    for outcome in outcomes:
        by_detail = {detail: number for (name, detail), number in sorted(counts.items()) if name == outcome}
        found[str(outcome)] = by_detail if by_detail.keys() - {""} else by_detail.get("", 0)
    return found


def _in_words(counts: Mapping[tuple[str, str], int]) -> str:
    totals: Counter[str] = Counter()
    for (outcome, _), number in counts.items():
        totals[outcome] += number
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(totals.items())) or "nothing yet"


def _per_second(rate: str) -> float:
    match = _RATE.fullmatch(rate)
    if not match or not float(match[1]):
        raise CommandFailed(f"{rate} is no rate", "such as --rate 10/s or --rate 50/min", Exit.USAGE)
    return float(match[1]) / _SECONDS[match[2]]
