"""A backlog of upserts goes in bulk: few calls, one row a customer, and each event's own outcome."""

from __future__ import annotations

from typing import Any

import pytest

from handler import retry_worker
from handler.delivery import bulk_update
from local.voucherify_stub.stub import Fault, Request
from tests.function import Function
from tests.worker import Worker, hidden_seconds, put, stored

BULK = "/v1/customers/bulk/async"


def identify(customer: str, number: int = 1, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{customer}-{number}", "userId": customer, "traits": traits}


def track(customer: str, number: int = 1) -> dict[str, Any]:
    return {"type": "track", "messageId": f"t-{customer}-{number}", "userId": customer, "event": f"Event {number}"}


def people(count: int, **traits: Any) -> list[dict[str, Any]]:
    return [identify(f"u-{number}", name=f"Name {number}", **traits) for number in range(count)]


@pytest.fixture(autouse=True)
def polls_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_update, "FIRST_POLL_SECONDS", 0.0)


def paths(function: Function) -> list[str]:
    return [path if not path.startswith("/v1/async-actions/") else "poll" for _, path, _ in function.sent]


def test_upserts_of_many_customers_are_one_call(function: Function, worker: Worker) -> None:
    put(function, *people(20))
    assert worker.run(at_most=100).kept == []
    assert paths(function) == [BULK, "poll", "poll"]
    _, _, rows = function.sent[0]
    assert rows == [{"source_id": f"u-{number}", "name": f"Name {number}"} for number in range(20)]
    assert len(function.voucherify.customers) == 20
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []


def test_few_upserts_go_one_by_one(function: Function, worker: Worker) -> None:
    put(function, *people(4))
    assert worker.run().kept == []
    assert paths(function) == ["/v1/customers"] * 4


def test_upserts_of_one_customer_are_one_row_with_the_newest_attributes(function: Function, worker: Worker) -> None:
    early, late = "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"
    newer = {**identify("u-0", 2, email="new@example.com", metadata={"b": 2}), "timestamp": late}
    older = {**identify("u-0", 3, email="old@example.com", phone="1", metadata={"a": 1, "b": 1}), "timestamp": early}
    put(function, *people(5), newer, older)
    assert worker.run(at_most=100).kept == []
    (row,) = [row for row in function.sent[0][2] if row["source_id"] == "u-0"]
    assert row == {
        "source_id": "u-0",
        "name": "Name 0",
        "email": "new@example.com",
        "phone": "1",
        "metadata": {"a": 1, "b": 2},
    }


def test_other_events_of_a_customer_keep_their_place(function: Function, worker: Worker) -> None:
    put(function, *people(5), track("u-1"), identify("u-1", 2, name="Later"), track("u-9"))
    assert worker.run(at_most=100).kept == []
    assert paths(function)[:3] == [BULK, "poll", "poll"]
    assert [path for _, path, body in function.sent[3:] if "u-1" in str(body)] == ["/v1/events", "/v1/customers"]
    assert function.voucherify.customers["u-1"]["name"] == "Later"
    assert len(function.voucherify.events) == 2


def test_row_that_is_refused_gets_its_own_reason(function: Function, worker: Worker) -> None:
    function.voucherify.row_rule = lambda row: "no" if row["source_id"] == "u-3" else None
    function.voucherify.rule = lambda request: (
        Fault(400, body={"code": 400, "key": "invalid_thing", "message": "Bad"})
        if request.path == "/v1/customers"
        else None
    )
    put(function, *people(6))
    assert worker.run().kept == []
    assert len(function.voucherify.customers) == 5
    (record,) = stored("DEAD_LETTER_QUEUE_URL")
    assert record["failure"]["message"] == "Voucherify answered 400 invalid_thing: Bad"


@pytest.mark.parametrize("path", [BULK, "/v1/async-actions"])
@pytest.mark.parametrize("fault", [Fault(503), Fault(drop="before")], ids=str)
def test_events_stay_while_nobody_knows_what_became_of_them(
    function: Function, worker: Worker, path: str, fault: Fault
) -> None:
    function.voucherify.rule = lambda request: fault if request.path.startswith(path) else None
    put(function, *people(6))
    assert len(worker.run().kept) == 6
    function.voucherify.rule = None
    worker.time_passes(3600)
    assert worker.run().kept == []
    assert len(function.voucherify.customers) == 6


def test_call_that_is_too_large_is_repeated_in_halves(function: Function, worker: Worker) -> None:
    def rule(request: Request) -> Fault | None:
        return Fault(413) if request.path == BULK and len(request.json) > 5 else None

    function.voucherify.rule = rule
    put(function, *people(20))
    assert worker.run(at_most=100).kept == []
    sizes = [len(body) for _, path, body in function.sent if path == BULK]
    assert sizes == [20, 10, 5, 5, 10, 5, 5]
    assert len(function.voucherify.customers) == 20


def test_action_that_does_not_end_in_time_is_repeated_later(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_update, "FIRST_POLL_SECONDS", 1_000.0)
    put(function, *people(6))
    assert len(worker.run().kept) == 6
    monkeypatch.setattr(bulk_update, "FIRST_POLL_SECONDS", 0.0)
    worker.time_passes(3600)
    assert worker.run().kept == []
    assert len(function.voucherify.customers) == 6
    assert stored("DEAD_LETTER_QUEUE_URL") == []


