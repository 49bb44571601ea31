"""`dead-letters`: what was given up, why, and what to do with it."""

from __future__ import annotations

import json
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
from cli.dead_letters.export import letter_file
from cli.dead_letters.filters import Codes, FromSources, LetterFilter, NewerThan, OlderThan, Types
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.moving import LetterMoving, Moved, MoveTask, Progress
from cli.dead_letters.reading import Depth, QueueReading, hiding_seconds
from cli.errors import CommandFailed, Exit
from cli.output import Output

app = typer.Typer(no_args_is_help=True, help="See, retry, keep or drop what could not be delivered.")

_LETTERS_A_SECOND = 20.0  # at the least, when they are only read
_SECONDS_TO_ANSWER = 900  # for a person who is asked whether to drop them

ShowData = Annotated[bool, typer.Option("--show-data", help="Show personal data, which is masked else.")]
Export = Annotated[Path | None, typer.Option("--export", help="First keep them in this new file: .jsonl or .jsonl.gz.")]


@dataclass
class _Group:
    """The letters of one reason code."""

    count: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    newest: QueueMessage | None = None
    oldest_at: datetime | None = None

    def add(self, letter: QueueMessage) -> None:
        self.count += 1
        self.sources[letter.source] += 1
        self.types[letter.type] += 1
        self.oldest_at = min(filter(None, (self.oldest_at, letter.sent_at)))
        if self.newest is None or letter.sent_at > self.newest.sent_at:
            self.newest = letter


@app.command(
    "list",
    epilog="""Examples:

voucherify-destination dead-letters list

voucherify-destination dead-letters list --type track --newer-than 3h""",
)
def list_(
    context: typer.Context,
    codes: Codes = None,
    types: Types = None,
    sources: FromSources = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    show_data: ShowData = False,
) -> None:
    """How many there are by reason code, since when, and one example of each reason.

    Reading hides each letter for a moment and shows it again. docs/runbook.md has cause and fix of each code.
    """
    ctx: Context = context.obj
    wanted = LetterFilter.of(codes, types, sources, older_than, newer_than)
    groups: dict[str, _Group] = {}
    depth = _depth(ctx)
    with _reading(ctx, depth) as reading:
        for letter in filter(wanted.matches, reading.letters()):
            groups.setdefault(letter.code, _Group()).add(letter)
    rows = sorted(groups.items(), key=lambda item: -item[1].count)
    ctx.output.result(
        {
            "letters": sum(group.count for group in groups.values()),
            "groups": [_group_json(code, group, show_data=show_data) for code, group in rows],
            "hiddenElsewhere": depth.hidden,
            "isComplete": reading.is_complete,
        }
    )
    if rows:
        ctx.output.table(
            ("code", "letters", "sources", "types", "oldest (UTC)", "newest (UTC)", "for example"),
            [_group_row(code, group, show_data=show_data) for code, group in rows],
        )
    elif depth.hidden:
        ctx.output.line("no dead letter can be seen" if wanted.is_everything else "none that can be seen matches")
    else:
        ctx.output.fine("no dead letters" if wanted.is_everything else "no dead letter matches")
    _note_unread(ctx.output, depth, is_complete=reading.is_complete)


@app.command(
    epilog="""Examples:

voucherify-destination dead-letters show ajs-next-1766

voucherify-destination dead-letters show --first 3 --code voucherify_400 --show-data"""
)
def show(
    context: typer.Context,
    message_id: Annotated[str | None, typer.Argument(help="The event's messageId, or SQS's id of the message.")] = None,
    first: Annotated[int, typer.Option(help="How many to show where no id is given.", min=1)] = 1,
    codes: Codes = None,
    types: Types = None,
    sources: FromSources = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    show_data: ShowData = False,
) -> None:
    """One letter with its record: the event, why it was not delivered, and how often it was tried.

    The event's keys are shown, its values are masked.
    """
    ctx: Context = context.obj
    wanted = LetterFilter.of(codes, types, sources, older_than, newer_than)
    found: list[QueueMessage] = []
    depth = _depth(ctx)
    with _reading(ctx, depth) as reading:
        for letter in filter(wanted.matches, reading.letters()):
            if message_id in (None, letter.message_id, letter.sqs_id):
                found.append(letter)
            if len(found) == (first if message_id is None else 1):
                break
    if not found:
        hidden = f"{depth.hidden} are hidden by someone who reads them" if depth.hidden else ""
        raise CommandFailed("no such dead letter" if message_id else "no dead letter matches", hidden)
    documents = [letter.to_json(is_masked=not show_data) for letter in found]
    ctx.output.result({"letters": documents})
    for document in documents:
        ctx.output.line(json.dumps(document, indent=2, ensure_ascii=False))


