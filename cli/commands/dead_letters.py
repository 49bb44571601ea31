"""`dead-letters`: shows, retries, drops and exports the messages of the dead-letter queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress as Bar

from cli.context import Context
from cli.dead_letters.export import export_file
from cli.dead_letters.filters import MessageFilter, with_filter
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.moving import Moved, Progress, move
from cli.dead_letters.reading import QueueReader
from cli.errors import CommandFailed, Exit
from cli.output import Output

app = typer.Typer(no_args_is_help=True, help="Show, retry, export or drop the messages of the dead-letter queue.")

_SECONDS_TO_ANSWER = 900  # while a person decides whether to drop messages, they stay hidden

ShowData = Annotated[bool, typer.Option("--show-data", help="Show personal data. Default: it is masked.")]


@dataclass
class _Group:
    """The messages of one reason code."""

    newest: QueueMessage
    oldest_at: datetime
    count: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)

    def add(self, message: QueueMessage) -> None:
        self.count += 1
        self.sources[message.source] += 1
        self.types[message.type] += 1
        self.oldest_at = min(self.oldest_at, message.sent_at)
        self.newest = max(self.newest, message, key=lambda one: one.sent_at)

    def to_json(self, code: str, *, show_data: bool) -> dict[str, Any]:
        return {
            "code": code,
            "count": self.count,
            "sources": dict(self.sources),
            "types": dict(self.types),
            "oldest": self.oldest_at.isoformat(),
            "newest": self.newest.sent_at.isoformat(),
            "example": self._example(show_data=show_data),
        }

    def to_row(self, code: str, *, show_data: bool) -> tuple[Any, ...]:
        times = (f"{moment:%Y-%m-%d %H:%M}" for moment in (self.oldest_at, self.newest.sent_at))
        example = self._example(show_data=show_data)
        return code, self.count, ", ".join(self.sources), ", ".join(self.types), *times, example

    def _example(self, *, show_data: bool) -> str:
        """Return the newest reason. Voucherify's part of it may quote the event."""
        record = self.newest.record
        return record.failure.message if record and show_data else self.newest.reason


@app.command(
    "list",
    epilog="""Examples:

voucherify-destination dead-letters list

voucherify-destination dead-letters list --type track --newer-than 3h""",
)
@with_filter
def list_(context: typer.Context, wanted: MessageFilter, show_data: ShowData = False) -> None:
    """Count the messages by reason code, with one example of each.

    Reading hides each message from other readers until the command ends.
    docs/runbook.md has the cause and the fix of each reason code.
    """
    ctx: Context = context.obj
    groups: dict[str, _Group] = {}
    with _reader(ctx) as reader:
        for message in filter(wanted.matches, reader.messages()):
            groups.setdefault(message.code, _Group(message, message.sent_at)).add(message)
    rows = sorted(groups.items(), key=lambda item: -item[1].count)
    ctx.output.result(
        {
            "messages": sum(group.count for group in groups.values()),
            "groups": [group.to_json(code, show_data=show_data) for code, group in rows],
            **_unread(reader),
        }
    )
    if rows:
        ctx.output.table(
            ("code", "messages", "sources", "types", "oldest (UTC)", "newest (UTC)", "example"),
            [group.to_row(code, show_data=show_data) for code, group in rows],
            unbroken="code",
        )
    elif reader.depth.in_flight:
        ctx.output.line("no visible message matches")
    else:
        ctx.output.fine("the dead-letter queue is empty" if wanted.matches_all else "no message matches")
    _note_unread(ctx.output, reader)


