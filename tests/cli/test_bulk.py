"""Customers in bulk: what goes into a call, and what becomes of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cli.errors import CommandFailed, Exit
from cli.replay.bulk import CUSTOMERS, MOST_BYTES, BulkUpdate, Endpoint, Refused, batches_of
from cli.replay.plan import Planned, Row
from cli.replay.retry_loop import CappedRateLimiter, RetryLoop, StopRequest, Throttle
from cli.replay.source import Entry
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
    assert [len(batch.rows) for batch in batches_of(rows(201), CUSTOMERS.most_rows)] == [100, 100, 1]


def test_a_call_stays_below_what_voucherify_takes() -> None:
    large = [row(f"u{number}", {"description": "x" * 4 * 1024 * 1024}) for number in range(5)]
    batches = list(batches_of(large, CUSTOMERS.most_rows))

    assert [len(batch.rows) for batch in batches] == [2, 2, 1]
    assert all(len(batch.body) <= MOST_BYTES + 200 for batch in batches)


def test_customers_are_made_and_updated(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    assert bulk.send(rows(120)) == []
    assert bulk.send(rows(2)) == []
    assert len(bulk.done) == 122
    assert len(voucherify.customers) == 120


def test_last_action_is_polled_first(bulk: Bulk, voucherify: VoucherifyStub) -> None:
    bulk.send(rows(300))

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
