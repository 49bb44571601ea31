"""`trace`: what is known of one event, in the ledger, in both queues and in the log."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from cli.context import Context
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import Depth, QueueReading, hiding_seconds
from cli.errors import Exit
from cli.output import Output
from cli.target import Target
from handler.settings.sources import DEFAULT_SOURCE
from handler.storage.idempotency import KEPT_SECONDS, record_key

EPILOG = """Examples:

voucherify-destination trace ajs-next-1766

voucherify-destination trace ajs-next-1766 --source shop --hours 336"""

_LETTERS_A_SECOND = 20.0
_LOG_GROUPS = ("DeliverLogGroupName", "RedeliverLogGroupName")
_SHOWN = ("message", "source", "outcome", "stage", "code", "reason", "age_seconds")


@dataclass(frozen=True)
class _Entry:
    """The ledger's entry of an event: COMPLETED when it is delivered, INPROGRESS before that."""

    source: str
    status: str
    at: datetime


@dataclass(frozen=True)
class _Found:
    """What was found in one queue; `unseen` could not be looked at."""

    letters: list[QueueMessage]
    read: int
    unseen: int


@dataclass(frozen=True)
class _Logged:
    """The log's lines of an event, the oldest first; `problem` says why they could not be read."""

    lines: list[dict[str, Any]]
    problem: str = ""


def trace(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(help="The event's messageId.")],
    source: Annotated[
        str | None, typer.Option(help="The source it came from; else the default one, and those it is found under.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many messages of each queue to look through.", min=1)] = 1000,
    hours: Annotated[int, typer.Option(help="How far back to read the log.", min=1)] = 72,
) -> None:
    """What became of one event: delivered, queued, dead, or never seen.

    Looking into the queues hides messages for a moment, and counts as one more receive of each. Ends with 1 where the
    event is dead or nothing is known of it.
    """
    ctx: Context = context.obj
    dead = _found(ctx.target, "DeadLetterQueueUrl", message_id, source, limit)
    queued = _found(ctx.target, "RetryQueueUrl", message_id, source, limit)
    sources = {source} if source else {DEFAULT_SOURCE, *(letter.source for letter in dead.letters + queued.letters)}
    entries = [entry for name in sorted(sources) if (entry := _entry(ctx.target, name, message_id))]
    logged = _logged(ctx.target, message_id, source, hours)
    verdict, sentence = _verdict(entries, queued, dead, logged)
    ctx.output.result(
        {
            "messageId": message_id,
            "ledger": [{**asdict(entry), "at": entry.at.isoformat()} for entry in entries],
            "retryQueue": _queue_json(queued),
            "deadLetterQueue": _queue_json(dead),
            "log": {"lines": logged.lines, "problem": logged.problem},
            "verdict": verdict,
            "conclusion": sentence,
        }
    )
    _show(ctx.output, entries, queued, dead, logged)
    (ctx.output.fine if verdict == "delivered" else ctx.output.line)(sentence)
    if verdict in ("dead", "never seen"):
        raise typer.Exit(Exit.WRONG)


def _entry(target: Target, source: str, message_id: str) -> _Entry | None:
    key = {"id": {"S": record_key(source, message_id)}}
    table = target.value("DeduplicationTableName")
    item = target.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    if item is None:
        return None
    at = datetime.fromtimestamp(int(item["expiration"]["N"]) - KEPT_SECONDS, UTC)
    return _Entry(source, item["status"]["S"], at)


def _found(target: Target, queue: str, message_id: str, source: str | None, limit: int) -> _Found:
    queue_url = target.value(queue)
    depth = Depth.of(target.sqs, queue_url)
    letters = []
    read = 0
    seconds = hiding_seconds(min(limit, depth.visible), _LETTERS_A_SECOND)
    with QueueReading(target.sqs, queue_url, seconds, at_most=limit) as reading:
        for letter in reading.letters():
            read += 1
            if letter.message_id == message_id and source in (None, letter.source):
                letters.append(letter)
    beyond = 0 if reading.is_complete else max(0, depth.visible - read)
    return _Found(letters, read, depth.hidden + depth.delayed + beyond)


