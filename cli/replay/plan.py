"""Plans how a window of events is sent: customers in bulk where that saves calls, orders by import, the rest singly.

Every customer and every order ends up as if the events had been sent one after the other. Requests are put into levels,
which are sent one after the other: of each level first the customers in bulk, then the orders, then all other events.
So a request may overtake earlier ones of its customer, and has to wait for the next level where that would matter:

- An upsert waits for a request that changes its customer and is no upsert in bulk.
- An order that changes its customer waits for such a request too, unless that is of the same order.
- An order that only names its customer waits for the customer's deletion.
- An order waits for the same order of another customer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from cli.replay.source import Entry
from handler.model.failure import Action, Failure, failure_of_bug
from handler.model.job import Job
from handler.voucherify.answers import failure_of_invalid_event
from handler.voucherify.bulk import FEWEST_ROWS, merged
from mapping import EventMapping, InvalidEvent, Operation, Request, Skip, map_event, time_of

# Deletions are compared with when an event was received, as the function compares them with when it was stored.
_RECEIVED = ("receivedAt", "timestamp", "originalTimestamp")


class Planned(NamedTuple):
    """A request of an event; `at` is when Segment received the event, where it says so.

    One that is delivered with its further requests (`also`) stands for all of them.
    """

    entry: Entry
    request: Request
    at: datetime | None

    @property
    def job(self) -> Job:
        """The event as a delivery gets it: Segment has received it, and so stored it."""
        return Job(self.entry.event, self.at)

    @property
    def requests(self) -> list[Request]:
        return [self.request, *(one for one in self.request.also if isinstance(one, Request))]

    @property
    def faults(self) -> list[InvalidEvent]:
        """Why further requests of the event cannot be made."""
        return [one for one in self.request.also if isinstance(one, InvalidEvent)]

    @property
    def leaves_customer_unchanged(self) -> bool:
        return all(_only_names_customer(one) for one in self.requests)


class Unsent(NamedTuple):
    """An event without a request, or one of its requests that cannot be made.

    It is skipped or, with a failure, rejected.
    """

    entry: Entry
    skip_reason: str = ""
    failure: Failure | None = None


@dataclass
class Row:
    """The upserts of one customer or of one order, which are sent as one. `key` is its `source_id`, or its `id`."""

    key: str
    upserts: list[Planned] = field(default_factory=list)

    @property
    def customer(self) -> str:
        return self.upserts[0].request.customer

    def body(self) -> dict[str, Any]:
        """Return the sum of the upserts."""
        body: dict[str, Any] = {}
        for upsert in self.upserts:
            body = merged(body, upsert.request.body or {})
        return body


class Bulk(NamedTuple):
    """A step in bulk: one row for each customer."""

    rows: list[Row]


class Import(NamedTuple):
    """A step that imports orders: one row for each order."""

    rows: list[Row]


class Singles(NamedTuple):
    """A step one by one, each customer's events in this order."""

    planned: list[Planned]


Step = Bulk | Import | Singles


def map_entries(
    entries: Iterable[Entry], mapping: EventMapping, *, as_live: bool
) -> tuple[list[Planned], list[Unsent]]:
    """Map events to requests, and return the ones that are sent apart from the ones that are not.

    `as_live`: an event's order is sent with its custom event, as for a new event, and not imported.
    """
    planned: list[Planned] = []
    unsent: list[Unsent] = []
    for entry in entries:
        for mapped in _map_entry(entry, mapping, as_live=as_live):
            if isinstance(mapped, Planned):
                planned.append(mapped)
            else:
                unsent.append(mapped)
    return planned, unsent


def _map_entry(entry: Entry, mapping: EventMapping, *, as_live: bool) -> Sequence[Planned | Unsent]:
    """Return the requests of an event, the order before the custom event, as they are delivered."""
    if entry.fault:
        return [Unsent(entry, failure=Failure("decode", "unreadable", entry.fault, action=Action.DEAD_LETTER))]
    try:
        # An archive has events as they were sent, before Segment chose destinations for them. An event that was stored
        # has been chosen.
        request = map_event(entry.event, mapping, is_routed=entry.was_stored)
    except InvalidEvent as error:
        return [Unsent(entry, failure=failure_of_invalid_event(error))]
    except Exception as error:
        return [Unsent(entry, failure=failure_of_bug(error))]
    if isinstance(request, Skip):
        return [Unsent(entry, skip_reason=request.reason)]
    at = time_of(entry.event, _RECEIVED)
    if as_live or not request.also:
        return [Planned(entry, request, at)]
    parts = (request._replace(also=()), *request.also)
    failed = [Unsent(entry, failure=failure_of_invalid_event(one)) for one in parts if isinstance(one, InvalidEvent)]
    requests = sorted((one for one in parts if isinstance(one, Request)), key=lambda one: not one.is_idempotent)
    return [*failed, *(Planned(entry, one, at) for one in requests)]


