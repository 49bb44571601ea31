"""The plan of a replay: customers and orders end up as if their events had been sent one after the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from cli.replay.plan import Bulk, Import, Planned, Singles, Step, plan_steps
from cli.replay.source import Entry
from mapping import Operation, Request

Json = dict[str, Any]
Event = tuple[Request, ...]  # the requests of one event


class Voucherify:
    """Customers and orders as upserts, tracks and deletions leave them, and the tracks of each customer."""

    def __init__(self) -> None:
        self.customers: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.tracks: dict[str, list[int]] = {}

    def apply(self, operation: Operation, body: Json, customer: str, number: int = 0) -> None:
        match operation:
            case Operation.DELETE_CUSTOMER:
                self.customers.pop(customer, None)
            case Operation.UPSERT_CUSTOMER:
                self._upsert(self.customers, body)
            case Operation.UPSERT_ORDER:
                self._upsert(self.orders, {**body, "customer": customer})
                self._upsert(self.customers, body["customer"])
            case _:
                self._upsert(self.customers, body["customer"])
                self.tracks.setdefault(customer, []).append(number)

    def _upsert(self, kept: dict[str, Json], given: Json) -> None:
        key = given["source_id"]
        before = kept.get(key, {})
        kept[key] = {**before, **given, "metadata": {**before.get("metadata", {}), **given.get("metadata", {})}}

    @property
    def state(self) -> tuple[Any, ...]:
        return self.customers, self.orders, self.tracks


def upsert(customer: str, **fields: Any) -> Request:
    return Request(Operation.UPSERT_CUSTOMER, "POST", "", {"source_id": customer, **fields}, customer)


def track(customer: str, **fields: Any) -> Request:
    body = {"event": "Moved", "customer": {"source_id": customer, **fields}}
    return Request(Operation.TRACK_EVENT, "POST", "", body, customer)


def order(order_id: str, customer: str, traits: Json, **fields: Any) -> Request:
    body = {"source_id": order_id, **fields, "customer": {"source_id": customer, **traits}}
    return Request(Operation.UPSERT_ORDER, "POST", "", body, customer)


def deletion(customer: str) -> Request:
    return Request(Operation.DELETE_CUSTOMER, "POST", "", None, customer)


_customers = st.sampled_from("aaaabbbcdef")
_orders = st.sampled_from(["1", "2"])
_fields: st.SearchStrategy[Json] = st.one_of(
    st.just({}),
    st.fixed_dictionaries({"name": st.integers()}),
    st.fixed_dictionaries({"metadata": st.dictionaries(st.sampled_from("xy"), st.integers(), min_size=1)}),
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    customer, fields, traits = draw(_customers), draw(_fields), draw(_fields)
    an_order = order(draw(_orders), customer, traits, **fields)
    kinds: list[Event] = [
        (upsert(customer, **fields),),
        (track(customer, **traits),),
        (an_order,),
        (an_order, track(customer, **traits)),
        (deletion(customer),),
    ]
    return draw(st.sampled_from(kinds))


def apply_steps(steps: Iterable[Step], voucherify: Voucherify) -> None:
    """Apply rows backwards: Voucherify may process the rows of a step in any order."""
    for step in steps:
        match step:
            case Singles(planned):
                for one in planned:
                    request = one.request
                    voucherify.apply(request.operation, request.body or {}, request.customer, one.entry.number)
            case Bulk(rows):
                for row in reversed(rows):
                    voucherify.apply(Operation.UPSERT_CUSTOMER, row.body(), row.customer)
            case Import(rows):
                for row in reversed(rows):
                    voucherify.apply(Operation.UPSERT_ORDER, row.body(), row.customer)


@given(st.lists(events(), max_size=30), st.booleans())
@example([(order("1", "a", {"name": 1}), track("a", name=1)), (order("1", "a", {"name": 2}), track("a", name=2))], True)
@example([(order("1", "a", {"name": 1}),), (order("2", "a", {"name": 2}),)], True)
@example([(deletion("a"),), (order("1", "a", {}),)], True)
@example([(order("1", "a", {}, name=1),), (order("1", "b", {}, name=2),), (order("1", "a", {}, name=3),)], True)
def test_customers_and_orders_end_up_as_if_events_were_sent_in_their_order(sent: list[Event], in_bulk: bool) -> None:
    planned = [Planned(Entry(number, "", {}), one, None) for number, event in enumerate(sent) for one in event]
    expected, actual = Voucherify(), Voucherify()
    for one in planned:
        request = one.request
        expected.apply(request.operation, request.body or {}, request.customer, one.entry.number)
    steps = list(plan_steps(planned, in_bulk=in_bulk, as_live=False))
    apply_steps(steps, actual)

    assert actual.state == expected.state
    assert all(isinstance(step, Singles | Import) for step in steps) or in_bulk


@given(st.lists(events(), max_size=30))
def test_each_request_is_in_one_step_and_a_custom_event_after_its_order(sent: list[Event]) -> None:
    planned = [Planned(Entry(number, "", {}), one, None) for number, event in enumerate(sent) for one in event]
    taken: list[Planned] = []
    for step in plan_steps(planned, in_bulk=True, as_live=False):
        taken += step.planned if isinstance(step, Singles) else [one for row in step.rows for one in row.upserts]

    assert sorted(map(id, taken)) == sorted(map(id, planned))
    for number, event in enumerate(sent):
        assert [one.request for one in taken if one.entry.number == number] == list(event)


def test_orders_that_only_name_their_customer_are_one_import() -> None:
    sent: list[Event] = [
        (order("1", "a", {}, status="CREATED"), track("a")),
        (upsert("a", name="A"),),
        (track("a", name="B"),),
        (order("1", "a", {}, status="PAID"), track("a")),
        (order("2", "a", {}), track("a")),
    ]
    planned = [Planned(Entry(number, "", {}), one, None) for number, event in enumerate(sent) for one in event]
    steps = list(plan_steps(planned, in_bulk=True, as_live=False))

    assert [type(step) for step in steps] == [Singles, Import, Singles]
    assert isinstance(steps[1], Import)
    assert [row.body() for row in steps[1].rows] == [
        {"source_id": "1", "status": "PAID", "customer": {"source_id": "a"}},
        {"source_id": "2", "customer": {"source_id": "a"}},
    ]


def test_as_live_sends_events_in_their_order() -> None:
    sent: list[Event] = [(order("1", "a", {}),), (track("a"),), (order("1", "a", {}),)]
    planned = [Planned(Entry(number, "", {}), one, None) for number, event in enumerate(sent) for one in event]

    assert list(plan_steps(planned, in_bulk=True, as_live=True)) == [Singles(planned)]
