"""The properties or traits of an event that no row of its mapping reads: perhaps a row is missing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mapping.event.casing import fold
from mapping.event.segment import PAYLOADS, Event
from mapping.rules.rule import Rules
from mapping.rules.sources import written
from mapping.trace import MappingTrace
from mapping.values import MAX_DEPTH, is_missing

_Path = tuple[str, ...]


def not_sent(event: Event, rules: Iterable[Rules], traces: Iterable[MappingTrace]) -> Iterator[str]:
    """Yield each property or trait with a value that no row reads and no fallback uses, as a source of a row.

    An array is one value, whatever a row reads of it.
    """
    used = {_folded(path) for rows in rules for row in rows for path in row.source.reads()}
    used |= {_folded(place.split(".")) for trace in traces for place in trace.places_of_fallbacks()}
    for payload in PAYLOADS:
        for path in _leaves((payload,), event.fields.get(payload)):
            folded = _folded(path)
            if not any(folded[: len(one)] == one or one[: len(folded)] == folded for one in used):
                yield written(path[1:])


def _leaves(path: _Path, value: Any) -> Iterator[_Path]:
    if isinstance(value, dict) and len(path) < MAX_DEPTH:
        for key, inner in value.items():
            yield from _leaves((*path, key), inner)
    elif not is_missing(value) and len(path) > 1:
        yield path


def _folded(path: Sequence[str]) -> _Path:
    return tuple(map(fold, path))
