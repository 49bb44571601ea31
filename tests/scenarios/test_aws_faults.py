"""SQS and DynamoDB fail during a request or a run of the worker."""

from __future__ import annotations

import os
from typing import Any

import pytest

from local.stack.cold import start_cold
from local.stack.http_server import Reply
from local.voucherify_stub.stub import Fault
from tests.function import Function
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, refusal, refuse, take_some
from tests.scenarios.execution_environment import execution_environment
from tests.worker import Worker, stored

HOUR = 60 * 60.0


def track(number: int, customer: str = "u-1") -> dict[str, Any]:
    return {"type": "track", "messageId": f"t-{number}", "userId": customer, "event": f"Event {number}"}


IDENTIFY: dict[str, Any] = {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"name": "Ada"}}


def applied(function: Function) -> list[str]:
    return sorted(event["event"] for event in function.voucherify.events)


def fail_the_odd_ones(function: Function) -> None:
    """Let Voucherify answer 503 for every other event."""
    function.voucherify.rule = lambda request: Fault(503) if request.json["event"][-1] in "13579" else None


@pytest.mark.scenario(row=23)
def test_failed_entries_are_sent_again(function: Function, proxy: AwsProxy) -> None:
    sends: list[int] = []

    def some(call: AwsCall, forward: Forward) -> Reply:
        if call.operation != "SendMessageBatch":
            return forward(call)
        sends.append(len(call.json["Entries"]))
        return take_some(call, forward, lambda number: number % 2 == 0) if len(sends) == 1 else forward(call)

    proxy.rule = some
    fail_the_odd_ones(function)
    answer = function.post_batch([track(number, f"u-{number}") for number in range(10)])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 5, 5)
    assert sends == [5, 2]
    assert sorted(record["event"]["event"] for record in stored("RETRY_QUEUE_URL")) == [
        f"Event {number}" for number in range(1, 10, 2)
    ]


@pytest.mark.scenario(row=23)
def test_lasting_failed_entries_give_503_and_the_resend_repeats_nothing(function: Function, proxy: AwsProxy) -> None:
    proxy.rule = lambda call, forward: (
        take_some(call, forward, lambda number: False) if call.operation == "SendMessageBatch" else forward(call)
    )
    fail_the_odd_ones(function)
    events = [track(number, f"u-{number}") for number in range(10)]
    assert function.post_batch(events).status == 503
    assert len(applied(function)) == 5

    proxy.rule = function.voucherify.rule = None
    answer = function.post_batch(events)
    assert (answer.status, answer.body["delivered"], answer.body["duplicate"]) == (200, 5, 5)
    assert applied(function) == [f"Event {number}" for number in range(10)]


@pytest.mark.scenario(row=24)
@pytest.mark.parametrize("cut", [True, False], ids=["no connection", "500"])
def test_voucherify_and_sqs_down_gives_503(function: Function, proxy: AwsProxy, cut: bool) -> None:
    def down(call: AwsCall, forward: Forward) -> Reply:
        if call.operation != "SendMessageBatch":
            return forward(call)
        return Reply(cut="close") if cut else refusal()

    proxy.rule = down
    function.voucherify.rule = lambda request: Fault(503)
    answer = function.post_batch([IDENTIFY, track(1), track(2, "u-2")])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (503, 0, 0)
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []


def unguarded(function: Function) -> int:
    return sum(line.get("Unguarded", 0) for line in function.logs.metrics)


CODES = pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "ProvisionedThroughputExceededException"),
        (400, "AccessDeniedException"),
        (500, "InternalServerError"),
    ],
)


@pytest.mark.scenario(row=25)
@CODES
def test_without_dynamodb_tracks_wait_in_the_retry_queue(
    function: Function, proxy: AwsProxy, worker: Worker, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMODB_TIMEOUT_SECONDS", "57")  # no time for many tries in a budget of 60
    function.warm_up()
    proxy.rule = refuse("PutItem", status=status, code=code)
    answer = function.post_batch([IDENTIFY, track(1)])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 1, 1)
    (record,) = stored("RETRY_QUEUE_URL")
    assert record["failure"]["code"] == "deliveries_unknown"
    assert len(worker.run(seconds=3.0).kept) == 1, "the worker does not deliver it either"
    assert applied(function) == []

    proxy.rule = None
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert applied(function) == ["Event 1"]


