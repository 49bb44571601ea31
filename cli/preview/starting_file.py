"""A settings file to start from: by event name, the default rows that events use, and a row for all that none reads."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from cli.preview.coverage import has_filled
from cli.settings.file import SOURCE_ROOTS
from cli.settings.store import STANDARD_BYTES
from mapping import (
    MAPPINGS,
    ORDER_EVENTS,
    TRACK,
    EventMapping,
    Explanation,
    InvalidEvent,
    InvalidMapping,
    MappingSetting,
    OrderStatus,
    Skip,
    explain,
    normalise,
)

Rows = dict[str, str]

_NAME = "properties.name"
_NO_ROOM = "a parameter of 4 KB has no room for it"

IDENTIFY = MAPPINGS["identifyMapping"]

# https://segment.com/docs/connections/spec/ecommerce/v2/#order-overview
ORDER_STATUSES = {
    "Order Completed": OrderStatus.PAID,
    "Order Updated": OrderStatus.CREATED,
    "Order Cancelled": OrderStatus.CANCELED,
    "Order Refunded": OrderStatus.CANCELED,
}

EXAMPLE: Mapping[str, Any] = {
    TRACK.name: {
        "Order Completed": {
            "properties.email": "customer.email",
            "properties.order_id": "metadata.order_id",
            "properties.total": "metadata.total",
            "properties.currency": "metadata.currency",
            "properties.coupon": "metadata.coupon",
        },
        "*": dict(TRACK.classic),
    }
}


class NotMapped(NamedTuple):
    """Sources for which the file has no row, and why. `event` is empty for traits; without sources, it is the event."""

    event: str
    reason: str
    sources: list[str]


@dataclass
class StartingFile:
    """Collects the rows for events. `unused` counts events for which there are no rows, by call or reason."""

    unused: Counter[str] = field(default_factory=Counter)
    _track: dict[str, _RowsOfEvents] = field(default_factory=dict)
    _identify: _RowsOfEvents | None = None
    _names_left_out: dict[str, str] = field(default_factory=dict)

    def add(self, raw: Any) -> None:
        """Add the rows that an event needs."""
        try:
            event = normalise(raw)
        except InvalidEvent as error:
            self.unused[error.code] += 1
            return
        name = event.fields.get("event")
        if event.type == "identify":
            self._identify = self._identify or _RowsOfEvents(IDENTIFY, "customer.metadata")
            self._identify.add(event.fields)
        elif event.type != "track":
            self.unused[event.type] += 1
        elif not isinstance(name, str):
            self.unused["track without a name"] += 1
        elif problem := _problem_of_name(name):
            self._names_left_out[name] = problem
        else:
            self._track.setdefault(name, _RowsOfEvents(TRACK, "metadata")).add(event.fields)

    def settings(self, *, has_orders: bool) -> dict[str, Any]:
        """Return the settings. `has_orders`: the order events among the names get a status.

        Events without a row are not named, so that they keep the default mapping.
        """
        by_event = {name: rows for name, found in self._track.items() if (rows := found.used(name))}
        settings: dict[str, Any] = dict(spread(TRACK.name, by_event))
        if self._identify and (traits := self._identify.used("")):
            settings[IDENTIFY.name] = traits
        statuses = {name: status.value for name, status in ORDER_STATUSES.items() if name in self._track}
        return settings | ({ORDER_EVENTS: statuses} if has_orders and statuses else {})

    @property
    def events_with_names(self) -> list[str]:
        """The track events whose `name` becomes the customer's, as in the default mapping."""
        return [name for name, found in self._track.items() if _NAME in found.used(name)]

    @property
    def not_mapped(self) -> list[NotMapped]:
        """What the settings have no row for."""
        found = [NotMapped(name, reason, []) for name, reason in self._names_left_out.items()]
        for name, rows in (*self._track.items(), *([("", self._identify)] if self._identify else [])):
            by_reason: dict[str, list[str]] = {}
            for source, reason in rows.problems(name).items():
                by_reason.setdefault(reason, []).append(source)
            found += [NotMapped(name, reason, sources) for reason, sources in by_reason.items()]
        return found