@app.command(
    epilog="""Examples:

voucherify-destination dead-letters retry --code voucherify_400 --dry-run

voucherify-destination dead-letters retry --source shop --newer-than 2d --rate 50"""
)
def retry(
    context: typer.Context,
    codes: Codes = None,
    types: Types = None,
    sources: FromSources = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    rate: Annotated[float, typer.Option(help="How many a second.", min=0.1, max=500)] = 10.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many would be moved.")] = False,
) -> None:
    """Put letters back into the retry queue, to be delivered anew. Mend the cause first.

    Safe to interrupt and to run again: a letter is deleted only when SQS has confirmed that the retry queue has it. One
    that is interrupted in between is in both queues for a while; the ledger of tracks lets it count once, and an
    identify does no harm twice. Without a filter SQS's own redrive moves everything, where it is offered.
    """
    ctx: Context = context.obj
    wanted = LetterFilter.of(codes, types, sources, older_than, newer_than)
    depth = _depth(ctx)
    dead_url, retry_url = ctx.target.value("DeadLetterQueueUrl"), ctx.target.value("RetryQueueUrl")
    with _progress(ctx.output, "dead letters") as progress:
        # The local system's SQS has no such task.
        if wanted.is_everything and not dry_run and not ctx.target.is_local:
            task = MoveTask(ctx.target.sqs, dead_url, retry_url, rate)
            if task.start():
                _say_moved(ctx.output, Moved(moved=task.watch(progress)), depth, by="SQS's redrive")
                return
        moving = LetterMoving(ctx.target.sqs, dead_url, retry_url, rate)
        moved = moving.move(wanted, depth, progress, is_dry_run=dry_run)
    _say_moved(ctx.output, moved, depth, by="dry run" if dry_run else "this command")
    if moved.in_both or moved.not_taken or not moved.is_complete:
        raise typer.Exit(Exit.WRONG)


