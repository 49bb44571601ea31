"""Counts the outcomes of many events under a mapping, the rows that were used, and the fields that were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mapping import (
    CALLS,
    ORDER,
    EventMapping,
    Explanation,
    InvalidEvent,
    MappingSetting,
    NamedRules,
    Operation,
    Request,
    Skip,
    explain,
    message_id_of,
    normalise,
)


class Mapping(NamedTuple):
    """The mapping of a setting for one event name, or the default one. `mapped_by` names it."""

    setting: str
    mapped_by: str


class Row(NamedTuple):
    """One row of such a mapping."""

    mapping: Mapping
    source: str
    destination: str


class EventName(NamedTuple):
    """A call and the name of its event; empty where it has none."""

    call: str
    event: str

    def __str__(self) -> str:
        return f"{self.call} {self.event}".strip()


@dataclass
class Coverage:
    """Counts of events under one mapping.

    `delivered` and `orders` count requests: an event may become both. `skipped` and `rejected` count events; an event
    one of whose requests cannot be made is rejected. `without_customer`: rejected, since they have no userId and no
    anonymousId. `without_message_id`: delivered, and delivered twice if Segment sends them twice. `not_sent`: the
    properties or traits that no row reads.
    """

    mapping: EventMapping
    events: int = 0
    delivered: Counter[EventName] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)  # by event name
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: dict[str, str] = field(default_factory=dict)
    without_customer: int = 0
    without_message_id: int = 0
    left_out: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    not_sent: Counter[tuple[EventName, str]] = field(default_factory=Counter)
    _mapped: Counter[Mapping] = field(default_factory=Counter)
    _filled: Counter[Row] = field(default_factory=Counter)

    def add(self, where: str, event: Any) -> None:
        """Count one event."""
        self.events += 1
        self.without_message_id += message_id_of(event) is None
        explanation = explain(event, self.mapping)
        if isinstance(explanation.outcome, Skip):
            self.skipped[explanation.outcome.reason] += 1
            return
        for error in [one.outcome for one in explanation.all if isinstance(one.outcome, InvalidEvent)][:1]:
            self.rejected[error.code] += 1
            self.first_rejected.setdefault(error.code, where)
            self.without_customer += error.code == "customer_id_missing"
        made = [one for one in explanation.all if isinstance(one.outcome, Request)]
        if not made:
            return
        # A customer's field is part of the custom event and of the order, and counts once.
        self.left_out.update({(out.source, out.destination, out.reason) for one in made for out in one.left_out})
        normalised = normalise(event)
        call = CALLS[normalised.type]
        name = call.name_of(normalised)
        event_name = EventName(call.name, name if isinstance(name, str) else "")
        self.not_sent.update((event_name, source) for source in explanation.not_sent)
        for one in made:
            is_order = one.outcome.operation is Operation.UPSERT_ORDER  # type: ignore[union-attr] # it is a request
            if is_order:
                self.orders[event_name.event] += 1
            else:
                self.delivered[event_name] += 1
            if setting := ORDER if is_order else call.mapping:
                self._count_rows(setting, self.mapping.rules_for(setting.name, name), one)

    def _count_rows(self, setting: MappingSetting, named: NamedRules, explanation: Explanation) -> None:
        rows = list(_rows_of(setting.name, named))
        self._mapped[Mapping(setting.name, str(named))] += 1
        self._filled.update(row for row in rows if has_filled(explanation, row.source, row.destination))

    @property
    def delivered_events(self) -> int:
        """The number of events all of whose requests can be made."""
        return self.events - self.skipped.total() - self.rejected.total()

    @property
    def rows(self) -> Iterator[tuple[Mapping, int, list[tuple[Row, int]]]]:
        """Yield each mapping that events have, with their number, and its rows, each with the number that used it."""
        for setting, rules in self.mapping.rules.items():
            for named in rules:
                mapping = Mapping(setting, str(named))
                if events := self._mapped[mapping]:
                    yield mapping, events, [(row, self._filled[row]) for row in _rows_of(setting, named)]

    @property
    def unused_mappings(self) -> list[str]:
        """The mappings of event names that no event has, perhaps since the name is misspelt."""
        return [
            str(named)
            for setting, rules in self.mapping.rules.items()
            for named in rules
            if named.name and not self._mapped[Mapping(setting, str(named))]
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "delivered": [{**name._asdict(), "count": count} for name, count in self.delivered.most_common()],
            "orders": [{"event": name, "count": count} for name, count in self.orders.most_common()],
            "skipped": dict(self.skipped),
            "rejected": dict(self.rejected),
            "withoutCustomer": self.without_customer,
            "withoutMessageId": self.without_message_id,
            "rows": [
                {
                    "setting": mapping.setting,
                    "mappedBy": mapping.mapped_by,
                    "source": row.source,
                    "destination": row.destination,
                    "filled": filled,
                    "events": events,
                }
                for mapping, events, rows in self.rows
                for row, filled in rows
            ],
            "unusedMappings": self.unused_mappings,
            "leftOut": [
                {"source": source, "destination": destination, "reason": reason, "count": count}
                for (source, destination, reason), count in self.left_out.most_common()
            ],
            "notSent": [
                {**name._asdict(), "property": source, "count": count}
                for (name, source), count in self.not_sent.most_common()
            ],
        }


def _rows_of(setting: str, named: NamedRules) -> Iterator[Row]:
    mapping = Mapping(setting, str(named))
    return (Row(mapping, rule.source.text, rule.destination) for rule in named.rules)


def has_filled(explanation: Explanation, source: str, destination: str) -> bool:
    """Return whether a row gave a value that is sent: a whole one, a field of an object, or a part of a name."""
    by_name = destination in ("customer.firstName", "customer.lastName")
    for filled in explanation.filled:
        if filled.is_fallback:
            if by_name and filled.destination == "customer.name" and source in filled.source.split(" and "):
                return True
        elif _is_at(filled.source, source) and _is_at(filled.destination, destination):
            return True
    return False


def _is_at(place: str, row: str) -> bool:
    return place == row or place.startswith(f"{row}.")
