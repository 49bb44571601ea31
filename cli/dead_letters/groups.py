"""The messages of a queue by reason code, and what was not read of it, as tables and JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import QueueReader
from cli.output import Output

_READ_BY_OTHERS = "another reader, or an interrupted command, has them"


@dataclass
class Group:
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


def grouped(messages: Iterable[QueueMessage]) -> dict[str, Group]:
    """Return the messages by reason code, the most frequent one first."""
    groups: dict[str, Group] = {}
    for message in messages:
        groups.setdefault(message.code, Group(message, message.sent_at)).add(message)
    return dict(sorted(groups.items(), key=lambda item: -item[1].count))


def show_groups(
    output: Output,
    groups: Mapping[str, Group],
    reader: QueueReader,
    queue: str,
    *,
    matches_all: bool,
    show_data: bool,
    in_flight_means: str = _READ_BY_OTHERS,
) -> None:
    """Show the messages of a queue by reason code. `matches_all`: there was no filter."""
    output.result(
        {
            "messages": sum(group.count for group in groups.values()),
            "groups": [group.to_json(code, show_data=show_data) for code, group in groups.items()],
            **unread(reader),
        }
    )
    if groups:
        output.table(
            ("code", "messages", "sources", "types", "oldest (UTC)", "newest (UTC)", "example"),
            [group.to_row(code, show_data=show_data) for code, group in groups.items()],
            unbroken="code",
        )
    elif reader.depth.in_flight or reader.depth.delayed:
        output.line("no visible message matches")
    else:
        output.fine(f"the {queue} is empty" if matches_all else "no message matches")
    note_unread(output, reader, in_flight_means)


def count_messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def unread(reader: QueueReader) -> dict[str, Any]:
    """Return what was not read, as JSON."""
    return {
        "inFlight": reader.depth.in_flight,
        "arrivedSince": reader.arrived_since,
        "isComplete": reader.is_complete,
    }


def note_unread(output: Output, reader: QueueReader, in_flight_means: str = _READ_BY_OTHERS) -> None:
    if in_flight := reader.depth.in_flight:
        output.note(f"about {count_messages(in_flight)} in flight: {in_flight_means}")
    if reader.arrived_since:
        output.note(f"{count_messages(reader.arrived_since)} arrived since the command began: it leaves them alone")
    if not reader.is_complete:
        output.note("there are more messages than can be read at once: run the command again for the rest")
