"""`trace`: shows what is known about one event: its idempotency record, the two queues and the log."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import QueueReader
from cli.errors import CommandFailed, Exit, aws_errors
from cli.idempotency import IdempotencyRecord, idempotency_record
from cli.log import log_lines
from cli.output import Output
from cli.target import Target
from handler.model.job import DeliveryStatus
from handler.settings.sources import DEFAULT_SOURCE

EPILOG = """Examples:

voucherify-destination trace ajs-next-1766

voucherify-destination trace ajs-next-1766 --source shop --hours 336"""

_LOG_GROUPS = ("DeliverLogGroupName", "RedeliverLogGroupName")
_SHOWN = ("message", "source", "outcome", "stage", "code", "reason", "age_seconds")

# A busy source has a line with skipped events for each request.
_MOST_SKIP_LINES = 10_000


@dataclass(frozen=True)
class _Found:
    """The messages of an event in one queue, among `read` ones; `unseen` could not be read."""

    messages: list[QueueMessage]
    read: int
    unseen: int

    def to_json(self) -> dict[str, Any]:
        messages = [message.to_json(is_masked=True) for message in self.messages]
        return {"messages": messages, "read": self.read, "unseen": self.unseen}


@dataclass(frozen=True)
class _Log:
    """The log lines of an event, the oldest first; `problem` says why there are none."""

    lines: list[dict[str, Any]]
    problem: str = ""


@dataclass(frozen=True)
class _Skips:
    """The numbers of skipped events in the log, by reason. `is_complete`: there are no more of them in these hours."""

    hours: int
    reasons: dict[str, int] = field(default_factory=dict)
    is_complete: bool = False

    def to_json(self) -> dict[str, Any]:
        return {"hours": self.hours, "reasons": self.reasons, "isComplete": self.is_complete}


def trace(
    context: typer.Context,
    message_id: Annotated[str, typer.Argument(help="The event's messageId.")],
    source: Annotated[
        str | None, typer.Option(help="The source of the event. Default: the one without a name, and those found.")
    ] = None,
    limit: Annotated[int, typer.Option(help="The most messages to read from each queue.", min=1)] = 1000,
    hours: Annotated[int, typer.Option(help="The hours of log to search.", min=1)] = 72,
) -> None:
    """Show what happened to one event: delivered, skipped, queued, in the dead-letter queue, or not found.

    The log lists the first 300 events of a request that were delivered or
    skipped. For an event that is not found, the reasons for which it counts
    skipped events are shown; preview shows whether the event is one of them.
    The local system keeps no log: there, only a track that was delivered and
    events in the queues are found.

    Reading a queue hides its messages from other readers until the command
    ends, and counts as a receive of each. Exit code 1: the event is in the
    dead-letter queue or was not found.
    """
    ctx: Context = context.obj
    dead = _find(ctx.target, "DeadLetterQueueUrl", message_id, source, limit)
    queued = _find(ctx.target, "RetryQueueUrl", message_id, source, limit)
    found = {message.source for message in dead.messages + queued.messages}
    sources = {source} if source else {DEFAULT_SOURCE, *found}
    records = [record for name in sorted(sources) if (record := idempotency_record(ctx.target, name, message_id))]
    log = _log(ctx.target, message_id, source, hours)
    verdict, sentence = _verdict(records, queued, dead, log)
    skips = None
    if verdict == "not found":
        skips = _skips(ctx.target, source, hours)
        sentence = _not_found(queued, dead, skips)
    ctx.output.result(
        {
            "messageId": message_id,
            "idempotencyRecords": [{**asdict(record), "at": record.at.isoformat()} for record in records],
            "retryQueue": queued.to_json(),
            "deadLetterQueue": dead.to_json(),
            "log": asdict(log),
            "skipped": skips.to_json() if skips else None,
            "verdict": verdict,
            "conclusion": sentence,
        }
    )
    _show(ctx.output, records, queued, dead, log)
    (ctx.output.fine if verdict == "delivered" else ctx.output.line)(sentence)
    if verdict in ("dead-lettered", "not found"):
        raise typer.Exit(Exit.WRONG)


def _find(target: Target, queue: str, message_id: str, source: str | None, limit: int) -> _Found:
    found = []
    read = 0
    with QueueReader(target.sqs, target.value(queue), at_most=limit) as reader:
        for message in reader.messages():
            read += 1
            if message.message_id == message_id and source in (None, message.source):
                found.append(message)
    beyond = 0 if reader.is_complete else max(0, reader.depth.visible - read)
    return _Found(found, read, reader.depth.in_flight + reader.depth.delayed + beyond)


def _log(target: Target, message_id: str, source: str | None, hours: int) -> _Log:
    if target.is_local:
        return _Log([], "the local system keeps no log")
    try:
        with aws_errors():
            lines = list(log_lines(target, _LOG_GROUPS, json.dumps(message_id), hours))  # those that contain this text
    except CommandFailed as failed:
        return _Log([], failed.problem)
    return _Log(
        [
            {
                "at": datetime.fromtimestamp(at / 1000, UTC).isoformat(),
                **{key: line[key] for key in _SHOWN if key in line},
                **({"outcome": outcome} if outcome else {}),
            }
            for at, line in sorted(lines, key=lambda timed: timed[0])
            if source in (None, line.get("source"))
            and ((outcome := _listed(line, message_id)) or line.get("message_id") == message_id)
        ]
    )


def _listed(line: dict[str, Any], message_id: str) -> str:
    """Return what became of an event that is in the line of its request: `delivered`, `duplicate` or a skip reason."""
    by_outcome = line.get("message_ids", {})
    return next((outcome for outcome, message_ids in by_outcome.items() if message_id in message_ids), "")


def _skips(target: Target, source: str | None, hours: int) -> _Skips | None:
    """Return the skipped events that the log counts, or None where it cannot be read."""
    if target.is_local:
        return None
    try:
        with aws_errors():
            lines = list(islice(log_lines(target, _LOG_GROUPS, "{ $.skipped > 0 }", hours), _MOST_SKIP_LINES))
    except CommandFailed:
        return None  # reported with the lines of the event
    reasons: Counter[str] = Counter()
    for _, line in lines:
        if source in (None, line.get("source")):
            reasons.update(line.get("skip_reasons", {}))
    return _Skips(hours, dict(reasons.most_common()), is_complete=len(lines) < _MOST_SKIP_LINES)


def _verdict(records: list[IdempotencyRecord], queued: _Found, dead: _Found, log: _Log) -> tuple[str, str]:
    """Return what happened to the event, in a word and in a sentence."""
    completed = [record for record in records if record.is_completed]
    if completed:
        copies = len(queued.messages) + len(dead.messages)
        rest = f"; the copies in the queues ({copies}) are skipped as duplicates" if copies else ""
        return "delivered", f"Delivered at {_time(completed[0].at)}{rest}."
    if queued.messages:
        message = queued.messages[0]
        return "queued", f"In the retry queue since {_time(message.sent_at)}: {message.code}: {message.reason}."
    if dead.messages:
        message = dead.messages[0]
        since = _time(message.sent_at)
        return "dead-lettered", f"In the dead-letter queue since {since}: {message.code}: {message.reason}."
    if any(record.status == "INPROGRESS" for record in records):
        return "in progress", "A delivery is running or was interrupted: try again in some minutes."
    return _verdict_of_log(log.lines[-1]) if log.lines else ("not found", "")


def _verdict_of_log(last: dict[str, Any]) -> tuple[str, str]:
    """Return what happened to the event by its newest line. The worker writes one after each try."""
    at, outcome = last["at"], last.get("outcome")
    if outcome == DeliveryStatus.REJECTED or last.get("message") == "event given up":
        sentence = f"Moved to the dead-letter queue at {at}: {last.get('code')}. Since then dropped or retried."
        return "no longer queued", sentence
    if outcome in (DeliveryStatus.DELIVERED, DeliveryStatus.DUPLICATE):
        return "delivered", f"Delivered at {at}."
    if outcome == DeliveryStatus.QUEUED:
        return "queued", f"In the retry queue, hidden until its next try; tried at {at}: {last.get('code')}."
    return "skipped", f"Skipped at {at}: {outcome}."


def _not_found(queued: _Found, dead: _Found, skips: _Skips | None) -> str:
    """Return what may have happened to an event that has left no trace, and how to find out more."""
    sentences = [
        "Not found, which has three possible causes: it was never received; it was skipped by a setting or by its "
        "integrations; or it is not a track and was delivered at once, in a request of more than 300 events or before "
        "the log begins."
    ]
    if queued.unseen:
        sentences.insert(
            0, f"It may wait in the retry queue: {queued.unseen} messages there are hidden until their next try."
        )
    if skips and skips.reasons:
        more = "" if skips.is_complete else " and more"
        counts = ", ".join(f"{reason} {number}" for reason, number in skips.reasons.items())
        sentences.append(f"Skipped events in the last {skips.hours} hours: {counts}{more}.")
    elif skips and skips.is_complete:
        sentences.append(f"No event was skipped in the last {skips.hours} hours.")
    if dead.unseen:
        sentences.append(f"{dead.unseen} messages of the dead-letter queue could not be read.")
    if skips is None or skips.reasons:
        sentences.append("To see whether a rule skips it, run preview with the event.")
    return " ".join(sentences)


def _show(output: Output, records: list[IdempotencyRecord], queued: _Found, dead: _Found, log: _Log) -> None:
    shown = [f"{record.status} for source {record.source} since {_time(record.at)}" for record in records]
    rows = [("idempotency record", ", ".join(shown) or "none")]
    for name, found in (("retry queue", queued), ("dead-letter queue", dead)):
        unseen = f", {found.unseen} not readable" if found.unseen else ""
        rows.append((name, f"{len(found.messages)} of {found.read} messages{unseen}"))
        rows += [(name, f"{_time(one.sent_at)} {one.source} {one.code}: {one.reason}") for one in found.messages]
    rows += [("log", " ".join(str(part) for part in line.values())) for line in log.lines]
    if not log.lines:
        rows.append(("log", log.problem or "no lines"))
    output.table(("where", "found"), rows)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
