"""`dead-letters`: shows, retries, drops and exports the messages of the dead-letter queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress as Bar

from cli.context import Context
from cli.dead_letters.export import export_file
from cli.dead_letters.filters import MessageFilter, with_filter
from cli.dead_letters.groups import count_messages, grouped, note_unread, show_groups, unread
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.moving import Moved, Progress, move
from cli.dead_letters.reading import QueueReader
from cli.errors import CommandFailed, Exit
from cli.output import Output

app = typer.Typer(no_args_is_help=True, help="Show, retry, export or drop the messages of the dead-letter queue.")

_SECONDS_TO_ANSWER = 900  # while a person decides whether to drop messages, they stay hidden

ShowData = Annotated[bool, typer.Option("--show-data", help="Show personal data. Default: it is masked.")]


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
    with _reader(ctx) as reader:
        groups = grouped(filter(wanted.matches, reader.messages()))
    show_groups(ctx.output, groups, reader, "dead-letter queue", matches_all=wanted.matches_all, show_data=show_data)


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
        advice = f"{count_messages(in_flight)} in flight: another reader has them, try again later" if in_flight else ""
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
        ctx.output.done = lambda: f"{count_messages(moved.moved)} moved to the retry queue"
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
            ctx.output.done = lambda: f"{reader.deleted} of {count_messages(len(matching))} dropped"
            dropped = reader.delete(matching)
    counts = {"matching": len(matching), "dropped": len(dropped), "byCode": dict(by_code)}
    ctx.output.result({**counts, **unread(reader)})
    if export:
        _warn_of_data(ctx.output, export)
    ctx.output.line(f"{len(dropped)} of {count_messages(len(matching))} dropped{_by_code(by_code)}")
    note_unread(ctx.output, reader)
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
    ctx.output.result({"file": str(file), "messages": written, **unread(reader)})
    ctx.output.fine(f"{count_messages(written)} written to {file}")
    _warn_of_data(ctx.output, file)
    note_unread(ctx.output, reader)
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
            **unread(reader),
        }
    )
    verb = "would be moved" if is_dry_run else "moved"
    output.line(f"{count_messages(moved.moved)} {verb} to the retry queue{_by_code(moved.by_code)}")
    if moved.in_both:
        problem = f"{count_messages(moved.in_both)} in both queues: SQS did not delete them from the dead-letter queue"
        output.wrong(problem, "run the command again, which is harmless")
    if moved.not_moved:
        problem = (
            f"{count_messages(moved.not_moved)} still in the dead-letter queue: the retry queue did not accept them"
        )
        output.wrong(problem, "run the command again")
    note_unread(output, reader)


def _by_code(by_code: Counter[str]) -> str:
    return f" ({', '.join(f'{code}: {count}' for code, count in by_code.most_common())})" if by_code else ""


def _warn_of_data(output: Output, path: Path) -> None:
    output.note(f"{path} contains personal data: encrypt it, and delete it when done")


def _is_confirmed(output: Output, by_code: Counter[str]) -> bool:
    count = sum(by_code.values())
    output.note(f"{count_messages(count)}{_by_code(by_code)}")
    return typer.confirm(f"Delete {count_messages(count)} permanently?", err=True)