@app.command(
    epilog="""Examples:

voucherify-destination dead-letters drop --code unknown_type --export unknown.jsonl.gz

voucherify-destination dead-letters drop --older-than 10d --yes"""
)
def drop(
    context: typer.Context,
    codes: Codes = None,
    types: Types = None,
    sources: FromSources = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
    export: Export = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete letters for good, after asking. --export keeps them in a file first, which holds personal data."""
    ctx: Context = context.obj
    if not yes and ctx.output.as_json:
        raise CommandFailed("with --json nobody can be asked", "add --yes", Exit.USAGE)
    wanted = LetterFilter.of(codes, types, sources, older_than, newer_than)
    depth = _depth(ctx)
    by_code: Counter[str] = Counter()
    dropped: list[str] = []
    with _reading(ctx, depth, at_least=_SECONDS_TO_ANSWER) as reading:
        matching = []
        with ExitStack() as files:
            write = files.enter_context(letter_file(export)) if export else None
            for letter in filter(wanted.matches, reading.letters()):
                matching.append(letter.sqs_id)
                by_code[letter.code] += 1
                if write:
                    write(letter)
        if matching and (yes or _is_agreed(ctx.output, by_code)):
            dropped = reading.delete(matching)
    ctx.output.result({"matching": len(matching), "dropped": len(dropped), "byCode": dict(by_code)})
    if export:
        _warn_of_data(ctx.output, export, len(matching))
    ctx.output.line(f"{len(dropped)} of {len(matching)} dropped{_by_code(by_code)}")
    _note_unread(ctx.output, depth, is_complete=reading.is_complete)
    if len(dropped) < len(matching) or not reading.is_complete:
        raise typer.Exit(Exit.WRONG)


@app.command(
    epilog="""Example:

voucherify-destination dead-letters export letters.jsonl.gz --newer-than 1d"""
)
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A new file, .jsonl or .jsonl.gz, that only you may read.")],
    codes: Codes = None,
    types: Types = None,
    sources: FromSources = None,
    older_than: OlderThan = None,
    newer_than: NewerThan = None,
) -> None:
    """Write letters to a file, a record in each line, and leave them in the queue.

    The file holds personal data: encrypt it where it stays, and delete it when done. `preview` reads it.
    """
    ctx: Context = context.obj
    wanted = LetterFilter.of(codes, types, sources, older_than, newer_than)
    depth = _depth(ctx)
    written = 0
    with _reading(ctx, depth) as reading, letter_file(file) as write:
        for letter in filter(wanted.matches, reading.letters()):
            write(letter)
            written += 1
    ctx.output.result({"file": str(file), "letters": written, "isComplete": reading.is_complete})
    ctx.output.fine(f"{written} letters in {file}")
    _warn_of_data(ctx.output, file, written)
    _note_unread(ctx.output, depth, is_complete=reading.is_complete)
    if not reading.is_complete:
        raise typer.Exit(Exit.WRONG)


def _depth(ctx: Context) -> Depth:
    return Depth.of(ctx.target.sqs, ctx.target.value("DeadLetterQueueUrl"))


def _reading(ctx: Context, depth: Depth, at_least: int = 0) -> QueueReading:
    seconds = max(at_least, hiding_seconds(depth.visible, _LETTERS_A_SECOND))
    return QueueReading(ctx.target.sqs, ctx.target.value("DeadLetterQueueUrl"), seconds)


@contextmanager
def _progress(output: Output, what: str) -> Iterator[Progress]:
    """A bar where a person looks on; nothing elsewhere."""
    with Bar(console=output.notes, transient=True, disable=not output.is_interactive) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, all_: bar.update(task, completed=done, total=max(done, all_))


def _group_json(code: str, group: _Group, *, show_data: bool) -> dict[str, Any]:
    return {
        "code": code,
        "count": group.count,
        "sources": dict(group.sources),
        "types": dict(group.types),
        "oldest": group.oldest_at.isoformat() if group.oldest_at else None,
        "newest": group.newest.sent_at.isoformat() if group.newest else None,
        "example": _example(group, show_data=show_data),
    }


def _group_row(code: str, group: _Group, *, show_data: bool) -> tuple[Any, ...]:
    oldest, newest = (
        f"{moment:%Y-%m-%d %H:%M}" if moment else ""
        for moment in (group.oldest_at, group.newest and group.newest.sent_at)
    )
    example = _example(group, show_data=show_data)
    return code, group.count, ", ".join(group.sources), ", ".join(group.types), oldest, newest, example


def _example(group: _Group, *, show_data: bool) -> str:
    """Why the newest was not delivered; what Voucherify said may quote the event."""
    if not group.newest:
        return ""
    record = group.newest.record
    return record.failure.message if record and show_data else group.newest.reason


def _say_moved(output: Output, moved: Moved, depth: Depth, by: str) -> None:
    output.result(
        {
            "moved": moved.moved,
            "inBothQueues": moved.in_both,
            "notTaken": moved.not_taken,
            "byCode": dict(moved.by_code),
            "hiddenElsewhere": depth.hidden,
            "isComplete": moved.is_complete,
            "by": by,
        }
    )
    verb = "would be moved" if by == "dry run" else "moved"
    output.line(f"{moved.moved} {verb} to the retry queue{_by_code(moved.by_code)}")
    if moved.in_both:
        output.wrong(
            f"{moved.in_both} are in both queues: SQS did not delete them here", "run it again; it does no harm"
        )
    if moved.not_taken:
        output.wrong(f"{moved.not_taken} stay here: the retry queue did not take them", "run it again")
    _note_unread(output, depth, is_complete=moved.is_complete)


def _by_code(by_code: Counter[str]) -> str:
    return f" ({', '.join(f'{code}: {count}' for code, count in by_code.most_common())})" if by_code else ""


def _note_unread(output: Output, depth: Depth, *, is_complete: bool) -> None:
    if depth.hidden:
        output.note(f"about {depth.hidden} more are hidden: someone else reads them, or an earlier run was cut off")
    if not is_complete:
        output.note("there are more than can be read at once: run it again with a filter, or for the rest")


def _warn_of_data(output: Output, path: Path, letters: int) -> None:
    output.note(f"{path} holds {letters} events with personal data: encrypt it where it stays, delete it when done")


def _is_agreed(output: Output, by_code: Counter[str]) -> bool:
    count = sum(by_code.values())
    output.note(f"{count} dead letters{_by_code(by_code)}")
    return typer.confirm(f"Delete {count} for good?", err=True)
