"""Many events at once: customers side by side, one customer's events in their order, each track once."""

from __future__ import annotations

import threading
from contextlib import closing
from typing import Any

import pytest

from local.stack.cold import start_cold
from local.stack.http_server import HttpRequest, HttpServer, Reply
from local.voucherify_stub.stub import Fault
from tests.function import Function


def track(number: int, customer: str = "u-1", **fields: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": f"m-{number}", "userId": customer, "event": f"Event {number}", **fields}


def identify(number: int, customer: str) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{number}", "userId": customer, "traits": {"name": str(number)}}


def test_customers_are_called_side_by_side(function: Function) -> None:
    """After the first call, which finds out about the rate limit, none is answered before three are in progress."""
    together = threading.Barrier(3, timeout=60)
    first = threading.Lock()

    def answer(request: HttpRequest) -> Reply:
        if not first.acquire(blocking=False):
            together.wait()
        return Reply(200, body=b"{}")

    with closing(HttpServer(0, answer)) as server:
        function.put(apiUrl=f"http://127.0.0.1:{server.port}")
        events = [identify(number, f"u-{number}") for number in range(4)]
        assert function.post_batch(events).body["delivered"] == 4


def test_one_customers_events_go_out_one_after_the_other_in_their_order(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "60")
    events = [track(number, f"u-{number % 5}", messageId=None) for number in range(100)]
    function.voucherify.rule = lambda request: Fault(delay=0.002) if request.number % 3 else None
    assert function.post_batch(events, seconds=120).body["delivered"] == 100
    for customer in range(5):
        sent = [call.json["event"] for call in function.voucherify.calls if customer_of(call.json) == f"u-{customer}"]
        assert sent == [f"Event {number}" for number in range(customer, 100, 5)]


def customer_of(body: Any) -> str:
    source_id: str = body.get("customer", body)["source_id"]
    return source_id


def test_a_track_is_delivered_once_however_often_it_comes(function: Function) -> None:
    assert function.post(track(1)).body["delivered"] == 1
    answer = function.post(track(1))
    assert (answer.status, answer.body["duplicate"]) == (200, 1)
    answer = function.post_batch([track(1), track(2), track(2)])
    assert (answer.body["delivered"], answer.body["duplicate"]) == (1, 2)
    start_cold()
    assert function.post(track(2)).body["duplicate"] == 1, "another sandbox knows it too"
    assert [event["event"] for event in function.voucherify.events] == ["Event 1", "Event 2"]


def test_an_identify_is_an_upsert_and_needs_no_ledger(function: Function) -> None:
    for _ in range(2):
        assert function.post(identify(1, "u-1")).body["delivered"] == 1
    assert function.aws.dynamodb.scan(TableName=function.aws.environment["DEDUPLICATION_TABLE"])["Items"] == []


def test_a_track_that_failed_may_be_delivered_again(function: Function) -> None:
    function.voucherify.next(Fault(503), Fault(400))
    assert function.post(track(1)).body["queued"] == 1
    assert function.post(track(1)).body["rejected"] == 1
    assert function.post(track(1)).body["delivered"] == 1


def test_a_track_without_a_message_id_is_delivered_without_the_guard(function: Function) -> None:
    for _ in range(2):
        assert function.post(track(1, messageId=None)).body["delivered"] == 1


def test_without_a_table_there_is_no_deduplication(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEDUPLICATION_TABLE")
    for _ in range(2):
        assert function.post(track(1)).body["delivered"] == 1


def test_where_the_table_cannot_be_asked_a_track_is_queued(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEDUPLICATION_TABLE", "gone")
    answer = function.post_batch([track(1), identify(1, "u-1")])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 1, 1)
    assert [(record["failure"]["code"], record["attempts"]) for record in function.retries] == [
        ("deliveries_unknown", 0)
    ]
    assert [call.path for call in function.voucherify.calls] == ["/v1/customers"]


@pytest.mark.unguarded
def test_where_the_table_cannot_be_asked_a_shop_may_want_it_delivered_which_is_said(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    function.put(unguardedTrack="deliver")
    monkeypatch.setenv("DEDUPLICATION_TABLE", "gone")
    assert function.post(track(1)).body["delivered"] == 1
    assert [line["Unguarded"] for line in function.logs.metrics if "Unguarded" in line] == [1]


@pytest.mark.scenario(row=17)
def test_a_track_that_may_have_been_applied_is_tried_again_or_left_to_the_operator(function: Function) -> None:
    function.voucherify.next(Fault(drop="after"))
    assert function.post(track(1)).body["queued"] == 1
    (record,) = function.retries
    assert record["failure"]["message"].endswith("the event may have been applied")

    function.put(ambiguousTrack="deadLetter")
    function.voucherify.close_connections()
    start_cold()
    function.voucherify.next(Fault(drop="after"))
    assert function.post(track(2)).body["rejected"] == 1
    (record,) = function.dead_letters
    assert record["failure"]["message"].endswith("the event may have been applied")

    start_cold()
    function.voucherify.next(Fault(drop="after"))
    assert function.post(identify(1, "u-1")).body["queued"] == 1, "an identify may be applied twice"


@pytest.mark.scenario(row=11)
def test_after_a_429_nothing_more_is_called_until_the_window_opens_and_the_rest_waits_its_turn(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOUCHERIFY_CONCURRENCY", "1")
    function.voucherify.next(None, Fault(429, headers={"Retry-After": "30"}))
    answer = function.post_batch([track(number) for number in range(5)])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 1, 4)
    assert function.post(identify(1, "u-1")).body["queued"] == 1, "the pause holds for the life of the sandbox"
    assert len(function.voucherify.calls) == 2
    assert function.aws.delayed("RETRY_QUEUE_URL") == 5
    start_cold()
    assert function.post(identify(1, "u-1")).body["queued"] == 1, "another sandbox need not find out for itself"
    assert len(function.voucherify.calls) == 2
    function.aws.moto.advance_table(function.aws.environment["DEDUPLICATION_TABLE"], 30)
    start_cold()
    assert function.post(identify(1, "u-1")).body["delivered"] == 1


@pytest.mark.scenario(row=13)
@pytest.mark.parametrize(
    "fault", [Fault(402), Fault(429, headers={"X-Rate-Limit-Type": "api_calls_cycle", "Retry-After": "1"})]
)
def test_a_plan_that_is_used_up_waits_for_hours_loudly(function: Function, fault: Fault) -> None:
    function.voucherify.next(fault)
    assert function.post(track(1)).body["queued"] == 1
    assert function.post(track(2)).body["queued"] == 1
    assert len(function.voucherify.calls) == 1
    assert function.aws.delayed("RETRY_QUEUE_URL") == 2
    loud = [line for line in function.logs if line["level"] == "ERROR"]
    assert [line["code"] for line in loud] == ["plan_used_up", "plan_used_up"]


@pytest.mark.scenario(row=14)
def test_refused_keys_are_read_again_once_and_new_ones_used_at_once(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "3600")
    function.put(apiToken="old")
    function.voucherify.next(Fault(503))
    function.post(identify(1, "u-1"))
    function.put(apiToken=function.system.settings["apiToken"])
    answer = function.post_batch([identify(number, f"u-{number}") for number in range(20)])
    assert (answer.status, answer.body["delivered"]) == (200, 20)
    assert function.post(identify(1, "u-1")).body["delivered"] == 1


@pytest.mark.scenario(row=14)
def test_keys_that_stay_refused_are_not_asked_for_again_and_again(function: Function) -> None:
    function.put(apiToken="wrong")
    answer = function.post_batch([identify(number, "u-1") for number in range(50)])
    assert (answer.status, answer.body["queued"], answer.body["rejected"]) == (202, 50, 0)
    assert len(function.voucherify.calls) == 1
    assert {line["code"] for line in function.logs if line["level"] == "ERROR"} == {"credentials_refused"}
