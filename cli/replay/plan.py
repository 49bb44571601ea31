"""Plans how a window of events is sent: customers in bulk where that saves calls, all other events one by one.

Every customer ends up as if its events had been sent one after the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cli.replay.source import Entry
from handler.model.failure import Action, Failure, failure_of_bug
from handler.voucherify.answers import failure_of_invalid_event
from mapping import EventMapping, InvalidEvent, Operation, Request, Skip, map_event, normalise

# A bulk call takes two more calls at least, which poll for its result. For fewer customers, single calls are no more.
FEWEST_ROWS = 5


class Planned(NamedTuple):
    """An event with its request; `at` is when Segment received it, where it says so."""

    entry: Entry
    request: Request
    at: datetime | None


class Unsent(NamedTuple):
    """An event without a request: it is skipped or, with a failure, rejected."""

    entry: Entry
    skip_reason: str = ""
    failure: Failure | None = None


@dataclass
class Row:
    """The upserts of one customer, which are sent as one."""

    customer: str
    upserts: list[Planned] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """Return the sum of the upserts: later fields replace earlier ones, metadata key by key."""
        body: dict[str, Any] = {}
        for upsert in self.upserts:
            later = upsert.request.body or {}
            metadata = {**body.get("metadata", {}), **later.get("metadata", {})}
            body = {**body, **later, **({"metadata": metadata} if metadata else {})}
        return body


class Bulk(NamedTuple):
    """A step in bulk: one row for each customer."""

    rows: list[Row]


class Singles(NamedTuple):
    """A step one by one, each customer's events in this order."""

    planned: list[Planned]


Step = Bulk | Singles


def map_entries(entries: Iterable[Entry], mapping: EventMapping) -> tuple[list[Planned], list[Unsent]]:
    """Map events to requests, and return the ones that are sent apart from the ones that are not."""
    planned: list[Planned] = []
    unsent: list[Unsent] = []
    for entry in entries:
        mapped = _map_entry(entry, mapping)
        if isinstance(mapped, Planned):
            planned.append(mapped)
        else:
            unsent.append(mapped)
    return planned, unsent


def _map_entry(entry: Entry, mapping: EventMapping) -> Planned | Unsent:
    if entry.fault:
        return Unsent(entry, failure=Failure("decode", "unreadable", entry.fault, action=Action.DEAD_LETTER))
    try:
        # An archive has events as they were sent, before Segment chose destinations for them. An event that was stored
        # has been chosen.
        request = map_event(entry.event, mapping, is_routed=entry.was_stored)
    except InvalidEvent as error:
        return Unsent(entry, failure=failure_of_invalid_event(error))
    except Exception as error:
        return Unsent(entry, failure=failure_of_bug(error))
    if isinstance(request, Skip):
        return Unsent(entry, skip_reason=request.reason)
    return Planned(entry, request, _received_at(entry.event))


def _received_at(event: Any) -> datetime | None:
    fields = normalise(event).fields
    for name in ("receivedAt", "timestamp", "originalTimestamp"):
        try:
            moment = datetime.fromisoformat(fields[name])
        except (KeyError, TypeError, ValueError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def plan_steps(planned: Sequence[Planned], *, in_bulk: bool) -> list[Step]:
    """Return the steps, which are taken one after the other."""
    if not in_bulk:
        return [Singles(list(planned))] if planned else []
    steps: list[Step] = []
    singles: list[Planned] = []
    for upserts, others in _levels(planned):
        rows = _rows(upserts)
        if len(rows) < FEWEST_ROWS:
            singles += upserts
        else:
            if singles:
                steps.append(Singles(singles))
            steps.append(Bulk(rows))
            singles = []
        singles += others
    return [*steps, Singles(singles)] if singles else steps


@dataclass
class _Place:
    """The level of a customer's next event. `is_open`: an upsert may still join the upserts of the level."""

    level: int = 0
    is_open: bool = True


def _levels(planned: Iterable[Planned]) -> list[tuple[list[Planned], list[Planned]]]:
    """Return, level by level, the upserts and the events that follow them.

    An upsert is moved before earlier events that leave the customer unchanged, so that there are as few upserts as
    possible. It is never moved before one that changes the customer, such as a deletion.
    """
    places: defaultdict[str, _Place] = defaultdict(_Place)
    upserts: defaultdict[int, list[Planned]] = defaultdict(list)
    others: defaultdict[int, list[Planned]] = defaultdict(list)
    for one in planned:
        place = places[one.request.customer]
        if _fits_row(one.request):
            if not place.is_open:
                place.level += 1
                place.is_open = True
            upserts[place.level].append(one)
        else:
            others[place.level].append(one)
            place.is_open &= leaves_customer_unchanged(one.request)
    last = max((place.level for place in places.values()), default=-1)
    return [(upserts[level], others[level]) for level in range(last + 1)]


def _fits_row(request: Request) -> bool:
    """Return whether a bulk call can hold an upsert: its rows have a `source_id` and no `id`."""
    body = request.body or {}
    return request.operation is Operation.UPSERT_CUSTOMER and "id" not in body and bool(body.get("source_id"))


def leaves_customer_unchanged(request: Request) -> bool:
    """Return whether a request is a track that only names its customer."""
    body = request.body or {}
    return request.operation is Operation.TRACK_EVENT and body["customer"].keys() == {"source_id"}


def _rows(upserts: Iterable[Planned]) -> list[Row]:
    rows: dict[str, Row] = {}
    for one in upserts:
        customer = one.request.customer
        rows.setdefault(customer, Row(customer)).upserts.append(one)
    return list(rows.values())