class _RowsOfEvents:
    """The rows for the events of one name: the default ones, and those that an event needs beside them."""

    def __init__(self, setting: MappingSetting, metadata: str) -> None:
        self._problems: dict[str, str] = {}
        self._setting = setting
        self._metadata = metadata
        self._rows: Rows = dict(setting.classic)
        self._used: set[str] = set()
        self._mapping = self._compiled(self._rows)

    def add(self, fields: Mapping[str, Any]) -> None:
        """Add the rows for an event's own data: the properties of a track, the traits of an identify."""
        own = {name: value for name, value in fields.items() if name not in ("traits", "properties")}
        own[self._setting.payload] = fields.get(self._setting.payload, {})
        explanation = explain(own, self._mapping)
        if isinstance(explanation.outcome, Skip):
            return
        found = {f"{self._setting.payload}.{path}": f"{self._metadata}.{path}" for path in explanation.not_sent}
        new = {source: destination for source, destination in found.items() if source not in self._problems}
        for source, destination in new.items():
            # Keys that are ids are without end.
            problem = _NO_ROOM if size_of(self._rows) > 2 * STANDARD_BYTES else self._problem(source, destination)
            if problem:
                self._problems[source] = problem
            else:
                self._rows[source] = destination
                self._used.add(source)
        if new:
            self._mapping = self._compiled(self._rows)
        self._used.update(self._finding(explanation))

    def used(self, event: str) -> Rows:
        """Return the rows that found something, as many as one parameter holds for the event."""
        rows: Rows = {}
        for source in (source for source in self._rows if source in self._used):
            longer = {**rows, source: self._rows[source]}
            if size_of({event: longer} if event else longer) <= STANDARD_BYTES:
                rows = longer
        return rows

    def problems(self, event: str) -> dict[str, str]:
        """Return why sources have no row."""
        without_room = self._used - self.used(event).keys()
        return {**{source: _NO_ROOM for source in self._rows if source in without_room}, **self._problems}

    def _finding(self, explanation: Explanation) -> Iterator[str]:
        """Yield the sources of the rows that found something, also what cannot be sent: preview names that then."""
        not_used = [filled.source for filled, _ in explanation.unused] + [out.source for out in explanation.left_out]
        for source, destination in self._rows.items():
            is_there = any(f"{place}.".startswith(f"{source}.") or source.startswith(f"{place}.") for place in not_used)
            if is_there or has_filled(explanation, source, destination):
                yield source

    def _problem(self, source: str, destination: str) -> str:
        """Return why a row is not possible; empty where it is."""
        if '"' in source:  # such a key is in quotes
            return "its key has characters that a destination cannot have"
        if not _is_storable(source):
            return "its key cannot be stored in SSM"
        try:
            self._compiled({source: destination})
        except InvalidMapping as invalid:
            return "; ".join(fault.problem for fault in invalid.faults)
        return ""

    def _compiled(self, rows: Rows) -> EventMapping:
        return EventMapping.compile({self._setting.name: rows})


def spread(name: str, by_event: Mapping[str, Rows]) -> Iterator[tuple[str, dict[str, Rows]]]:
    """Yield the parameters that hold the mappings of events: labelled ones where one of 4 KB is too small."""
    parts: list[dict[str, Rows]] = []
    for event, rows in by_event.items():
        if not parts or size_of({**parts[-1], event: rows}) > STANDARD_BYTES:
            parts.append({})
        parts[-1][event] = rows
    if len(parts) == 1:
        yield name, parts[0]
    else:
        yield from ((f"{name}.{number}", part) for number, part in enumerate(parts, 1))


def size_of(value: Any) -> int:
    """Return the size of a setting in Parameter Store, in bytes."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _problem_of_name(name: str) -> str:
    if not name.strip():
        return "the event name is empty"
    if name in SOURCE_ROOTS:
        return "a settings file cannot tell this event name from a source"
    if not _is_storable(name) or size_of({name: {}}) > STANDARD_BYTES:
        return "the event name cannot be stored in SSM"
    return ""


def _is_storable(text: str) -> bool:
    """Return whether SSM stores a text: valid UTF-8, without `{{`, with which a reference begins."""
    return "{{" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