def test_refused_credentials_stop_the_batch(function: Function, worker: Worker) -> None:
    function.put(apiToken="another")
    put(function, *people(20))
    worker.start_cold()
    assert len(worker.run(at_most=100).kept) == 20
    assert len(function.sent) <= 1 + 16, "those in progress"


def test_rate_limit_keeps_all_of_them_without_an_attempt(function: Function, worker: Worker) -> None:
    function.voucherify.rule = lambda request: Fault(429, headers={"Retry-After": "600"})
    put(function, *people(20))
    assert len(worker.run(at_most=100).kept) == 20
    assert paths(function) == [BULK]


def test_customer_who_was_deleted_since_is_no_row(function: Function, worker: Worker) -> None:
    function.put(deleteDisabled="false")
    function.voucherify.rule = lambda request: Fault(503) if request.path == "/v1/customers" else None
    for event in people(7):
        assert function.post(event).body["queued"] == 1
    function.post({"type": "delete", "userId": "u-3", "messageId": "d-1"})
    function.voucherify.rule = None
    worker.time_passes(60)
    assert worker.run().kept == []
    (rows,) = [body for _, path, body in function.sent if path == BULK]
    assert [row["source_id"] for row in rows] == ["u-0", "u-1", "u-2", "u-4", "u-5", "u-6"]


@pytest.mark.scenario(row=40)
def test_many_events_that_wait_are_delayed_and_not_in_flight(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_worker, "MOST_HIDDEN", 8)
    function.voucherify.rule = lambda request: Fault(429, headers={"Retry-After": "600"})
    put(function, *[track(f"u-{number}") for number in range(9)])
    assert worker.run(at_most=200).kept == [], "each is replaced by a new message"
    assert len(stored("RETRY_QUEUE_URL")) == 9
    assert max(hidden_seconds("RETRY_QUEUE_URL")) > 300
    assert worker.receive() is None
    function.voucherify.rule = None
    worker.time_passes(900)
    worker.start_cold()
    assert worker.run(at_most=200).kept == []
    assert len(function.voucherify.events) == 9


def test_event_with_an_impossible_time_does_not_stop_the_others(function: Function, worker: Worker) -> None:
    put(function, *people(6), {**identify("u-9", name="Ada"), "timestamp": "0001-01-01T00:00:00+01:00"})
    assert worker.run().kept == []
    assert len(function.voucherify.customers) == 7


def test_metadata_that_is_cleared_is_a_value(function: Function, worker: Worker) -> None:
    function.put(clearOnNull="true")
    put(function, *people(6), identify("u-1", 2, metadata={"a": 1}), identify("u-1", 3, metadata=None))
    answer = Fault(202, body={"async_action_id": "a"})
    function.voucherify.rule = lambda request: answer if request.path == BULK else None
    worker.run()
    (row,) = [row for row in function.sent[0][2] if row["source_id"] == "u-1"]
    assert row["metadata"] is None


def test_customer_whose_row_is_not_applied_yet_waits_with_all_events(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_update, "FIRST_POLL_SECONDS", 1_000.0)
    put(function, *people(6), track("u-1"), identify("u-1", 2, name="Later"), track("u-9"))
    assert len(worker.run().kept) == 8
    assert paths(function) == [BULK, "/v1/events"], "only the customer without a row is served"


def test_customer_who_is_to_be_deleted_has_no_row(function: Function, worker: Worker) -> None:
    function.put(deleteDisabled="false")
    put(function, *people(6), {"type": "delete", "userId": "u-1", "messageId": "d-1"})
    assert worker.run().kept == []
    assert [row["source_id"] for row in function.sent[0][2]] == ["u-0", "u-2", "u-3", "u-4", "u-5"]
    assert "u-1" not in function.voucherify.customers


def test_refusal_that_concerns_no_row_is_not_repeated_in_halves(function: Function, worker: Worker) -> None:
    refusal = {"code": 403, "key": "missing_required_permission", "message": "No"}
    function.voucherify.rule = lambda request: Fault(403, body=refusal) if request.path == BULK else None
    put(function, *people(20))
    assert worker.run(at_most=100).kept == []
    assert paths(function).count(BULK) == 1
    assert len(function.voucherify.customers) == 20


def test_empty_metadata_clears_nothing(function: Function, worker: Worker) -> None:
    put(function, *people(6), identify("u-1", 2, metadata={"a": 1}), identify("u-1", 3, metadata={}))
    assert worker.run().kept == []
    assert function.voucherify.customers["u-1"]["metadata"] == {"a": 1}


@pytest.mark.slow
def test_rows_wait_for_the_next_window_even_if_it_opens_late(function: Function, worker: Worker) -> None:
    """A batch often begins with a window that the one before has used up, and is closed for more than half its time."""
    opens = Fault(429, headers={"Retry-After": "4"})
    function.voucherify.next(opens)
    put(function, track("u-1"))
    worker.run(seconds=3)
    put(function, *people(6))
    assert worker.run(at_most=100, seconds=10.5).kept == []
    assert BULK in paths(function)
    assert len(function.voucherify.customers) >= 6
