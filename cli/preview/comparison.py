"""Compares two mappings: the events and the fields of their requests that change, with examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mapping import EventMapping, InvalidEvent, Operation, Skip, map_event, message_id_of

ABSENT: Any = object()


class Change(NamedTuple):
    """One field of an event's requests under both mappings, or ABSENT. `order.` precedes the fields of an order."""

    place: str
    before: Any
    after: Any

    def to_json(self) -> dict[str, Any]:
        return {name: value for name, value in self._asdict().items() if value is not ABSENT}


@dataclass
class Comparison:
    """Counts of changes from `before` to `after`. `now_rejected`: events that only `after` rejects."""

    before: EventMapping
    after: EventMapping
    most_examples: int
    events: int = 0
    changed: int = 0
    now_rejected: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, str | None, list[Change]]] = field(default_factory=list)

    def add(self, where: str, event: Any) -> None:
        """Compare the requests of one event."""
        self.events += 1
        before, after = _leaves(event, self.before), _leaves(event, self.after)
        self.now_rejected += _is_rejected(after) and not _is_rejected(before)
        places = [
            place for place in {**before, **after} if _differ(before.get(place, ABSENT), after.get(place, ABSENT))
        ]
        if not places:
            return
        self.changed += 1
        self.fields.update(places)
        if len(self.examples) < self.most_examples:
            changes = [Change(place, before.get(place, ABSENT), after.get(place, ABSENT)) for place in places]
            self.examples.append((where, message_id_of(event), changes))

    def to_json(self) -> dict[str, Any]:
        return {
            "events": self.events,
            "changed": self.changed,
            "nowRejected": self.now_rejected,
            "fields": dict(self.fields.most_common()),
            "examples": [
                {"where": where, "messageId": message_id, "changes": [change.to_json() for change in changes]}
                for where, message_id, changes in self.examples
            ],
        }


def _leaves(event: Any, mapping: EventMapping) -> dict[str, Any]:
    """Return the outcome of each request of an event, and each of its fields."""
    try:
        first = map_event(event, mapping)
    except InvalidEvent as error:
        return {"outcome": f"rejected: {error.code}"}
    if isinstance(first, Skip):
        return {"outcome": f"skipped: {first.reason}"}
    leaves: dict[str, Any] = {}
    for outcome in (first, *first.also):
        if isinstance(outcome, InvalidEvent):
            # An event becomes two requests at most.
            place = "" if first.operation is Operation.UPSERT_ORDER else "order."
            leaves[f"{place}outcome"] = f"rejected: {outcome.code}"
        else:
            place = "order." if outcome.operation is Operation.UPSERT_ORDER else ""
            leaves[f"{place}outcome"] = f"{outcome.method} {outcome.path}"
            leaves |= {place + field: value for field, value in fields_of("", outcome.body or {})}
    return leaves


def fields_of(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield each field with its place. A list is one field, since its elements have no names."""
    if isinstance(value, dict) and (value or not place):
        for key, inner in value.items():
            yield from fields_of(f"{place}.{key}" if place else key, inner)
    else:
        yield place, value


def _is_rejected(leaves: dict[str, Any]) -> bool:
    """Return whether a request of the event cannot be made."""
    outcomes = (leaves.get("outcome"), leaves.get("order.outcome"))
    return any(str(outcome).startswith("rejected") for outcome in outcomes)


def _differ(before: Any, after: Any) -> bool:
    """Return whether two values differ; `1`, `1.0` and `true` do."""
    return type(before) is not type(after) or bool(before != after)