@pytest.mark.unguarded
@CODES
def test_without_dynamodb_tracks_are_delivered_where_a_setting_says_so(
    function: Function, proxy: AwsProxy, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMODB_TIMEOUT_SECONDS", "57")  # no time for many tries in a budget of 60
    function.put(unguardedTrack="deliver")
    function.warm_up()
    proxy.rule = refuse("PutItem", "UpdateItem", "DeleteItem", status=status, code=code)
    answer = function.post_batch([IDENTIFY, track(1)])
    assert answer.body["delivered"] + answer.body["queued"] == 2
    assert unguarded(function) == len(applied(function))


@pytest.mark.scenario(row=25)
@pytest.mark.parametrize("lost", [True, False], ids=["with effect", "without effect"])
@pytest.mark.parametrize("operation", ["PutItem", "UpdateItem", "DeleteItem"])
def test_reset_connection_to_dynamodb_loses_and_repeats_nothing(
    function: Function, proxy: AwsProxy, operation: str, lost: bool
) -> None:
    """A delivered track is a duplicate then, and any other is delivered once."""
    function.warm_up()
    resets: list[str] = []

    def reset_once(call: AwsCall, forward: Forward) -> Reply:
        if call.operation != operation or resets:
            return forward(call)
        resets.append(operation)
        if lost:
            forward(call)
        return Reply(cut="reset")

    proxy.rule = reset_once
    if operation == "DeleteItem":
        function.voucherify.next(Fault(503))
        assert function.post(track(1)).body["queued"] == 1
    assert function.post(track(1)).body["delivered"] == 1
    assert function.post(track(1)).body["duplicate"] == 1
    assert resets == [operation]
    assert applied(function) == ["Event 1"]


@pytest.mark.scenario(row=25)
@pytest.mark.unguarded
def test_failed_update_of_the_record_is_counted_as_unguarded(function: Function, proxy: AwsProxy) -> None:
    proxy.rule = refuse("UpdateItem", status=400, code="AccessDeniedException")
    assert function.post(track(1)).body["delivered"] == 1
    assert unguarded(function) == 1


@pytest.mark.scenario(row=25)
def test_identify_needs_no_idempotency_record(function: Function, proxy: AwsProxy) -> None:
    """DynamoDB is asked whether events wait, and told that one does."""
    asked: list[str] = []

    def note(call: AwsCall, forward: Forward) -> Reply:
        asked.append(call.operation)
        return forward(call)

    proxy.rule = note
    function.voucherify.next(None, Fault(503), Fault(400))
    function.post_batch([IDENTIFY, IDENTIFY, IDENTIFY])
    assert set(asked) == {"GetParametersByPath", "GetItem", "UpdateItem", "SendMessageBatch"}


@pytest.mark.scenario(row=29)
def test_redrive_amid_live_traffic_applies_each_event_once(function: Function, worker: Worker, proxy: AwsProxy) -> None:
    """Segment sends a redriven event again while the worker holds its claim, and a new event."""
    function.voucherify.next(Fault(400), Fault(400))
    assert function.post_batch([track(1), track(2)]).status == 400
    function.put(trackMapping='{"event": "metadata.name"}')
    live: list[Any] = []

    def send_again(call: AwsCall, forward: Forward) -> Reply:
        reply = forward(call)
        if call.operation == "PutItem" and not live:
            live.append(None)
            live[0] = function.post_batch([track(1), track(3)])
        return reply

    assert worker.redrive() == 2
    with execution_environment("redelivery", os.environ) as process:
        worker.invoke = process.invoke
        start_cold()
        function.warm_up()
        proxy.rule = send_again
        assert worker.run().kept == []
        assert (live[0].status, live[0].body["queued"], live[0].body["delivered"]) == (202, 1, 1)
        worker.time_passes(HOUR)
        assert worker.run().kept == []
    assert applied(function) == ["Event 1", "Event 2", "Event 3"]
    assert {event["metadata"]["name"] for event in function.voucherify.events} == {"Event 1", "Event 2", "Event 3"}
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []
