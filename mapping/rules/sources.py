"""Sources: where the value of a mapping's row comes from, compiled once.

A source is a path (`traits.email`, `products.0.sku`, `products[0].sku`, `$.properties['a.b']`, `properties."a.b"`) or a
JMESPath expression (`properties.revenue || properties.total`). A text that can be read as a path is a path, so that a
key keeps its meaning even if it is valid JMESPath. Where the first name is a field of Segment's envelope, the source
starts at the event, otherwise at the call's payload (`email` is `traits.email` of an identify); after `$.` it always
starts at the event. Only the name decides, never the content of an event. Keys are found in any casing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mapping.errors import Problem
from mapping.event.casing import fold
from mapping.event.segment import PAYLOADS, Event, envelope_name
from mapping.rules.destinations import Path
from mapping.rules.expressions import ExpressionSource
from mapping.rules.syntax import InvalidSource, parse_expression
from mapping.values import ConversionError, is_blank, is_missing, kind_of

_BARE = r"""[^.\[\]"'`(){}|&!<>=*@]+"""
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_FIRST = re.compile(rf"(?P<bare>{_BARE})|(?P<json>{_QUOTED})")
_NEXT = re.compile(
    rf"""\.(?P<bare>{_BARE})|\.(?P<json>{_QUOTED})|\[(?P<index>-?\d+)\]|\['(?P<key>[^']*)'\]|\[(?P<json_key>{_QUOTED})\]"""
)
_INDEX = re.compile(r"-?[0-9]+")
_LONGEST_INDEX = 10
_EMPTY_PART = "the source has an empty part between its dots"


class NotAContainer(ConversionError):
    """A value without fields or elements where the rest of a path needs one. `place` is the source up to there."""

    def __init__(self, place: str, value: object, part: str) -> None:
        super().__init__(f"{kind_of(value)} is not {'an array' if _INDEX.fullmatch(part) else 'an object'}")
        self.place = place


@dataclass(frozen=True, slots=True)
class PathSource:
    """A path that starts at the event; `text` is the source as the mapping has it, `places` is it up to each part."""

    text: str
    path: Path
    places: tuple[str, ...]

    def read(self, event: Event) -> Any:
        """Return the value in an event, or None. Raises NotAContainer."""
        value: Any = event.fields
        for position, part in enumerate(self.path):
            if isinstance(value, dict):
                value = value.get(part) or event.casing.get(value, part)
            elif isinstance(value, list) and _INDEX.fullmatch(part):
                value = _element(value, part)
            elif is_blank(value):
                return None
            else:
                raise NotAContainer(self.places[position - 1], value, part)
        return value

    def is_null(self, event: Event) -> bool:
        """Whether the event has `null` where `read` finds no value: there, or for an object above it in its payload."""
        value: Any = event.fields
        for depth, part in enumerate(self.path, 1):
            if not isinstance(value, dict):
                return False
            above, value = value, event.casing.get(value, part)
            if is_missing(value):
                is_last = depth == len(self.path)
                if depth == 1:
                    return is_last and part in event.nulls
                has_null = any(item is None and fold(key) == fold(part) for key, item in above.items())
                return has_null and (is_last or self.path[0] in PAYLOADS)
        return False

    def reads(self) -> Iterator[Path]:
        """Yield the paths in the event that the value depends on."""
        yield self.path

    def locate(self, event: Event) -> str:
        """Return the place of the value in the event, in the event's own casing."""
        value: Any = event.fields
        keys = []
        for part in self.path:
            keys.append(event.casing.key(value, part) if isinstance(value, dict) else part)
            value = value.get(keys[-1]) if isinstance(value, dict) else value[int(part)]
        return written(keys) or "$"


def written(path: Iterable[str]) -> str:
    """Return a path as a mapping has it, with quotes where its keys need them."""
    return ".".join(
        # White space around a source is not part of it.
        key if re.fullmatch(_BARE, key) and key == key.strip() else json.dumps(key, ensure_ascii=False)
        for key in path
    )


def _element(array: list[Any], index: str) -> Any:
    """Return an element, or None where there is none. An index has few digits, since long texts become no integer."""
    position = int(index) if len(index) <= _LONGEST_INDEX else len(array)
    return array[position] if -len(array) <= position < len(array) else None


Source = PathSource | ExpressionSource


def compile_source(text: str, payload: str) -> Source:
    """Return the source of one row; `payload` is the field with the call's data. Raises InvalidSource."""
    is_rooted = text.startswith(("$.", "$[")) or text == "$"
    parts = _parse_path(text, 1 if is_rooted else 0)
    if parts is None:
        skipped = 2 if text.startswith("$.") else int(is_rooted)
        return ExpressionSource(text, parse_expression(text, skipped), "" if is_rooted else payload)
    path = tuple(name for name, _ in parts)
    places = tuple(text[:end] for _, end in parts)
    if is_rooted:
        return PathSource(text, path, places)
    name = envelope_name(path[0])
    return PathSource(text, (name, *path[1:]), places) if name else PathSource(text, (payload, *path), ("", *places))


def _parse_path(text: str, start: int) -> list[tuple[str, int]] | None:
    """Return the names of a path from `start` on, each with its end, or None where it is no path.

    Raises InvalidSource.
    """
    if not text.strip():
        raise InvalidSource([Problem("the source is empty")])
    parts = []
    position = start
    while position < len(text):
        match = (_NEXT if position else _FIRST).match(text, position)
        if match is None:
            if text[position] == "." and (position == 0 or text[position + 1 : position + 2] in ("", ".")):
                raise InvalidSource([Problem(_EMPTY_PART, position)])
            return None
        part = _part(match)
        if match.lastgroup == "bare" and not part.strip():
            raise InvalidSource([Problem(_EMPTY_PART, match.start("bare"))])
        position = match.end()
        parts.append((part, position))
    return parts


def _part(match: re.Match[str]) -> str:
    group = match.lastgroup or ""
    if not group.startswith("json"):
        return match[group]
    try:
        return str(json.loads(match[group]))
    except ValueError as error:
        raise InvalidSource([Problem("the text in double quotes is not valid JSON", match.start(group))]) from error
