"""Customers in bulk: what goes into a call, and what becomes of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cli.errors import CommandFailed, Exit
from cli.replay.bulk import BulkUpdate, Refused, batches_of
from cli.replay.plan import Planned, Row
from cli.replay.retry_loop import CappedRateLimiter, RetryLoop, StopRequest, Throttle
from cli.replay.source import Entry
from handler.voucherify.bulk import CUSTOMERS, MAX_BYTES, ORDERS, Endpoint, merged
from handler.voucherify.client import VoucherifyClient
from local.voucherify_stub.stub import Fault, Request, VoucherifyStub
from mapping import Operation
from mapping import Request as Mapped
from tests.cli.conftest import Time
from tests.contract.published import assert_published


class Bulk:
    """A bulk update against the stub, and the rows that it was told are done."""

    def __init__(self, voucherify: VoucherifyStub, endpoint: Endpoint) -> None:
        self.clock = Time()
        self.stop_request = StopRequest()
        self.done: list[str] = []
        throttle = Throttle(None, self.clock, self.clock.sleep)
        self._update = BulkUpdate(
            VoucherifyClient(voucherify.url, "app-id", "app-token"),
            RetryLoop(self.stop_request, self.clock.sleep),
            ThreadPoolExecutor(4),
            endpoint,
            bulk_limiter=CappedRateLimiter(self.clock, throttle),
            poll_limiter=CappedRateLimiter(self.clock, throttle),
        )

    def send(self, rows: list[Row]) -> list[str]:
        """The rows that were refused."""
        return [row.key for row, _ in self.refused(rows)]

    def refused(self, rows: list[Row]) -> list[Refused]:
        return self._update.send(rows, lambda row: self.done.append(row.key))


@pytest.fixture
def voucherify() -> Iterator[VoucherifyStub]:
    with VoucherifyStub(api_key="app-id", api_token="app-token") as stub:
        yield stub
    for call in stub.calls:
        assert_published(call.path, call.json)


@pytest.fixture
def order_import(voucherify: VoucherifyStub) -> Bulk:
    return Bulk(voucherify, ORDERS)


@pytest.fixture
def bulk(voucherify: VoucherifyStub) -> Bulk:
    return Bulk(voucherify, CUSTOMERS)


def row(customer: str, *bodies: dict[str, Any]) -> Row:
    upserts = [
        Planned(
            Entry(0, "", {}),
            Mapped(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": customer, **body}, customer),
            None,
        )
        for body in bodies or ({},)
    ]
    return Row(customer, upserts)


def rows(count: int) -> list[Row]:
    return [row(f"u{number}", {"name": f"User {number}"}) for number in range(count)]


def order_row(order_id: str, **fields: Any) -> Row:
    body = {"source_id": order_id, **fields, "customer": {"source_id": "u1"}}
    mapped = Mapped(Operation.UPSERT_ORDER, "POST", "/v1/orders", body, "u1")
    return Row(order_id, [Planned(Entry(0, "", {}), mapped, None)])


def orders(count: int) -> list[Row]:
    return [order_row(f"o{number}") for number in range(count)]


def imports(voucherify: VoucherifyStub) -> list[int]:
    """The rows of each import."""
    return [len(call.json) for call in voucherify.calls if call.path == ORDERS.path]


def test_row_merges_upserts() -> None:
    one = row(
        "u1",
        {"name": "First", "metadata": {"a": 1, "b": 1}, "address": {"city": "Paris"}},
        {"name": "Second", "metadata": {"b": 2}},
        {"address": {"country": "FR"}},
    )

    assert one.body() == {
        "source_id": "u1",
        "name": "Second",
        "metadata": {"a": 1, "b": 2},
        "address": {"country": "FR"},
    }


def test_a_call_has_a_hundred_rows() -> None:
    assert [len(batch.rows) for batch in batches_of(rows(2_001), CUSTOMERS)] == [1_000, 1_000, 1]


def test_a_call_stays_below_what_voucherify_takes() -> None:
    large = [row(f"u{number}", {"description": "x" * 4 * 1024 * 1024}) for number in range(5)]
    batches = list(batches_of(large, CUSTOMERS))

    assert [len(batch.rows) for batch in batches] == [2, 2, 1]
    assert all(sum(map(len, batch.bodies)) <= MAX_BYTES + 200 for batch in batches)


def test_customers_are_made_and_updated(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    assert bulk.send(rows(120)) == []
    assert bulk.send(rows(2)) == []
    assert len(bulk.done) == 122
    assert len(voucherify.customers) == 120


def test_last_action_is_polled_first(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    bulk.send(rows(2_001))

    assert [call.method for call in voucherify.calls] == ["POST"] * 3 + ["GET"] * 4
    assert bulk.clock.now - Time().now < 2


def test_failed_rows_are_returned(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    voucherify.row_rule = lambda row: "no" if row["source_id"] in ("u1", "u101") else None

    assert bulk.send(rows(120)) == ["u1", "u101"]
    assert len(bulk.done) == 118
    assert not {"u1", "u101"} & set(bulk.done)


def test_refused_call_returns_all_rows(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    voucherify.next(Fault(400))

    assert len(bulk.send(rows(6))) == 6
    assert bulk.done == []


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "FAILED", "result": None},
        {"status": "DONE", "operation_status": "FAILED", "result": {"errors": []}},
        {"status": "DONE", "result": {"failed_count": 2, "errors": [{"source_id": "u1"}]}},
        {"status": "DONE", "result": None},
        {"status": "SOMETHING"},
        [],
        "x",
    ],
)
def test_unclear_result_refuses_all_rows(bulk: Bulk, voucherify: VoucherifyStub, answer: Any) -> None:
    voucherify.rule = lambda call: Fault(body=answer) if call.method == "GET" else None

    assert len(bulk.send(rows(6))) == 6
    assert bulk.done == []


@pytest.mark.parametrize("fault", [Fault(body={}), Fault(body=b"ok"), Fault(202, body={"async_action_id": 7})])
def test_answer_without_action_refuses_rows(bulk: Bulk, voucherify: VoucherifyStub, fault: Fault) -> None:
    voucherify.next(fault)

    assert len(bulk.send(rows(6))) == 6


@pytest.mark.parametrize("fault", [Fault(503), Fault(409), Fault(drop="before"), Fault(drop="after")])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_temporary_failure_is_retried(bulk: Bulk, voucherify: VoucherifyStub, number: int, fault: Fault) -> None:
    voucherify.rule = lambda call: fault if call.number == number else None

    assert bulk.send(rows(120)) == []
    assert len(voucherify.customers) == 120


def test_polling_slows_down(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    def rule(call: Request) -> Fault | None:
        return Fault(body={"status": "IN_PROGRESS"}) if call.method == "GET" and call.number < 20 else None

    voucherify.rule = rule
    assert bulk.send(rows(6)) == []
    assert 60 < bulk.clock.now - Time().now < 120


def test_endless_action_is_given_up(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    voucherify.rule = lambda call: Fault(body={"status": "ENQUEUED"}) if call.method == "GET" else None

    with pytest.raises(CommandFailed, match="has not finished its asynchronous action") as failed:
        bulk.send(rows(6))
    assert failed.value.code is Exit.UNREACHABLE
    assert failed.value.advice == "run the same command: it sends these customers again"
    assert bulk.done == []


def test_stop_before_next_poll(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    def rule(call: Request) -> Fault | None:
        bulk.stop_request.is_made = call.method == "GET"
        return None

    voucherify.rule = rule
    with pytest.raises(KeyboardInterrupt):
        bulk.send(rows(6))
    assert len(voucherify.calls) == 2
    assert bulk.done == []


def test_refused_credentials_end_it(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    voucherify.rule = lambda call: Fault(401)

    with pytest.raises(CommandFailed, match="answered 401"):
        bulk.send(rows(6))
    assert [call.path for call in voucherify.calls] == [CUSTOMERS.path]


def test_orders_are_made_and_updated(order_import: Bulk, voucherify: VoucherifyStub) -> None:
    assert order_import.send(orders(120)) == []
    assert order_import.send([order_row("o1", status="PAID")]) == []
    assert len(order_import.done) == 121
    assert len(voucherify.orders) == 120
    assert voucherify.orders["o1"]["status"] == "PAID"


def test_import_has_2000_orders_and_less_than_10_mb() -> None:
    assert [len(batch.rows) for batch in batches_of(orders(4_001), ORDERS)] == [2_000, 2_000, 1]
    large = [order_row(f"o{number}", metadata={"x": "x" * 4 * 1024 * 1024}) for number in range(3)]
    assert [len(batch.rows) for batch in batches_of(large, ORDERS)] == [2, 1]


def test_failed_orders_are_returned_with_their_reasons(order_import: Bulk, voucherify: VoucherifyStub) -> None:
    voucherify.row_rule = lambda row: f"{row['source_id']} is odd" if row["source_id"] in ("o1", "o3") else None

    refused = order_import.refused(orders(4))
    assert [(row.key, failure.detail) for row, failure in refused] == [("o1", "o1 is odd"), ("o3", "o3 is odd")]
    assert {failure.code for _, failure in refused} == {"order_not_imported"}
    assert order_import.done == ["o0", "o2"]
    assert imports(voucherify) == [4]


def test_failed_order_may_be_an_object(order_import: Bulk, voucherify: VoucherifyStub) -> None:
    """The published schema has an object for `failed`, its example an array."""
    result = {"failed": {"source_id": "o1", "reason": "odd"}, "done_count": 1, "failed_count": 1}
    voucherify.rule = lambda call: Fault(body={"status": "DONE", "result": result}) if call.method == "GET" else None

    assert order_import.send(orders(2)) == ["o1"]


@pytest.mark.parametrize("status", [400, 413])
def test_refused_import_is_halved_until_the_order_at_fault_is_alone(
    order_import: Bulk, voucherify: VoucherifyStub, status: int
) -> None:
    def rule(call: Request) -> Fault | None:
        has_fault = call.method == "POST" and any(row["source_id"] == "o5" for row in call.json)
        return Fault(status) if has_fault else None

    voucherify.rule = rule
    ((row, failure),) = order_import.refused(orders(8))
    assert (row.key, failure.code) == ("o5", f"voucherify_{status}")
    assert len(order_import.done) == 7
    assert sorted(imports(voucherify)) == [1, 1, 2, 2, 4, 4, 8]


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "FAILED", "result": None},
        {"status": "DONE", "operation_status": "FAILED", "result": {"failed": []}},
        {"status": "DONE", "result": {"failed_count": 1, "failed": [{"source_id": None, "reason": "odd"}]}},
    ],
)
def test_import_that_fails_without_naming_an_order_is_halved(
    order_import: Bulk, voucherify: VoucherifyStub, answer: Any
) -> None:
    voucherify.rule = lambda call: Fault(body=answer) if call.method == "GET" else None

    assert len(order_import.send(orders(4))) == 4
    assert imports(voucherify) == [4, 2, 2, 1, 1, 1, 1]


@pytest.mark.parametrize("answer", [{"status": "SOMETHING"}, {"status": "DONE", "result": None}, [], "x"])
def test_unknown_state_refuses_all_orders(order_import: Bulk, voucherify: VoucherifyStub, answer: Any) -> None:
    voucherify.rule = lambda call: Fault(body=answer) if call.method == "GET" else None

    assert len(order_import.send(orders(4))) == 4
    assert imports(voucherify) == [4]


def test_missing_permission_refuses_all_orders(order_import: Bulk, voucherify: VoucherifyStub) -> None:
    voucherify.rule = lambda call: Fault(403, body={"code": 403, "key": "missing_required_permission", "message": ""})

    refused = order_import.refused(orders(4))
    assert {failure.code for _, failure in refused} == {"missing_permission"}
    assert "permission to create and update orders" in refused[0][1].reason
    assert imports(voucherify) == [4]


def test_rate_limit_while_polling(order_import: Bulk, voucherify: VoucherifyStub) -> None:
    def rule(call: Request) -> Fault | None:
        return Fault(429, headers={"Retry-After": "30"}) if call.number in (2, 4) else None

    voucherify.rule = rule
    assert order_import.send(orders(2)) == []
    assert [call.status for call in voucherify.calls] == [200, 429, 200, 429, 200]
    assert 60 <= order_import.clock.now - Time().now < 75
    assert imports(voucherify) == [2]


@pytest.mark.parametrize(
    ("earlier", "later", "row"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, None, None),
        (None, {"b": 2}, {"b": 2}),
    ],
)
def test_metadata_of_two_upserts_is_merged(earlier: Any, later: Any, row: Any) -> None:
    assert merged({"metadata": earlier, "name": "Ada"}, {"metadata": later}) == {"metadata": row, "name": "Ada"}
    order = merged({"customer": {"metadata": earlier}}, {"customer": {"metadata": later}})
    assert order == {"customer": {"metadata": row}}
