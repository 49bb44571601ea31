"""Selects messages by reason code, event type, source and age; and the options of a command for that."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from inspect import Signature, signature
from typing import Annotated, Any

import typer

from cli.dead_letters.messages import QueueMessage

_AGE = re.compile(r"(\d+)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def age(text: str) -> timedelta:
    """Read an age, such as `2d`, `3h` or `90m`."""
    match = _AGE.fullmatch(text.strip().lower())
    if not match:
        raise typer.BadParameter("must be a number with one of s, m, h, d, w, such as 2d or 3h")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


@dataclass(frozen=True)
class MessageFilter:
    """The messages that a command works on. No condition matches all. Ages count from the arrival in the queue."""

    codes: frozenset[str]
    types: frozenset[str]
    sources: frozenset[str]
    before: datetime | None
    after: datetime | None

    @classmethod
    def of(
        cls,
        codes: Annotated[list[str] | None, typer.Option("--code", help="A reason code. May be repeated.")] = None,
        types: Annotated[list[str] | None, typer.Option("--type", help="An event type. May be repeated.")] = None,
        sources: Annotated[list[str] | None, typer.Option("--source", help="A source. May be repeated.")] = None,
        older_than: Annotated[
            timedelta | None,
            typer.Option(parser=age, metavar="AGE", help="Only messages older than this, such as 2d."),
        ] = None,
        newer_than: Annotated[
            timedelta | None,
            typer.Option(parser=age, metavar="AGE", help="Only messages newer than this, such as 3h."),
        ] = None,
    ) -> MessageFilter:
        now = datetime.now(UTC)
        return cls(
            codes=frozenset(codes or ()),
            types=frozenset(type_.lower() for type_ in types or ()),
            sources=frozenset(sources or ()),
            before=now - older_than if older_than is not None else None,
            after=now - newer_than if newer_than is not None else None,
        )

    @property
    def matches_all(self) -> bool:
        return not (self.codes or self.types or self.sources or self.before or self.after)

    def matches(self, message: QueueMessage) -> bool:
        return (
            (not self.codes or message.code in self.codes)
            and (not self.types or message.type in self.types)
            and (not self.sources or message.source in self.sources)
            and (self.before is None or message.sent_at < self.before)
            and (self.after is None or message.sent_at > self.after)
        )


def with_filter(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `MessageFilter.of` in place of its parameter `wanted`."""
    own = [parameter for name, parameter in signature(command, eval_str=True).parameters.items() if name != "wanted"]
    options = list(signature(MessageFilter.of, eval_str=True).parameters.values())

    def run(**values: Any) -> None:
        conditions = {option.name: values.pop(option.name) for option in options}
        command(wanted=MessageFilter.of(**conditions), **values)

    # Typer reads a command's options from its signature and annotations.
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = Signature([*own, *options])  # type: ignore[attr-defined] # read by inspect
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    return run
