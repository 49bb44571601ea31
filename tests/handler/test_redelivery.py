"""The worker as Lambda's poller runs it: which messages go, which stay and until when, and which come to rest."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from handler import retry_worker
from handler.delivery.backoff import STEPS
from local.stack.cold import start_cold
from local.stack.samples import sign
from local.voucherify_stub.stub import Fault
from tests.function import Function
from tests.worker import FIRST_FAILURE, Worker, hidden_seconds, put, put_body, stored, stored_record

HOUR = 60 * 60.0

IDENTIFY = {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"name": "Ada"}}
TRACK = {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "Signed Up", "properties": {}}


@pytest.fixture
def worker(function: Function) -> Worker:
    start_cold()
    return Worker(function.aws)


def retrying() -> list[dict[str, Any]]:
    return [record["event"] for record in stored("RETRY_QUEUE_URL")]


def dead() -> list[dict[str, Any]]:
    return stored("DEAD_LETTER_QUEUE_URL")


def test_what_is_delivered_leaves_the_queue(function: Function, worker: Worker) -> None:
    put(function, IDENTIFY, TRACK)
    assert worker.run().kept == []
    assert [path for _, path, _ in function.sent] == ["/v1/customers", "/v1/events"]
    assert (retrying(), dead()) == ([], [])


def test_what_intake_has_stored_the_worker_delivers(function: Function, worker: Worker) -> None:
    function.voucherify.next(Fault(503), Fault(503))
    assert function.post_batch([IDENTIFY, {**TRACK, "userId": "u-2"}]).body["queued"] == 2
    worker.run()
    assert function.voucherify.customers["u-1"]["name"] == "Ada"
    assert [event["event"] for event in function.voucherify.events] == ["Signed Up"]
    assert retrying() == []


def test_what_the_settings_have_switched_off_meanwhile_leaves_the_queue(function: Function, worker: Worker) -> None:
    function.put(trackDisabled="true")
    put(function, TRACK)
    assert worker.run().kept == []
    assert (function.sent, retrying(), dead()) == ([], [], [])


@pytest.mark.scenario(row=16)
@pytest.mark.parametrize(
    ("hours", "longest"),
    [(0.0, STEPS[0]), (20 / 3600, STEPS[1]), (0.05, STEPS[2]), (0.2, STEPS[3]), (1.0, STEPS[4]), (20.0, STEPS[4])],
)
def test_what_fails_again_stays_and_is_hidden_for_longer_the_longer_it_has_waited(
    function: Function, worker: Worker, hours: float, longest: int
) -> None:
    put(function, *[{**TRACK, "messageId": f"t-{number}", "userId": f"u-{number}"} for number in range(10)])
    worker.time_passes(hours * HOUR)
    function.voucherify.rule = lambda request: Fault(503)
    batch = worker.run()
    assert len(batch.kept) == 10
    waits = hidden_seconds("RETRY_QUEUE_URL")
    assert all(wait <= longest for wait in waits)
    assert len(set(map(round, waits))) > 1, "drawn at random, so that they do not come back all at once"
    assert dead() == []


def test_each_message_of_a_batch_has_its_own_fate(function: Function, worker: Worker) -> None:
    events = [{**TRACK, "messageId": f"t-{name}", "userId": name, "event": name} for name in ("good", "bad", "late")]
    answers = {"good": None, "bad": Fault(400), "late": Fault(503)}
    function.voucherify.rule = lambda request: answers[request.json["event"]]
    put(function, *events, {**IDENTIFY, "userId": ""})
    assert len(worker.run().kept) == 1
    assert retrying() == [events[2]]
    assert sorted(record["failure"]["code"] for record in dead()) == ["customer_id_missing", "voucherify_400"]


def test_a_stored_event_is_not_dropped_by_its_integrations_later(function: Function, worker: Worker) -> None:
    put(function, {**TRACK, "integrations": {"All": False}})
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 1


@pytest.mark.scenario(row=15)
def test_what_voucherify_refuses_is_dead_with_its_last_failure_and_its_attempts(
    function: Function, worker: Worker
) -> None:
    put(function, TRACK)
    function.voucherify.next(Fault(503), Fault(400, body={"code": 400, "key": "invalid_thing", "message": "Bad"}))
    worker.run()
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    (record,) = dead()
    assert record == {
        "event": TRACK,
        "source": "default",
        "attempts": 3,
        "firstFailedAt": "2026-12-02T00:30:08.276000Z",
        "failure": {
            "stage": "deliver",
            "code": "voucherify_400",
            "message": "Voucherify answered 400 invalid_thing: Bad",
        },
    }
    assert retrying() == []


def test_what_fails_and_is_older_than_retry_hours_is_dead_with_its_last_failure(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRY_HOURS", "2")
    put(function, TRACK)
    worker.time_passes(2 * HOUR + 1)
    put(function, IDENTIFY)
    function.voucherify.rule = lambda request: Fault(500) if request.path == "/v1/events" else None
    assert worker.run().kept == []
    assert [path for _, path, _ in function.sent] == ["/v1/events", "/v1/customers"], "its neighbour is delivered"
    (record,) = dead()
    assert (record["event"], record["failure"]["code"], record["attempts"]) == (TRACK, "voucherify_500", 2)


def test_what_waited_in_the_queue_for_longer_than_retry_hours_is_tried(function: Function, worker: Worker) -> None:
    put(function, TRACK)
    worker.time_passes(100 * HOUR)
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 1
    assert dead() == []


def test_what_is_older_than_retry_hours_is_dead_with_its_failure_where_its_source_is_gone(
    function: Function, worker: Worker
) -> None:
    put_body(function, json.dumps({**stored_record(TRACK), "source": "gone"}))
    assert len(worker.run().kept) == 1
    worker.time_passes(25 * HOUR)
    assert worker.run().kept == []
    assert [record["failure"] for record in dead()] == [FIRST_FAILURE]


@pytest.mark.parametrize(
    "body", ["hello", "{", "[]", '{"event": 1}', '{"event": {}, "source": "default", "attempts": 1, "failure": {}}']
)
def test_a_message_that_is_no_record_is_dead_as_it_was(function: Function, worker: Worker, body: str) -> None:
    put_body(function, body)
    put(function, IDENTIFY)
    assert worker.run().kept == []
    (record,) = dead()
    assert (record["event"], record["failure"]["code"]) == (body, "unreadable_record")
    assert len(function.sent) == 1


def test_a_record_that_this_release_knows_more_of_is_read_all_the_same(function: Function, worker: Worker) -> None:
    record = {"event": IDENTIFY, "source": "default", "attempts": 1, "firstFailedAt": "2026-12-02T00:30:08Z"}
    put_body(function, json.dumps({**record, "failure": FIRST_FAILURE, "later": 1}))
    assert worker.run().kept == []
    assert len(function.sent) == 1


@pytest.mark.scenario(row=26)
def test_without_settings_the_whole_batch_stays_and_nothing_is_called(function: Function, worker: Worker) -> None:
    put(function, IDENTIFY, TRACK)
    function.aws.delete_settings()
    assert len(worker.run().kept) == 2
    assert (function.sent, dead(), len(retrying())) == ([], [], 2)
    (line,) = [line for line in function.logs if line["level"] == "ERROR" and line["message"] == "events kept"]
    assert line["cause"] == "faulty_settings"

    function.aws.put_settings(function.system.settings)
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert len(function.sent) == 2


@pytest.mark.scenario(row=26)
def test_where_the_dead_letter_queue_is_down_the_message_stays(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", function.aws.environment["DEAD_LETTER_QUEUE_URL"] + "-gone")
    put(function, TRACK, {**IDENTIFY, "userId": ""})
    function.voucherify.next(Fault(400))
    assert len(worker.run().kept) == 2
    assert len(retrying()) == 2


@pytest.mark.scenario(row=26)
def test_where_the_message_cannot_be_hidden_it_stays_all_the_same(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETRY_QUEUE_URL", function.aws.environment["RETRY_QUEUE_URL"] + "-gone")
    put(function, TRACK)
    function.voucherify.next(Fault(503))
    assert len(worker.run().kept) == 1
    assert retrying() == [TRACK]


@pytest.mark.scenario(row=11)
def test_after_a_429_the_rest_of_the_batch_is_hidden_until_its_turn_uncalled(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOUCHERIFY_CONCURRENCY", "1")
    put(function, *[{**TRACK, "messageId": f"t-{number}"} for number in range(5)])
    function.voucherify.next(None, Fault(429, headers={"Retry-After": "600"}))
    assert len(worker.run().kept) == 4
    assert len(function.sent) == 2
    waits = hidden_seconds("RETRY_QUEUE_URL")
    assert all(wait > 300 for wait in waits)
    assert waits == sorted(waits), "the oldest first"

    worker.start_cold()
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 5


def test_a_plan_that_is_used_up_hides_a_message_for_hours(function: Function, worker: Worker) -> None:
    put(function, TRACK)
    function.voucherify.next(Fault(402))
    worker.run()
    (wait,) = hidden_seconds("RETRY_QUEUE_URL")
    assert wait > HOUR


def test_waiting_for_the_plan_is_no_failure_that_ends_in_the_dead_letter_queue(
    function: Function, worker: Worker
) -> None:
    put(function, TRACK)
    for _ in range(5):
        function.voucherify.next(Fault(429, headers={"Retry-After": "600"}))
        worker.start_cold()
        worker.run()
        worker.time_passes(HOUR)
    assert (retrying(), dead()) == ([TRACK], [])


def test_a_customers_events_are_delivered_in_the_order_in_which_they_were_stored(
    function: Function, worker: Worker
) -> None:
    events = [{**TRACK, "messageId": f"t-{number}", "event": f"Event {number}"} for number in range(6)]
    for event in events:
        put(function, event)
        worker.time_passes(1.0)
    received = worker.receive()
    assert received
    received["Records"].reverse()  # a standard queue promises no order
    worker.invoke(received, 60.0)
    assert [event["event"] for event in function.voucherify.events] == [f"Event {number}" for number in range(6)]


def test_of_what_one_request_stored_the_order_holds_too(function: Function, worker: Worker) -> None:
    """They are as old as each other for SQS, which tells milliseconds."""
    names = [f"Event {number}" for number in range(6)]
    function.voucherify.next(*[Fault(503)] * 6)
    events = [{**TRACK, "messageId": f"t-{name}", "event": name} for name in names]
    assert function.post_batch(events).body["queued"] == 6
    received = worker.receive()
    assert received
    for record in received["Records"]:
        record["attributes"]["SentTimestamp"] = received["Records"][0]["attributes"]["SentTimestamp"]
    received["Records"].reverse()
    worker.invoke(received, 60.0)
    assert [event["event"] for event in function.voucherify.events] == names


def test_what_is_not_reached_before_the_time_out_stays(function: Function, worker: Worker) -> None:
    put(function, IDENTIFY, TRACK)
    assert len(worker.run(seconds=0.1).kept) == 2
    assert function.sent == []
    assert len(retrying()) == 2


@pytest.mark.scenario(row=17)
def test_a_track_that_may_have_been_applied_is_left_to_the_operator_where_the_shop_wants_that(
    function: Function, worker: Worker
) -> None:
    function.put(ambiguousTrack="deadLetter")
    put(function, TRACK)
    function.voucherify.next(Fault(drop="after"))
    assert worker.run().kept == []
    (record,) = dead()
    assert record["failure"]["message"].endswith("the event may have been applied")
    assert record["attempts"] == 2


@pytest.mark.scenario(row=29)
def test_a_redrive_is_delivered_with_the_current_mapping(function: Function, worker: Worker) -> None:
    function.put(trackMapping='{"properties.coupon": "customer.metadata.coupon"}')
    put(function, {**TRACK, "properties": {"plan": "gold"}}, queue="DEAD_LETTER_QUEUE_URL")
    function.put(trackMapping='{"properties.plan": "metadata.plan"}')
    assert worker.redrive() == 1
    assert worker.run().kept == []
    assert function.voucherify.events[0]["metadata"] == {"plan": "gold"}
    assert (retrying(), dead()) == ([], [])


@pytest.mark.scenario(row=29)
def test_a_redrive_skips_what_was_delivered_meanwhile(function: Function, worker: Worker) -> None:
    function.post(TRACK)
    put(function, TRACK, {**TRACK, "messageId": "t-2"}, queue="DEAD_LETTER_QUEUE_URL")
    worker.redrive()
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 2
    assert (retrying(), dead()) == ([], [])


@pytest.mark.scenario(row=29)
def test_a_redrive_gets_fresh_retry_hours(function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_HOURS", "24")
    put(function, TRACK)
    function.voucherify.rule = lambda request: Fault(503)
    worker.time_passes(25 * HOUR)
    worker.run()
    assert len(dead()) == 1
    worker.redrive()
    worker.run()
    worker.time_passes(23 * HOUR)
    worker.run()
    assert (retrying(), dead()) == ([TRACK], [])
    worker.time_passes(2 * HOUR)
    worker.run()
    assert (retrying(), [record["event"] for record in dead()]) == ([], [TRACK])


def test_whatever_comes_to_rest_can_be_redriven_and_comes_to_rest_again(function: Function, worker: Worker) -> None:
    put_body(function, "hello")
    put(function, {**IDENTIFY, "userId": ""}, 17)
    worker.run()
    assert worker.redrive() == 3
    assert worker.run().kept == []
    assert [record["event"] for record in dead()] == ["hello", {**IDENTIFY, "userId": ""}, 17]


CANARY = "canary-9f3c"


@pytest.mark.scenario(row=31)
def test_no_personal_data_and_no_secret_is_in_any_sink_but_the_record_of_its_event(
    function: Function, worker: Worker
) -> None:
    function.aws.delete_settings()
    function.put(
        apiKey=f"{CANARY}-k", apiToken=f"{CANARY}-t", apiUrl=function.voucherify.url, sharedSecret=f"{CANARY}-s"
    )
    put(function, {**TRACK, "properties": {"email": CANARY, "phone": [CANARY]}}, {**IDENTIFY, "userId": {CANARY: 1}})
    put_body(function, CANARY)
    function.voucherify.next(Fault(400, body={"code": 400, "key": CANARY, "message": f"{CANARY}-t"}))
    assert worker.run().kept == []
    messages = function.aws.messages("DEAD_LETTER_QUEUE_URL")
    assert len(messages) == 3
    assert CANARY not in json.dumps([message["MessageAttributes"] for message in messages])
    assert f"{CANARY}-t" not in json.dumps(messages)
    assert CANARY not in function.logs.text


WAITS = [Fault(429, headers={"Retry-After": "60"}), Fault(402)]


@pytest.mark.scenario(row=40)
@pytest.mark.parametrize("fault", WAITS, ids=["rate_limited", "plan_used_up"])
def test_an_event_that_only_waits_for_the_plan_is_not_given_up_for_its_age(
    function: Function, worker: Worker, fault: Fault
) -> None:
    function.voucherify.rule = lambda request: fault
    assert function.post(TRACK).body["queued"] == 1
    for _ in range(3):
        worker.time_passes(30 * HOUR)
        worker.start_cold()
        assert len(worker.run().kept) == 1
    assert dead() == []
    function.voucherify.rule = None
    worker.time_passes(200 * HOUR)
    worker.start_cold()
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 1
    assert retrying() == dead() == []


def test_an_event_that_fails_after_it_waited_has_its_retry_hours_then(function: Function, worker: Worker) -> None:
    function.voucherify.next(Fault(429))
    assert function.post(TRACK).body["queued"] == 1
    worker.time_passes(100 * HOUR)
    function.voucherify.rule = lambda request: Fault(503)
    worker.start_cold()
    worker.run()
    (record,) = stored("RETRY_QUEUE_URL")
    assert (record["failure"]["code"], record["attempts"]) == ("voucherify_503", 1)
    worker.time_passes(23 * HOUR)
    assert len(worker.run().kept) == 1
    worker.time_passes(2 * HOUR)
    worker.run()
    assert retrying() == []
    assert [record["failure"]["code"] for record in dead()] == ["voucherify_503"]


def test_an_event_that_waits_after_it_failed_is_not_given_up_while_it_waits(function: Function, worker: Worker) -> None:
    put(function, TRACK)
    function.voucherify.rule = lambda request: Fault(402)
    worker.run()
    for _ in range(3):
        worker.time_passes(30 * HOUR)
        worker.start_cold()
        assert len(worker.run().kept) == 1
    worker.time_passes(100 * HOUR)
    function.voucherify.rule = None
    worker.start_cold()
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 1
    assert retrying() == dead() == []


def test_an_event_is_dead_before_sqs_would_delete_it(function: Function, worker: Worker) -> None:
    function.voucherify.rule = lambda request: Fault(402)
    assert function.post(TRACK).body["queued"] == 1
    worker.time_passes(13.1 * 24 * HOUR)
    worker.start_cold()
    assert worker.run().kept == []
    assert [record["failure"]["code"] for record in dead()] == ["plan_used_up"]


@pytest.mark.scenario(row=40)
def test_messages_of_a_source_are_one_group(function: Function) -> None:
    function.put_source("shop", trackDisabled="false")
    function.voucherify.rule = lambda request: Fault(503)
    for path in ("/events", "/events/shop"):
        body = json.dumps({**TRACK, "messageId": path}).encode()
        assert function.send(body, {"X-Signature": sign(body)}, path=path).body["queued"] == 1
    messages = function.aws.sqs.receive_message(
        QueueUrl=function.aws.environment["RETRY_QUEUE_URL"],
        MaxNumberOfMessages=10,
        MessageSystemAttributeNames=["MessageGroupId"],
    )["Messages"]
    assert {message["Attributes"]["MessageGroupId"] for message in messages} == {"default", "shop"}


def test_of_many_that_wait_one_that_fails_keeps_its_age(
    function: Function, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry_worker, "MOST_HIDDEN", 7)
    events = [{**TRACK, "messageId": f"t-{number}", "userId": f"u-{number}"} for number in range(9)]
    put(function, *events)
    function.voucherify.rule = lambda request: (
        Fault(503) if request.number == 1 else Fault(429, headers={"Retry-After": "600"})
    )
    kept = worker.run(at_most=200).kept
    assert len(kept) == 1, "it stays; the others are new messages"
    assert len(stored("RETRY_QUEUE_URL")) == 9
    assert Counter(record["failure"]["code"] for record in stored("RETRY_QUEUE_URL")) == {
        "voucherify_503": 1,
        "rate_limited": 8,
    }
