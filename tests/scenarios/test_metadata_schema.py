"""Row 39: metadata of another type than the project's schema wants, over the whole path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.voucherify_stub.metadata import metadata_schema
from local.voucherify_stub.stub import Fault, Request
from tests.function import Function
from tests.worker import Worker

SCHEMAS = "/v1/metadata-schemas"

pytestmark = pytest.mark.scenario(row=39)

ORDER_SCHEMA = metadata_schema(
    "Order Completed", amount={"type": "number"}, coupon={"type": "string"}, gift={"type": "boolean"}
)
CUSTOMER_SCHEMA = metadata_schema("customer", strict=True, age={"type": "number"}, plan={"type": "string"})

TRACK_MAPPING = json.dumps({"order": "metadata", "profile": "customer.metadata"})


def track(number: int, **order: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "messageId": f"t-{number}",
        "userId": f"u-{number}",
        "event": "Order Completed",
        "properties": {"order": order},
    }


def identify(number: int, **metadata: Any) -> dict[str, Any]:
    return {
        "type": "identify",
        "messageId": f"i-{number}",
        "userId": f"u-{number}",
        "traits": {"email": "ada@example.com", "metadata": metadata},
    }


def paths(function: Function) -> list[str]:
    return [call.path for call in function.voucherify.calls]


@pytest.fixture
def shop(function: Function) -> Function:
    """A shop whose project has a schema for customers and for one event."""
    function.put(trackMapping=TRACK_MAPPING)
    function.voucherify.metadata_schemas = [ORDER_SCHEMA, CUSTOMER_SCHEMA]
    return function


def test_first_event_takes_three_calls_and_a_later_one_takes_one(shop: Function) -> None:
    assert shop.post(track(1, amount="39.95", coupon=1, gift="true")).body["delivered"] == 1
    assert paths(shop) == ["/v1/events", SCHEMAS, "/v1/events"]
    assert shop.post(track(2, amount="12", coupon="X", gift=False)).body["delivered"] == 1
    assert paths(shop)[3:] == ["/v1/events"]
    assert [event["metadata"] for event in shop.voucherify.events] == [
        {"amount": 39.95, "coupon": "1", "gift": True},
        {"amount": 12, "coupon": "X", "gift": False},
    ]
    assert shop.dead_letters == shop.retries == []


def test_value_that_cannot_fit_is_left_out_and_named(shop: Function) -> None:
    assert shop.post(track(1, amount="a lot", coupon="X")).body["delivered"] == 1
    assert shop.voucherify.events[0]["metadata"] == {"coupon": "X"}
    (left_out,) = [line["left_out"] for line in shop.logs if line.get("left_out")]
    assert list(left_out) == ["metadata.amount: does not fit Voucherify's metadata schema: the text is not a number"]
    assert "a lot" not in shop.logs.text


def test_strict_mode_leaves_out_what_is_not_defined(shop: Function) -> None:
    assert shop.post(identify(1, age="36", shoe_size=39)).body["delivered"] == 1
    customer = shop.voucherify.customers["u-1"]
    assert (customer["metadata"], customer["email"]) == ({"age": 36}, "ada@example.com")
    (left_out,) = [line["left_out"] for line in shop.logs if line.get("left_out")]
    assert [text.partition(":")[0] for text in left_out] == ["customer.metadata.shoe_size"]


def test_customer_inside_an_event_fits_its_own_schema(shop: Function) -> None:
    event = track(1, amount=5)
    event["properties"]["profile"] = {"age": "36", "unknown": 1}
    assert shop.post(event).body["delivered"] == 1
    assert shop.voucherify.customers["u-1"]["metadata"] == {"age": 36}


def test_missing_required_key_stays_a_rejection_that_names_it(shop: Function) -> None:
    required = {"type": "string", "optional": False}
    shop.voucherify.metadata_schemas = [metadata_schema("Order Completed", store=required, amount={"type": "number"})]
    answer = shop.post(track(1, amount=1))
    assert (answer.status, answer.body["rejected"]) == (400, 1)
    assert "required metadata is missing: metadata.store" in answer.body["errors"][0]["reason"]
    assert paths(shop) == ["/v1/events", SCHEMAS], "the same request is not sent twice"
    assert shop.post(track(2)).body["rejected"] == 1
    assert paths(shop)[2:] == ["/v1/events"]
    assert len(shop.dead_letters) == 2


def test_second_refusal_is_a_rejection(shop: Function) -> None:
    shop.voucherify.rule = lambda request: Fault(400, body=REFUSAL) if request.path == "/v1/events" else None
    answer = shop.post(track(1, amount="1"))
    assert (answer.status, answer.body["rejected"]) == (400, 1)
    assert paths(shop) == ["/v1/events", SCHEMAS, "/v1/events"]
    assert shop.voucherify.events == []


REFUSAL = {
    "code": 400,
    "key": "metadata_validation_failed",
    "message": "Metadata validation failed",
    "details": "amount: must be a number (actual value is '1')",
}


def test_schemas_are_read_once_for_a_whole_batch(shop: Function) -> None:
    answer = shop.post_batch([track(number, amount=f"{number}.5") for number in range(100)])
    assert (answer.status, answer.body["delivered"]) == (200, 100)
    assert paths(shop).count(SCHEMAS) == 1
    assert len(shop.voucherify.events) == 100
    refused = sum(call.status == 400 for call in shop.voucherify.calls)
    assert refused <= 16, "only calls that were in progress before the schemas were known"


def test_track_is_delivered_once_and_a_repetition_is_a_duplicate(shop: Function) -> None:
    assert shop.post(track(1, amount="1")).body["delivered"] == 1
    assert shop.post(track(1, amount="1")).body["duplicate"] == 1
    assert len(shop.voucherify.events) == 1


@pytest.mark.parametrize(
    "fault", [Fault(503), Fault(429, headers={"Retry-After": "600"}), Fault(drop="before")], ids=str
)
def test_event_is_queued_while_the_schemas_cannot_be_read(shop: Function, worker: Worker, fault: Fault) -> None:
    shop.voucherify.rule = lambda request: fault if request.path == SCHEMAS else None
    assert shop.post(track(1, amount="1")).body["queued"] == 1
    shop.voucherify.rule = None
    worker.start_cold()
    worker.time_passes(3600)
    assert worker.run().kept == []
    assert shop.voucherify.events[0]["metadata"] == {"amount": 1}


def test_schemas_that_never_answer_leave_the_event_queued_and_not_ambiguous(
    shop: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused call has changed nothing: no `ambiguousTrack` decides on the event."""
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "1.5")
    shop.warm_up()
    shop.voucherify.metadata_schemas = [ORDER_SCHEMA]
    shop.put(ambiguousTrack="deadLetter")
    shop.voucherify.rule = lambda request: Fault(delay=60) if request.path == SCHEMAS else None
    assert shop.post(track(1, amount="1")).body["queued"] == 1
    assert SCHEMAS in paths(shop)
    assert shop.dead_letters == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_stays_a_rejection_where_the_schemas_may_not_be_read(shop: Function, status: int) -> None:
    shop.voucherify.rule = lambda request: Fault(status, body="") if request.path == SCHEMAS else None
    answer = shop.post(track(1, amount="1"))
    assert (answer.status, answer.body["rejected"]) == (400, 1)
    reason = answer.body["errors"][0]["reason"]
    assert f"metadata schemas could not be read: Voucherify answered {status}" in reason
    assert shop.post(identify(1)).body["delivered"] == 1, "nothing else waits"


def test_refusal_for_another_reason_reads_no_schemas(shop: Function) -> None:
    not_found = {"code": 404, "key": "not_found", "message": "Resource not found"}
    shop.voucherify.next(Fault(400, body=not_found), Fault(400))
    assert shop.post(track(1, amount=1)).body["rejected"] == 1
    assert shop.post(track(2)).body["rejected"] == 1, "an event without metadata"
    assert SCHEMAS not in paths(shop)


def test_general_error_key_counts_where_metadata_was_sent(shop: Function) -> None:
    def as_invalid_payload(request: Request) -> Fault | None:
        does_not_fit = request.path == "/v1/events" and isinstance(request.json["metadata"]["amount"], str)
        return Fault(400) if does_not_fit else None

    shop.voucherify.rule = as_invalid_payload
    assert shop.post(track(1, amount="1")).body["delivered"] == 1


def test_queued_event_keeps_its_own_values(shop: Function) -> None:
    """The failure record has the event as Segment sent it: the schema may be another one when it is delivered."""
    shop.voucherify.rule = lambda request: Fault(503) if request.number == 3 else None
    event = track(1, amount="1")
    assert shop.post(event).body["queued"] == 1
    assert shop.retries[0]["event"] == event
