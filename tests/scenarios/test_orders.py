"""Events that become a custom event and an order, over the whole path: delivered when both are, and neither twice."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.voucherify_stub.metadata import metadata_schema
from local.voucherify_stub.stub import Fault, Request
from tests.function import Function
from tests.worker import Worker, stored

EVENTS, ORDERS = "/v1/events", "/v1/orders"

REFUSAL = {"code": 400, "key": "invalid_payload", "message": "Invalid payload"}


def completed(number: int, **properties: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "messageId": f"m-{number}",
        "userId": "u-1",
        "event": "Order Completed",
        "properties": {"order_id": f"o-{number}", "total": "19.99", "currency": "EUR", **properties},
    }


@pytest.fixture
def shop(function: Function) -> Function:
    """A shop whose "Order Completed" is an order that is paid."""
    function.put(orderEvents=json.dumps({"Order Completed": "PAID", "Order Updated": "CREATED"}))
    return function


def refuse(path: str, fault: Fault) -> Any:
    def rule(request: Request) -> Fault | None:
        return fault if request.path == path else None

    return rule


def paths(shop: Function) -> list[str]:
    return [call.path for call in shop.voucherify.calls]


def test_event_becomes_an_order_and_a_custom_event(shop: Function) -> None:
    answer = shop.post(completed(1))
    assert (answer.status, answer.body["delivered"]) == (200, 1)
    assert shop.sent == [
        (
            "POST",
            ORDERS,
            {
                "source_id": "o-1",
                "status": "PAID",
                "amount": 1999,
                "metadata": {"currency": "EUR"},
                "customer": {"source_id": "u-1"},
            },
        ),
        ("POST", EVENTS, {"event": "Order Completed", "customer": {"source_id": "u-1"}}),
    ]
    assert shop.voucherify.orders["o-1"]["status"] == "PAID"


def test_filter_keeps_back_the_custom_event_only(shop: Function) -> None:
    shop.put(trackEventsFilter='["Signed Up"]')
    assert shop.post(completed(1)).body["delivered"] == 1
    assert shop.post({**completed(2), "event": "Product Viewed"}).body["skipped"] == 1
    assert paths(shop) == [ORDERS]


@pytest.mark.parametrize("path", [ORDERS, EVENTS])
def test_what_failed_is_retried_and_what_was_done_is_not_doubled(shop: Function, worker: Worker, path: str) -> None:
    shop.voucherify.rule = refuse(path, Fault(503))
    assert shop.post(completed(1)).body["queued"] == 1
    shop.voucherify.rule = None
    worker.time_passes(60)
    assert worker.run().kept == []
    assert len(shop.voucherify.events) == 1
    assert list(shop.voucherify.orders) == ["o-1"]
    assert shop.post(completed(1)).body["delivered"] == 1, "the order is updated once more"
    assert len(shop.voucherify.events) == 1
    assert shop.retries == shop.dead_letters == []


def test_order_fails_before_the_custom_event_is_sent(shop: Function) -> None:
    """So that a retry doubles nothing, even of an event that has no messageId."""
    shop.voucherify.rule = refuse(ORDERS, Fault(503))
    event = completed(1)
    del event["messageId"]
    assert shop.post(event).body["queued"] == 1
    assert paths(shop) == [ORDERS]


def test_refused_order_leaves_the_reward_and_is_reported(shop: Function) -> None:
    shop.voucherify.rule = refuse(ORDERS, Fault(400, body=REFUSAL))
    answer = shop.post(completed(1))
    assert (answer.status, answer.body["rejected"]) == (400, 1)
    assert len(shop.voucherify.events) == 1
    (record,) = shop.dead_letters
    assert record["failure"]["code"] == "voucherify_400"
    assert record["event"] == completed(1)
    shop.voucherify.rule = None
    assert shop.post(completed(1)).body["delivered"] == 1, "as a redrive does"
    assert (len(shop.voucherify.events), list(shop.voucherify.orders)) == (1, ["o-1"])


def test_refused_custom_event_leaves_the_order(shop: Function) -> None:
    shop.voucherify.rule = refuse(EVENTS, Fault(400, body=REFUSAL))
    assert shop.post(completed(1)).body["rejected"] == 1
    assert list(shop.voucherify.orders) == ["o-1"]
    assert len(shop.dead_letters) == 1


def test_order_without_an_id_is_rejected_and_its_custom_event_delivered_once(shop: Function) -> None:
    event = completed(1, order_id=" ")
    for _ in range(2):
        answer = shop.post(event)
        assert (answer.status, answer.body["rejected"]) == (400, 1)
        assert "order's id cannot be used" in answer.body["errors"][0]["reason"]
    assert paths(shop) == [EVENTS]
    assert {record["failure"]["code"] for record in shop.dead_letters} == {"order_id_missing"}


def test_dead_event_that_nothing_remembers_sends_no_custom_event(shop: Function) -> None:
    """A redrive would send it a second time: an event without a messageId has no idempotency record."""
    event = completed(1, order_id="")
    del event["messageId"]
    assert shop.post(event).body["rejected"] == 1
    assert shop.voucherify.calls == []


@pytest.fixture
def in_a_hurry(shop: Function, monkeypatch: pytest.MonkeyPatch) -> Function:
    """The shop with a short budget, which its clients are ready for."""
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "1.5")
    shop.warm_up()
    shop.put(ambiguousTrack="deadLetter")
    return shop


def test_call_that_is_given_up_before_the_custom_event_leaves_it_unsent(in_a_hurry: Function, worker: Worker) -> None:
    shop = in_a_hurry
    shop.voucherify.rule = refuse(ORDERS, Fault(delay=60))
    assert shop.post(completed(1)).body["queued"] == 1
    assert shop.dead_letters == [], "an order can be sent twice: nothing is ambiguous"
    shop.voucherify.rule = None
    worker.start_cold()
    worker.time_passes(60)
    assert worker.run().kept == []
    assert (len(shop.voucherify.events), list(shop.voucherify.orders)) == (1, ["o-1"])


def test_custom_event_without_an_answer_stays_ambiguous(in_a_hurry: Function) -> None:
    shop = in_a_hurry
    shop.voucherify.rule = refuse(EVENTS, Fault(delay=60))
    assert shop.post(completed(1)).body["rejected"] == 1
    assert [record["failure"]["code"] for record in shop.dead_letters] == ["voucherify_timeout"]
    assert list(shop.voucherify.orders) == ["o-1"]


def test_rate_limit_between_the_two_costs_no_attempt(shop: Function) -> None:
    shop.voucherify.rule = refuse(EVENTS, Fault(429, headers={"Retry-After": "600"}))
    assert shop.post(completed(1)).body["queued"] == 1
    (record,) = stored("RETRY_QUEUE_URL")
    assert record["attempts"] == 0


def test_refused_credentials_stop_the_batch_at_its_first_order(shop: Function) -> None:
    shop.put(apiToken="another")
    answer = shop.post_batch([{**completed(number), "userId": "u-1"} for number in range(20)])
    assert (answer.status, answer.body["queued"]) == (202, 20)
    assert len(shop.voucherify.calls) == 1


def test_metadata_of_an_order_fits_the_projects_schema(shop: Function) -> None:
    shop.voucherify.metadata_schemas = [metadata_schema("order", shipping={"type": "string"}, tax={"type": "number"})]
    assert shop.post(completed(1, shipping=3, tax="none")).body["delivered"] == 1
    assert shop.voucherify.orders["o-1"]["metadata"] == {"currency": "EUR", "shipping": "3"}
    (left_out,) = [line["left_out"] for line in shop.logs if line.get("left_out")]
    assert list(left_out) == ["order.metadata.tax: does not fit Voucherify's metadata schema: the text is not a number"]


def test_what_was_left_out_of_an_order_is_logged_without_values(shop: Function) -> None:
    assert shop.post(completed(1, total="19,99", products=[{"name": "Monopoly"}])).body["delivered"] == 1
    (left_out,) = [line["left_out"] for line in shop.logs if line.get("left_out")]
    assert sorted(left_out) == [
        "order.amount (from properties.total): text is not an amount, such as 19.99",
        "order.items[0]: it has no product_id and no sku",
    ]
    assert "Monopoly" not in shop.logs.text


def test_orders_of_a_deleted_customer_do_not_create_the_customer_again(shop: Function, worker: Worker) -> None:
    shop.put(deleteDisabled="false")
    shop.voucherify.rule = refuse(ORDERS, Fault(503))
    assert shop.post(completed(1)).body["queued"] == 1
    shop.voucherify.rule = None
    assert shop.post({"type": "identify", "userId": "u-1", "messageId": "i-1"}).body["delivered"] == 1
    assert shop.post({"type": "delete", "userId": "u-1", "messageId": "d-1"}).body["delivered"] == 1
    worker.time_passes(60)
    assert worker.run().kept == []
    assert shop.voucherify.customers == shop.voucherify.orders == {}
    assert shop.voucherify.events == []