def plan_steps(planned: Sequence[Planned], *, in_bulk: bool, as_live: bool) -> Iterator[Step]:
    """Yield the steps, which are taken one after the other. `in_bulk`: customers may be sent in bulk."""
    singles: list[Planned] = []
    for upserts, orders, others in _levels(planned, in_bulk=in_bulk, as_live=as_live):
        customers = _rows(upserts)
        if len(customers) < FEWEST_ROWS:
            singles += upserts
            customers = []
        if singles and (customers or orders):
            yield Singles(singles)
            singles = []
        if customers:
            yield Bulk(customers)
        if orders:
            yield Import(_rows(orders))
        singles += others
    if singles:
        yield Singles(singles)


class _Part(IntEnum):
    """The parts of a level, in the order in which they are sent. A deletion is sent among the other events."""

    UPSERTS = 0
    ORDERS = 1
    OTHERS = 2
    DELETION = 3


@dataclass
class _Place:
    """The level of a customer's next request, and the last part of it in which the customer changes.

    `order` is the order that changes the customer there. A part may have several upserts, but one order that does.
    """

    level: int = 0
    changed_in: _Part = _Part.UPSERTS
    order: str = ""

    def next_level(self, one: Planned, part: _Part) -> int:
        """Return the level at which a request may be sent, as far as its customer is concerned."""
        if part >= _Part.OTHERS:
            return self.level
        if part is _Part.ORDERS and one.leaves_customer_unchanged:
            return self.level + (self.changed_in is _Part.DELETION)
        is_second_order = part is _Part.ORDERS and self.changed_in is part and self.order != _key(one.request)
        return self.level + (self.changed_in > part or is_second_order)

    def add(self, one: Planned, part: _Part, level: int) -> None:
        if level > self.level:
            self.level, self.changed_in, self.order = level, _Part.UPSERTS, ""
        if not one.leaves_customer_unchanged:
            self.changed_in = max(self.changed_in, part)
            self.order = _key(one.request) if part is _Part.ORDERS else self.order


class _Level(NamedTuple):
    upserts: list[Planned]
    orders: list[Planned]
    others: list[Planned]


def _levels(planned: Iterable[Planned], *, in_bulk: bool, as_live: bool) -> list[_Level]:
    """Return the levels of requests, by the rules above.

    An upsert or an order may overtake earlier requests of its customer in a level. So there are as few of them as
    possible.
    """
    places: defaultdict[str, _Place] = defaultdict(_Place)
    orders: dict[str, tuple[str, int]] = {}  # who had an order last, and at which level
    levels: list[_Level] = []
    for one in planned:
        customer, part = one.request.customer, _part_of(one.request, in_bulk=in_bulk, as_live=as_live)
        level = places[customer].next_level(one, part)
        if part is _Part.ORDERS:
            last_customer, last_level = orders.get(_key(one.request), (customer, 0))
            level = max(level, last_level + (last_customer != customer))
            orders[_key(one.request)] = customer, level
        places[customer].add(one, part, level)
        while len(levels) <= level:
            levels.append(_Level([], [], []))
        levels[level][min(part, _Part.OTHERS)].append(one)
    return levels


def _part_of(request: Request, *, in_bulk: bool, as_live: bool) -> _Part:
    if request.operation is Operation.DELETE_CUSTOMER:
        return _Part.DELETION
    if request.operation is Operation.UPSERT_ORDER and not as_live:
        return _Part.ORDERS
    return _Part.UPSERTS if in_bulk and _fits_row(request) else _Part.OTHERS


def _fits_row(request: Request) -> bool:
    """Return whether a bulk call can hold an upsert: its rows have a `source_id` and no `id`."""
    body = request.body or {}
    return request.operation is Operation.UPSERT_CUSTOMER and "id" not in body and bool(body.get("source_id"))


def _only_names_customer(request: Request) -> bool:
    """Return whether a request is a track or an order that has nothing to change of its customer."""
    body = request.body or {}
    can_name = request.operation in (Operation.TRACK_EVENT, Operation.UPSERT_ORDER)
    return can_name and body["customer"].keys() == {"source_id"}


def _rows(upserts: Iterable[Planned]) -> list[Row]:
    rows: dict[str, Row] = {}
    for one in upserts:
        key = _key(one.request)
        rows.setdefault(key, Row(key)).upserts.append(one)
    return list(rows.values())


def _key(upsert: Request) -> str:
    body = upsert.body or {}
    return str(body.get("source_id") or body["id"])
