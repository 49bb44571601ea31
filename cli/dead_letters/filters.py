"""Which letters a command means: by reason code, type of call, source and age."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from cli.dead_letters.messages import QueueMessage

_AGE = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """`2d`, `3h`, `90m`."""
    match = _AGE.fullmatch(text.strip().lower())
    if not match:
        raise typer.BadParameter("is a number and one of s, m, h, d, w, such as 2d or 3h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


Codes = Annotated[list[str] | None, typer.Option("--code", help="Only with this reason code. May be repeated.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only of this call, such as track. May be repeated.")]
FromSources = Annotated[list[str] | None, typer.Option("--source", help="Only of this source. May be repeated.")]
OlderThan = Annotated[
    timedelta | None,
    typer.Option("--older-than", parser=age, metavar="AGE", help="Only in the queue for longer, such as 2d."),
]
NewerThan = Annotated[
    timedelta | None,
    typer.Option("--newer-than", parser=age, metavar="AGE", help="Only in the queue for less, such as 3h."),
]


@dataclass(frozen=True)
class LetterFilter:
    """What a letter must be; nothing given means all of them. Ages count from when it was put into the queue."""

    codes: frozenset[str]
    types: frozenset[str]
    sources: frozenset[str]
    before: datetime | None
    after: datetime | None

    @classmethod
    def of(
        cls,
        codes: list[str] | None,
        types: list[str] | None,
        sources: list[str] | None,
        older_than: timedelta | None,
        newer_than: timedelta | None,
    ) -> LetterFilter:
        now = datetime.now(UTC)
        return cls(
            codes=frozenset(codes or ()),
            types=frozenset(type_.lower() for type_ in types or ()),
            sources=frozenset(sources or ()),
            before=now - older_than if older_than is not None else None,
            after=now - newer_than if newer_than is not None else None,
        )

    @property
    def is_everything(self) -> bool:
        return not (self.codes or self.types or self.sources or self.before or self.after)

    def matches(self, letter: QueueMessage) -> bool:
        return (
            (not self.codes or letter.code in self.codes)
            and (not self.types or letter.type in self.types)
            and (not self.sources or letter.source in self.sources)
            and (self.before is None or letter.sent_at < self.before)
            and (self.after is None or letter.sent_at > self.after)
        )
