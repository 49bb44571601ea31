"""Row 20: retries reorder events, and nothing older overwrites anything newer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.stack.cold import start_cold
from local.stack.http_server import Reply
from local.voucherify_stub.stub import Fault
from tests.function import Function
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, refuse
from tests.worker import Worker, stored

pytestmark = pytest.mark.scenario(row=20)

EARLY, LATE = "2026-03-01T10:00:00.000Z", "2026-03-01T11:00:00.000Z"


def identify(number: int, at: str | None = None, **traits: Any) -> dict[str, Any]:
    times = {"timestamp": at} if at else {}
    return {"type": "identify", "messageId": f"i-{number}", "userId": "u-1", "traits": traits, **times}


def track(number: int, at: str | None = None, **properties: Any) -> dict[str, Any]:
    event = {"type": "track", "messageId": f"t-{number}", "userId": "u-1", "event": "Signed Up"}
    return {**event, "properties": properties, **({"timestamp": at} if at else {})}


def order(number: int, name: str, at: str, **properties: Any) -> dict[str, Any]:
    return {**track(number, at, order_id="o-1", **properties), "event": name}


def queue(function: Function, *events: dict[str, Any]) -> None:
    """Let events fail once, so that they wait in the retry queue."""
    function.voucherify.rule = lambda request: Fault(503)
    for event in events:
        assert function.post(event).body["queued"] == 1
    function.voucherify.rule = None


def customer(function: Function) -> dict[str, Any]:
    return function.voucherify.customers["u-1"]


def test_what_is_left_of_an_older_event_is_delivered(function: Function, worker: Worker) -> None:
    queue(function, identify(1, name="Ada", email="old@example.com", metadata={"plan": "free", "size": 3}))
    assert function.post(identify(2, email="new@example.com", metadata={"plan": "paid"})).body["delivered"] == 1
    assert worker.run().kept == []
    _, _, sent = function.sent[-1]
    assert sent == {"source_id": "u-1", "name": "Ada", "metadata": {"size": 3}}
    assert customer(function)["email"] == "new@example.com"
    assert customer(function)["metadata"] == {"plan": "paid", "size": 3}


def test_older_event_of_which_nothing_is_left_is_skipped(function: Function, worker: Worker) -> None:
    queue(function, identify(1, email="old@example.com"))
    function.post(identify(2, email="new@example.com"))
    calls = len(function.sent)
    assert worker.run().kept == []
    assert len(function.sent) == calls
    assert [line["skip_reasons"] for line in function.logs if line["message"] == "redelivered"] == [{"superseded": 1}]
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []


@pytest.mark.parametrize("queued_at", [LATE, "2026-03-01T12:00:00.000+01:00"], ids=["UTC", "another time zone"])
def test_time_of_the_event_decides_and_not_that_of_its_delivery(
    function: Function, worker: Worker, queued_at: str
) -> None:
    queue(function, identify(1, queued_at, email="late@example.com"))
    function.post(identify(2, EARLY, email="early@example.com"))
    worker.run()
    assert customer(function)["email"] == "late@example.com"


def test_of_two_events_of_one_time_the_later_arrival_wins(function: Function, worker: Worker) -> None:
    queue(function, identify(1, EARLY, email="first@example.com"))
    function.post(identify(2, EARLY, email="second@example.com"))
    worker.run()
    assert customer(function)["email"] == "first@example.com"


def test_queued_events_may_be_delivered_in_any_order(function: Function, worker: Worker) -> None:
    queue(function, identify(1, EARLY, email="early@example.com", phone="1"))
    queue(function, identify(2, LATE, email="late@example.com"))
    function.voucherify.rule = lambda request: Fault(503) if "phone" in request.json else None
    worker.run()
    function.voucherify.rule = None
    worker.time_passes(3600)
    worker.run()
    assert (customer(function)["email"], customer(function)["phone"]) == ("late@example.com", "1")


def test_of_one_batch_the_event_that_failed_does_not_undo_its_successor(function: Function, worker: Worker) -> None:
    function.voucherify.next(Fault(503))
    answer = function.post_batch([identify(1, email="old@example.com"), identify(2, email="new@example.com")])
    assert (answer.body["queued"], answer.body["delivered"]) == (1, 1)
    assert worker.run().kept == []
    assert customer(function)["email"] == "new@example.com"


def test_custom_event_counts_and_its_stale_customer_attributes_do_not(function: Function, worker: Worker) -> None:
    queue(function, track(1, email="old@example.com", phone="1"))
    function.post(identify(2, email="new@example.com"))
    worker.run()
    assert function.sent[-1] == (
        "POST",
        "/v1/events",
        {"event": "Signed Up", "customer": {"source_id": "u-1", "phone": "1"}},
    )
    assert customer(function)["email"] == "new@example.com"


def test_group_is_older_or_newer_too(function: Function, worker: Worker) -> None:
    function.put(groupDisabled="false")
    group = {"type": "group", "messageId": "g-1", "userId": "u-1"}
    queue(function, {**group, "groupId": "old", "timestamp": EARLY})
    function.post({**group, "groupId": "new", "timestamp": LATE, "messageId": "g-2"})
    worker.run()
    assert customer(function)["metadata"] == {"group_id": "new"}


def test_cleared_attribute_stays_cleared(function: Function, worker: Worker) -> None:
    function.put(clearOnNull="true")
    queue(function, identify(1, EARLY, phone="1"))
    function.post(identify(2, LATE, phone=None))
    worker.run()
    assert [sent for _, _, sent in function.sent][1:] == [{"source_id": "u-1", "phone": None}]


def test_another_execution_environment_knows_that_events_wait(function: Function, worker: Worker) -> None:
    queue(function, identify(1, email="old@example.com"))
    start_cold()
    function.post(identify(2, email="new@example.com"))
    start_cold()
    assert worker.run().kept == []
    assert customer(function)["email"] == "new@example.com"


def test_clock_of_a_sender_that_is_ahead_blocks_nothing(function: Function, worker: Worker) -> None:
    queue(function, identify(1, "2099-01-01T00:00:00Z", email="first@example.com"))
    worker.time_passes(60)
    worker.run()
    function.post(identify(2, email="second@example.com"))
    assert customer(function)["email"] == "second@example.com"


def test_with_send_the_older_event_overwrites(function: Function, worker: Worker) -> None:
    function.put(staleAttributes="send")
    queue(function, identify(1, email="old@example.com"))
    function.post(identify(2, email="new@example.com"))
    worker.run()
    assert customer(function)["email"] == "old@example.com"


def test_many_attributes_are_compared(function: Function, worker: Worker) -> None:
    old, new = ({f"key-{number}": value for number in range(100)} for value in ("old", "new"))
    queue(function, identify(1, metadata={**old, "more": 1}))
    function.post(identify(2, metadata=new))
    worker.run()
    assert customer(function)["metadata"] == {**new, "more": 1}


class TestOrders:
    @pytest.fixture
    def shop(self, function: Function) -> Function:
        statuses = {"Order Completed": "PAID", "Order Updated": "CREATED"}
        function.put(orderEvents=json.dumps(statuses), trackEventsFilter='["none"]')
        return function

    def test_status_never_goes_back(self, shop: Function) -> None:
        """Without any event that waits: Segment itself delivers events late."""
        shop.post(order(1, "Order Completed", LATE, total=12))
        shop.post(order(2, "Order Updated", EARLY, total=10, coupon="SPRING"))
        found = shop.voucherify.orders["o-1"]
        assert (found["status"], found["amount"], found["metadata"]) == ("PAID", 1200, {"coupon": "SPRING"})

    def test_later_status_replaces_an_earlier_one(self, shop: Function) -> None:
        shop.post(order(1, "Order Updated", EARLY, total=10))
        shop.post(order(2, "Order Completed", LATE, total=12))
        found = shop.voucherify.orders["o-1"]
        assert (found["status"], found["amount"]) == ("PAID", 1200)

    def test_late_repetition_of_an_event_changes_nothing(self, shop: Function) -> None:
        first = order(1, "Order Updated", EARLY, total=10)
        for event in (first, order(2, "Order Completed", LATE, total=12), first):
            shop.post(event)
        assert len(shop.sent) == 2
        assert shop.voucherify.orders["o-1"]["status"] == "PAID"

    def test_queued_order_keeps_to_the_times_too(self, shop: Function, worker: Worker) -> None:
        queue(shop, order(1, "Order Updated", EARLY, total=10, tax=1))
        shop.post(order(2, "Order Completed", LATE, total=12))
        worker.run()
        found = shop.voucherify.orders["o-1"]
        assert (found["status"], found["amount"], found["metadata"]) == ("PAID", 1200, {"tax": 1})


_OPERATIONS_OF_DYNAMODB = ("GetItem", "UpdateItem")


def test_live_events_cost_nothing_while_no_event_waits(function: Function, proxy: AwsProxy) -> None:
    calls: list[str] = []

    def count(call: AwsCall, forward: Forward) -> Reply:
        calls.append(call.operation)
        return forward(call)

    proxy.rule = count
    start_cold()
    for number in range(10):
        assert function.post(identify(number, email=f"{number}@example.com")).body["delivered"] == 1
    assert calls.count("GetItem") <= 2, "whether events wait is read once in five seconds"
    assert calls.count("UpdateItem") == 0


def test_without_the_table_events_are_delivered_and_counted(function: Function, proxy: AwsProxy) -> None:
    proxy.rule = refuse(*_OPERATIONS_OF_DYNAMODB)
    start_cold()
    assert function.post(identify(1, email="new@example.com")).body["delivered"] == 1
    assert sum(line.get("Unordered", 0) for line in function.logs.metrics) == 1


def test_worker_delivers_what_waits_without_the_table(function: Function, proxy: AwsProxy, worker: Worker) -> None:
    queue(function, identify(1, email="new@example.com"))
    proxy.rule = refuse(*_OPERATIONS_OF_DYNAMODB)
    worker.start_cold()
    assert worker.run().kept == []
    assert customer(function)["email"] == "new@example.com"
    assert sum(line.get("Unordered", 0) for line in function.logs.metrics) == 1


def test_status_does_not_go_back_while_nobody_knows_whether_events_wait(function: Function, proxy: AwsProxy) -> None:
    function.put(orderEvents='{"Order Completed": "PAID", "Order Updated": "CREATED"}', trackEventsFilter='["none"]')
    proxy.rule = refuse("GetItem")
    start_cold()
    function.post(order(1, "Order Completed", LATE, total=12))
    function.post(order(2, "Order Updated", EARLY, total=10, tax=1))
    found = function.voucherify.orders["o-1"]
    assert (found["status"], found["amount"], found["metadata"]) == ("PAID", 1200, {"tax": 1})


def test_metadata_with_very_many_keys_is_one_attribute(function: Function, worker: Worker) -> None:
    old, new = ({f"key-{number}": value for number in range(300)} for value in ("old", "new"))
    queue(function, identify(1, name="Ada", metadata=old))
    function.post(identify(2, metadata=new))
    worker.run()
    assert function.sent[-1][2] == {"source_id": "u-1", "name": "Ada"}
    assert customer(function)["metadata"] == new


def test_event_for_which_there_was_no_time_waits_too(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "0.1")
    start_cold()
    assert function.post(identify(1, email="old@example.com")).body["queued"] == 1
    assert function.sent == []
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "60")
    start_cold()
    function.post(identify(2, email="new@example.com"))
    assert worker.run().kept == []
    assert customer(function)["email"] == "new@example.com"
