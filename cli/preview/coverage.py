"""Counts the outcomes of many events under a mapping, the rows that were used, and the fields that were left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mapping import CALLS, EventMapping, Explanation, InvalidEvent, Request, Skip, explain, message_id_of, normalise

Row = tuple[str, str, str]  # call, source and destination


@dataclass
class Coverage:
    """Counts of events under one mapping.

    `without_customer`: rejected, since they have no userId and no anonymousId. `without_message_id`: delivered, and
    delivered twice if Segment sends them twice.
    """

    mapping: EventMapping
    events: int = 0
    delivered: Counter[tuple[str, str]] = field(default_factory=Counter)  # by call and event name
    skipped: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    first_rejected: dict[str, str] = field(default_factory=dict)
    without_customer: int = 0
    without_message_id: int = 0
    left_out: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _filled: Counter[Row] = field(default_factory=Counter)

    def add(self, where: str, event: Any) -> None:
        """Count one event."""
        self.events += 1
        self.without_message_id += message_id_of(event) is None
        explanation = explain(event, self.mapping)
        match explanation.outcome:
            case Skip(reason):
                self.skipped[reason] += 1
            case InvalidEvent() as error:
                self.rejected[error.code] += 1
                self.first_rejected.setdefault(error.code, where)
                self.without_customer += error.code == "customer_id_missing"
            case Request() as request:
                call = normalise(event).type
                self.delivered[call, str((request.body or {}).get("event", ""))] += 1
                self.left_out.update((out.source, out.destination, out.reason) for out in explanation.left_out)
                self._filled.update(row for row in self._rows_of(call) if _has_filled(explanation, row))

    @property
    def rows(self) -> list[tuple[Row, int, int]]:
        """Each row of the delivered calls, with the number of events that used it and the number of events."""
        by_call: Counter[str] = Counter()
        for (call, _), count in self.delivered.items():
            by_call[call] += count
        return [
            (row, self._filled[row], by_call[call]) for call in CALLS if by_call[call] for row in self._rows_of(call)
        ]

    def _rows_of(self, call: str) -> Iterator[Row]:
        mapping = CALLS[call].mapping
        for named in self.mapping.rules[mapping.name] if mapping else ():
            for rule in named.rules:
                yield call, rule.source.text, rule.destination

    def to_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "delivered": [
                {"call": call, "event": name, "count": count} for (call, name), count in self.delivered.most_common()
            ],
            "skipped": dict(self.skipped),
            "rejected": dict(self.rejected),
            "withoutCustomer": self.without_customer,
            "withoutMessageId": self.without_message_id,
            "rows": [
                {"call": call, "source": source, "destination": destination, "filled": filled, "events": events}
                for (call, source, destination), filled, events in self.rows
            ],
            "leftOut": [
                {"source": source, "destination": destination, "reason": reason, "count": count}
                for (source, destination, reason), count in self.left_out.most_common()
            ],
        }


def _has_filled(explanation: Explanation, row: Row) -> bool:
    """Return whether a row gave a value that is sent: a whole one, a field of an object, or a part of a name."""
    _, source, destination = row
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
