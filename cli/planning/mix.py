"""The mix of a shop's own events: what each of them becomes under its mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from cli.planning.events import Kind
from mapping import EventMapping, InvalidEvent, Operation, Request, Skip, attributes_of, map_event

SKIPPED = Kind("skipped", calls=0)
REJECTED = Kind("rejected", calls=0)

_NAMES = {
    Operation.UPSERT_CUSTOMER: "customer",
    Operation.TRACK_EVENT: "custom event",
    Operation.UPSERT_ORDER: "order",
    Operation.DELETE_CUSTOMER: "deletion",
}


class FoundMix(NamedTuple):
    """How many events of each kind there are."""

    kinds: Counter[Kind]

    @property
    def shares(self) -> dict[Kind, float]:
        total = self.kinds.total()
        return {kind: count / total for kind, count in self.kinds.most_common()}


def mix_of(events: Iterable[tuple[str, Any]], mapping: EventMapping) -> FoundMix:
    """Return the mix of events, each with its place, under a mapping."""
    return FoundMix(Counter(_kind_of(event, mapping) for _, event in events))


def _kind_of(event: Any, mapping: EventMapping) -> Kind:
    try:
        mapped = map_event(event, mapping)
    except InvalidEvent:
        return REJECTED
    if isinstance(mapped, Skip):
        return SKIPPED
    requests = [one for one in (mapped, *mapped.also) if isinstance(one, Request)]
    requests.sort(key=lambda one: not one.is_idempotent)
    body = mapped.body or {}
    return Kind(
        " and ".join(_NAMES[one.operation] for one in requests),
        calls=len(requests),
        is_recorded=not requests[-1].is_idempotent,
        is_row=len(requests) == 1 and mapped.operation is Operation.UPSERT_CUSTOMER and "id" not in body,
        notes=min(1, sum(bool(attributes.names) for one in requests for attributes in attributes_of(one))),
    )