@app.command(
    epilog="""Examples:

voucherify-destination dead-letters show ajs-next-1766

voucherify-destination dead-letters show --first 3 --code voucherify_400 --show-data"""
)
@with_filter
def show(
    context: typer.Context,
    wanted: MessageFilter,
    message_id: Annotated[str | None, typer.Argument(help="The event's messageId, or the SQS message id.")] = None,
    first: Annotated[int, typer.Option(help="The number of messages, if no id is given.", min=1)] = 1,
    show_data: ShowData = False,
) -> None:
    """Show one message: its event, why it was not delivered, and how often it was tried. Values are masked."""
    ctx: Context = context.obj
    found: list[QueueMessage] = []
    with _reader(ctx) as reader:
        for message in filter(wanted.matches, reader.messages()):
            if message_id in (None, message.message_id, message.sqs_id):
                found.append(message)
            if len(found) == (first if message_id is None else 1):
                break
    if not found:
        in_flight = reader.depth.in_flight
        advice = f"{_messages(in_flight)} in flight: another reader has them, try again later" if in_flight else ""
        problem = f"message {message_id} is not in the dead-letter queue" if message_id else "no message matches"
        raise CommandFailed(problem, advice)
    documents = [message.to_json(is_masked=not show_data) for message in found]
    ctx.output.result({"messages": documents})
    for document in documents:
        ctx.output.json_lines(document)


@app.command(
    epilog="""Examples:

voucherify-destination dead-letters retry --code voucherify_400 --dry-run

voucherify-destination dead-letters retry --source shop --newer-than 2d --rate 50"""
)
@with_filter
def retry(
    context: typer.Context,
    wanted: MessageFilter,
    rate: Annotated[float, typer.Option(help="Messages a second.", min=0.1, max=500)] = 10.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the messages that would be moved.")] = False,
) -> None:
    """Move messages back to the retry queue, to deliver them again. Fix the cause first.

    Each message that is in the queue now is moved once. One that fails again
    comes back as a new message, which this command leaves alone.

    It is safe to interrupt this command and to run it again: a message is
    deleted only after SQS has confirmed that the retry queue has it. An
    interrupted message may be in both queues; it still counts once, because
    a track has an idempotency record and the other events have the same
    effect twice as once.
    """
    ctx: Context = context.obj
    moved = Moved()
    if not dry_run:
        ctx.output.done = lambda: f"{_messages(moved.moved)} moved to the retry queue"
    with _reader(ctx, rate=rate) as reader, _progress(ctx.output, "messages") as progress:
        retry_url = ctx.target.value("RetryQueueUrl")
        move(ctx.target.sqs, reader, retry_url, wanted, moved, rate=rate, is_dry_run=dry_run, progress=progress)
    _show_moved(ctx.output, moved, reader, is_dry_run=dry_run)
    if moved.in_both or moved.not_moved or not reader.is_complete:
        raise typer.Exit(Exit.WRONG)