def _logged(target: Target, message_id: str, source: str | None, hours: int) -> _Logged:
    if target.is_local:
        return _Logged([], "the local system keeps no log")
    since = datetime.now(UTC) - timedelta(hours=hours)
    lines: list[tuple[int, dict[str, Any]]] = []
    try:
        for group in _LOG_GROUPS:
            pages = target.logs.get_paginator("filter_log_events").paginate(
                logGroupName=target.value(group),
                filterPattern=f"{{ $.message_id = {json.dumps(message_id)} }}",
                startTime=round(since.timestamp() * 1000),
            )
            for page in pages:
                lines += [(event["timestamp"], _line(event["message"])) for event in page["events"]]
    except ClientError as error:
        return _Logged([], f"CloudWatch Logs refused: {error.response.get('Error', {}).get('Code')}")
    except BotoCoreError as error:
        return _Logged([], f"CloudWatch Logs could not be asked: {type(error).__name__}")
    return _Logged(
        [
            {
                "at": datetime.fromtimestamp(at / 1000, UTC).isoformat(),
                **{key: line[key] for key in _SHOWN if key in line},
            }
            for at, line in sorted(lines, key=lambda timed: timed[0])
            if line.get("message_id") == message_id and source in (None, line.get("source"))
        ]
    )


def _line(text: str) -> dict[str, Any]:
    """A line of the functions' log; an empty one for any other text."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def _verdict(entries: list[_Entry], queued: _Found, dead: _Found, logged: _Logged) -> tuple[str, str]:
    """What became of the event, in one word and in one sentence."""
    completed = [entry for entry in entries if entry.status == "COMPLETED"]
    if completed:
        copies = len(queued.letters) + len(dead.letters)
        copy = f"; what still lies in a queue ({copies}) is skipped as a duplicate" if copies else ""
        return "delivered", f"Delivered at {_at(completed[0].at)}{copy}."
    if queued.letters:
        letter = queued.letters[0]
        return "queued", f"Queued since {_at(letter.sent_at)}, because {letter.code}: {letter.reason}."
    if dead.letters:
        letter = dead.letters[0]
        return "dead", f"Dead since {_at(letter.sent_at)}, because {letter.code}: {letter.reason}."
    if any(entry.status == "INPROGRESS" for entry in entries):
        return "in progress", "A delivery is under way, or was cut off in the middle: ask again in some minutes."
    if logged.lines:
        last = logged.lines[-1]
        is_rejected = last.get("outcome") == "rejected" or last.get("message") == "event given up"
        became = "became a dead letter" if is_rejected else "was queued"
        since = "dropped or retried" if is_rejected else "delivered, or hidden until its next turn"
        return "not seen now", f"At {last['at']} it {became} because {last.get('code')}; since then {since}."
    doubt = f"; {queued.unseen + dead.unseen} messages could not be looked at" if queued.unseen + dead.unseen else ""
    return "never seen", f"Never seen, or delivered at once as anything but a track, which leaves no trace{doubt}."


def _queue_json(found: _Found) -> dict[str, Any]:
    return {
        "letters": [letter.to_json(is_masked=True) for letter in found.letters],
        "read": found.read,
        "unseen": found.unseen,
    }


def _show(output: Output, entries: list[_Entry], queued: _Found, dead: _Found, logged: _Logged) -> None:
    ledger = [f"{entry.status} for source {entry.source}, since {_at(entry.at)}" for entry in entries]
    rows = [("ledger", ", ".join(ledger) or "no entry")]
    for name, found in (("retry queue", queued), ("dead-letter queue", dead)):
        unseen = f", {found.unseen} hidden or not looked at" if found.unseen else ""
        rows.append((name, f"{len(found.letters)} of {found.read} messages read{unseen}"))
        rows += [
            (name, f"{_at(letter.sent_at)} {letter.source} {letter.code}: {letter.reason}") for letter in found.letters
        ]
    rows += [("log", " ".join(str(part) for part in line.values())) for line in logged.lines]
    if not logged.lines:
        rows.append(("log", logged.problem or "no line"))
    output.table(("where", "what"), rows)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
