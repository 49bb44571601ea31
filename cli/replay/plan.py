"""How a window of events is sent: customers in bulk where that spares calls, the rest one by one, each customer's in
the order that leaves them as their events one after the other would.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cli.replay.source import Entry
from handler.voucherify.answers import Failure, failure_of_bug, failure_of_invalid_event
from mapping import EventMapping, InvalidEvent, Operation, Request, Skip, map_event, normalise

# A bulk call is asked for its end at least twice: for fewer customers, single calls are no more of them, and sooner.
FEWEST_ROWS = 5


class Planned(NamedTuple):
    """An event with its request; `at` is when Segment had it, where it says so."""

    entry: Entry
    request: Request
    at: datetime | None


class Unsent(NamedTuple):
    """An event that becomes no request: it is skipped for a reason, or rejected."""

    entry: Entry
    skip_reason: str = ""
    failure: Failure | None = None


@dataclass
class Row:
    """Upserts of one customer that go as one."""

    customer: str
    upserts: list[Planned] = field(default_factory=list)

    def body(self) -> dict[str, Any]:
        """What the upserts one after the other come to: later fields replace, metadata is set key by key."""
        body: dict[str, Any] = {}
        for upsert in self.upserts:
            later = upsert.request.body or {}
            metadata = {**body.get("metadata", {}), **later.get("metadata", {})}
            body = {**body, **later, **({"metadata": metadata} if metadata else {})}
        return body


class Bulk(NamedTuple):
    """Customers of whom each is in one row."""

    rows: list[Row]


class Singles(NamedTuple):
    """Events that go one by one, each customer's in this order."""

    planned: list[Planned]


Step = Bulk | Singles


def mapped(entries: Iterable[Entry], mapping: EventMapping) -> tuple[list[Planned], list[Unsent]]:
    """What is to be sent, and what is not."""
    planned: list[Planned] = []
    unsent: list[Unsent] = []
    for entry in entries:
        outcome = _mapped(entry, mapping)
        if isinstance(outcome, Planned):
            planned.append(outcome)
        else:
            unsent.append(outcome)
    return planned, unsent


def _mapped(entry: Entry, mapping: EventMapping) -> Planned | Unsent:
    if entry.fault:
        return Unsent(entry, failure=Failure("decode", "unreadable", entry.fault, permanent=True))
    try:
        request = map_event(entry.event, mapping)
    except InvalidEvent as error:
        return Unsent(entry, failure=failure_of_invalid_event(error))
    except Exception as error:
        return Unsent(entry, failure=failure_of_bug(error))
    if isinstance(request, Skip):
        return Unsent(entry, skip_reason=request.reason)
    return Planned(entry, request, _time_of(entry.event))


def _time_of(event: Any) -> datetime | None:
    fields = normalise(event).fields
    for name in ("receivedAt", "timestamp", "originalTimestamp"):
        try:
            moment = datetime.fromisoformat(fields[name])
        except (KeyError, TypeError, ValueError):
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def steps(planned: Sequence[Planned], *, in_bulk: bool) -> list[Step]:
    """The steps to be taken one after the other."""
    if not in_bulk:
        return [Singles(list(planned))] if planned else []
    found: list[Step] = []
    singles: list[Planned] = []
    for upserts, others in _levels(planned):
        rows = _rows(upserts)
        if len(rows) < FEWEST_ROWS:
            singles += upserts
        else:
            if singles:
                found.append(Singles(singles))
            found.append(Bulk(rows))
            singles = []
        singles += others
    return [*found, Singles(singles)] if singles else found


@dataclass
class _Standing:
    """Where a customer's next event belongs: `is_open` says that upserts may still join those of the level."""

    level: int = 0
    is_open: bool = True


def _levels(planned: Iterable[Planned]) -> list[tuple[list[Planned], list[Planned]]]:
    """Level by level the upserts, and what follows them.

    An upsert goes before an earlier event that only names its customer: the last state of a customer comes first, in as
    few calls as can be. It never overtakes what changes the customer, such as a deletion.
    """
    standings: defaultdict[str, _Standing] = defaultdict(_Standing)
    upserts: defaultdict[int, list[Planned]] = defaultdict(list)
    others: defaultdict[int, list[Planned]] = defaultdict(list)
    for one in planned:
        standing = standings[one.request.customer]
        if _fits_a_row(one.request):
            if not standing.is_open:
                standing.level += 1
                standing.is_open = True
            upserts[standing.level].append(one)
        else:
            others[standing.level].append(one)
            standing.is_open &= only_names_its_customer(one.request)
    last = max((standing.level for standing in standings.values()), default=-1)
    return [(upserts[level], others[level]) for level in range(last + 1)]


def _fits_a_row(request: Request) -> bool:
    """A row of a bulk call is known by its `source_id`; it has no `id`."""
    body = request.body or {}
    return request.operation is Operation.UPSERT_CUSTOMER and "id" not in body and bool(body.get("source_id"))


def only_names_its_customer(request: Request) -> bool:
    """Whether it leaves its customer as it is."""
    body = request.body or {}
    return request.operation is Operation.TRACK_EVENT and body["customer"].keys() == {"source_id"}


def _rows(upserts: Iterable[Planned]) -> list[Row]:
    rows: dict[str, Row] = {}
    for one in upserts:
        customer = one.request.customer
        rows.setdefault(customer, Row(customer)).upserts.append(one)
    return list(rows.values())