@app.command(
    epilog="""Examples:

voucherify-destination dead-letters drop --code unknown_type --export unknown.jsonl.gz

voucherify-destination dead-letters drop --older-than 10d --yes"""
)
@with_filter
def drop(
    context: typer.Context,
    wanted: MessageFilter,
    export: Annotated[
        Path | None, typer.Option("--export", help="First write them to this new file: .jsonl or .jsonl.gz.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete messages permanently, after asking."""
    ctx: Context = context.obj
    if not yes and ctx.output.as_json:
        raise CommandFailed("cannot ask for confirmation with --json", "add --yes", Exit.USAGE)
    by_code: Counter[str] = Counter()
    dropped: list[str] = []
    with _reader(ctx, at_least=_SECONDS_TO_ANSWER) as reader:
        matching = []
        with ExitStack() as files:
            write = files.enter_context(export_file(export)) if export else None
            for message in filter(wanted.matches, reader.messages()):
                matching.append(message.sqs_id)
                by_code[message.code] += 1
                if write:
                    write(message)
        if matching and (yes or _is_confirmed(ctx.output, by_code)):
            ctx.output.done = lambda: f"{reader.deleted} of {_messages(len(matching))} dropped"
            dropped = reader.delete(matching)
    counts = {"matching": len(matching), "dropped": len(dropped), "byCode": dict(by_code)}
    ctx.output.result({**counts, **_unread(reader)})
    if export:
        _warn_of_data(ctx.output, export)
    ctx.output.line(f"{len(dropped)} of {_messages(len(matching))} dropped{_by_code(by_code)}")
    _note_unread(ctx.output, reader)
    if len(dropped) < len(matching) or not reader.is_complete:
        raise typer.Exit(Exit.WRONG)


@app.command(
    epilog="""Example:

voucherify-destination dead-letters export messages.jsonl.gz --newer-than 1d"""
)
@with_filter
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A new file, .jsonl or .jsonl.gz, that only you may read.")],
    wanted: MessageFilter,
) -> None:
    """Write messages to a file, one failure record a line, and leave them in the queue.

    The file contains personal data: encrypt it, and delete it when you no
    longer need it. `preview` and `replay` read it.
    """
    ctx: Context = context.obj
    written = 0
    with _reader(ctx) as reader, export_file(file) as write:
        for message in filter(wanted.matches, reader.messages()):
            write(message)
            written += 1
    ctx.output.result({"file": str(file), "messages": written, **_unread(reader)})
    ctx.output.fine(f"{_messages(written)} written to {file}")
    _warn_of_data(ctx.output, file)
    _note_unread(ctx.output, reader)
    if not reader.is_complete:
        raise typer.Exit(Exit.WRONG)


def _reader(ctx: Context, **options: Any) -> QueueReader:
    return QueueReader(ctx.target.sqs, ctx.target.value("DeadLetterQueueUrl"), **options)


@contextmanager
def _progress(output: Output, unit: str) -> Iterator[Progress]:
    """Show a bar on a terminal, and nothing elsewhere."""
    with Bar(console=output.notes, transient=True, disable=not output.is_interactive) as bar:
        task = bar.add_task(unit, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


def _show_moved(output: Output, moved: Moved, reader: QueueReader, *, is_dry_run: bool) -> None:
    output.result(
        {
            "moved": moved.moved,
            "inBothQueues": moved.in_both,
            "notMoved": moved.not_moved,
            "byCode": dict(moved.by_code),
            "isDryRun": is_dry_run,
            **_unread(reader),
        }
    )
    verb = "would be moved" if is_dry_run else "moved"
    output.line(f"{_messages(moved.moved)} {verb} to the retry queue{_by_code(moved.by_code)}")
    if moved.in_both:
        problem = f"{_messages(moved.in_both)} in both queues: SQS did not delete them from the dead-letter queue"
        output.wrong(problem, "run the command again, which is harmless")
    if moved.not_moved:
        problem = f"{_messages(moved.not_moved)} still in the dead-letter queue: the retry queue did not accept them"
        output.wrong(problem, "run the command again")
    _note_unread(output, reader)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _by_code(by_code: Counter[str]) -> str:
    return f" ({', '.join(f'{code}: {count}' for code, count in by_code.most_common())})" if by_code else ""


def _unread(reader: QueueReader) -> dict[str, Any]:
    """Return what was not read, as JSON."""
    return {
        "inFlight": reader.depth.in_flight,
        "arrivedSince": reader.arrived_since,
        "isComplete": reader.is_complete,
    }


def _note_unread(output: Output, reader: QueueReader) -> None:
    if in_flight := reader.depth.in_flight:
        output.note(f"about {_messages(in_flight)} in flight: another reader, or an interrupted command, has them")
    if reader.arrived_since:
        output.note(f"{_messages(reader.arrived_since)} arrived since the command began: it leaves them alone")
    if not reader.is_complete:
        output.note("there are more messages than can be read at once: run the command again for the rest")


def _warn_of_data(output: Output, path: Path) -> None:
    output.note(f"{path} contains personal data: encrypt it, and delete it when done")


def _is_confirmed(output: Output, by_code: Counter[str]) -> bool:
    count = sum(by_code.values())
    output.note(f"{_messages(count)}{_by_code(by_code)}")
    return typer.confirm(f"Delete {_messages(count)} permanently?", err=True)
