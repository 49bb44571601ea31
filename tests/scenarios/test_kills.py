"""The sandbox dies: at any step of a request, in the worker, again and again under one message. Rows 22, 27 and 28."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.stack.front import proxy_event
from local.stack.http_server import Reply
from local.stack.samples import sign
from local.voucherify_stub.stub import Fault, Request
from tests.function import Function
from tests.limits import INVOCATION_SECONDS
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward
from tests.scenarios.sandbox import Killed, ProcessSandbox, process_sandbox
from tests.worker import Worker, put, stored

pytestmark = pytest.mark.slow

HOUR = 60 * 60.0

EVENTS: list[dict[str, Any]] = [
    {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"name": "Ada"}},
    {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "Event 1"},
    {"type": "track", "messageId": "t-2", "userId": "u-1", "event": "Event 2"},
    {"type": "track", "messageId": "t-3", "userId": "u-1", "event": "Event 3"},
]


def request_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    first, *others = [json.dumps(event).encode() for event in events]
    body = b"[" + b",".join([first, *others]) + b"]"
    return proxy_event("POST", "/events", {"X-Signature": sign(first)}, body)


def applied(function: Function) -> list[str]:
    return [event["event"] for event in function.voucherify.events]


def kill_at(step: int, when: str, proxy: AwsProxy, sandbox: ProcessSandbox, function: Function) -> list[str]:
    """Kill the sandbox at its call number `step`, of AWS or Voucherify, before or after it takes effect.

    Voucherify answers 503 to the second track event. The list that comes back fills with the names of the calls.
    """
    calls: list[str] = []

    def is_last(name: str) -> bool:
        calls.append(name)
        return len(calls) == step

    def aws(call: AwsCall, forward: Forward) -> Reply:
        if not is_last(call.operation):
            return forward(call)
        if when == "after":
            forward(call)
        sandbox.kill()
        return Reply(cut="close")

    def voucherify(request: Request) -> Fault | None:
        fails = b"Event 2" in request.body
        if is_last(request.path):
            sandbox.kill()
            return Fault(drop="before" if fails or when == "before" else "after")
        return Fault(503) if fails else None

    proxy.rule, function.voucherify.rule = aws, voucherify
    return calls


STEPS = [
    *("GetParametersByPath", "/v1/customers"),
    *("PutItem", "/v1/events", "UpdateItem"),
    *("PutItem", "/v1/events", "DeleteItem"),
    *("PutItem", "/v1/events", "UpdateItem"),
    "SendMessageBatch",
]


# After one call took effect is the same moment as before the next one does.
BEFORE_EACH_CALL_AND_AFTER_THE_LAST = [
    *((step, "before") for step in range(1, len(STEPS) + 1)),
    (len(STEPS), "after"),
]


@pytest.mark.scenario(row=22)
@pytest.mark.parametrize(("step", "when"), BEFORE_EACH_CALL_AND_AFTER_THE_LAST)
def test_killed_request_is_sent_again_and_applies_each_track_once(
    function: Function, proxy: AwsProxy, intake_process: ProcessSandbox, worker: Worker, step: int, when: str
) -> None:
    """Except where it dies between Voucherify's call and the update of the record: nobody can know of that call."""
    calls = kill_at(step, when, proxy, intake_process, function)
    with pytest.raises(Killed):
        intake_process.invoke(request_of(EVENTS), INVOCATION_SECONDS)
    assert calls == STEPS[:step]
    is_ambiguous = step in {5, 11}

    proxy.rule = function.voucherify.rule = None
    assert function.post_batch(EVENTS).status in {200, 202}, "in another execution environment"
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []

    assert set(applied(function)) == {"Event 1", "Event 2", "Event 3"}
    assert len(applied(function)) == 3 + is_ambiguous
    assert function.voucherify.customers["u-1"]["name"] == "Ada"


def test_undisturbed_request_takes_these_steps(
    function: Function, proxy: AwsProxy, intake_process: ProcessSandbox
) -> None:
    calls = kill_at(0, "never", proxy, intake_process, function)
    assert intake_process.invoke(request_of(EVENTS), INVOCATION_SECONDS)["statusCode"] == 202
    assert calls == STEPS


@pytest.fixture
def bounded_receives(function: Function) -> Iterator[int]:
    """The retry queue's redrive policy, as in template.yaml but for a smaller number."""
    receives, sqs = 12, function.aws.sqs
    dead_letter_queue = sqs.get_queue_attributes(
        QueueUrl=function.aws.environment["DEAD_LETTER_QUEUE_URL"], AttributeNames=["QueueArn"]
    )
    policy = {"deadLetterTargetArn": dead_letter_queue["Attributes"]["QueueArn"], "maxReceiveCount": receives}
    retry_queue_url = function.aws.environment["RETRY_QUEUE_URL"]
    sqs.set_queue_attributes(QueueUrl=retry_queue_url, Attributes={"RedrivePolicy": json.dumps(policy)})
    yield receives
    sqs.set_queue_attributes(QueueUrl=retry_queue_url, Attributes={"RedrivePolicy": ""})


@pytest.mark.scenario(row=27)
def test_poison_message_is_dead_lettered_and_its_neighbours_are_delivered(
    function: Function, proxy: AwsProxy, worker: Worker, bounded_receives: int
) -> None:
    """It is the oldest and called first, so that no neighbour is reached in a batch with it."""
    poison = {"type": "identify", "userId": "poison", "traits": {}}
    neighbours = [{**EVENTS[1], "userId": f"u-{number}", "messageId": f"t-{number}"} for number in range(9)]
    put(function, poison)
    worker.time_passes(60.0)
    put(function, *neighbours)
    with process_sandbox("redelivery", {**os.environ, "VOUCHERIFY_CONCURRENCY": "1"}) as sandbox:
        worker.invoke = sandbox.invoke

        def kill(request: Request) -> Fault | None:
            if b"poison" not in request.body:
                return None
            sandbox.kill()
            return Fault(drop="before")

        function.voucherify.rule = kill
        deaths = 0
        while stored("RETRY_QUEUE_URL"):
            try:
                worker.run()
            except Killed:
                deaths += 1
            worker.time_passes_until_one_is_visible()
    assert deaths == bounded_receives
    assert len(applied(function)) == len(neighbours)
    assert [record["event"] for record in stored("DEAD_LETTER_QUEUE_URL")] == [poison]


@pytest.mark.scenario(row=28)
def test_message_received_twice_at_once_is_applied_once(function: Function, proxy: AwsProxy, worker: Worker) -> None:
    """Both claim it before either may go on."""
    put(function, EVENTS[1])
    both = threading.Barrier(2, timeout=60)

    def meet(call: AwsCall, forward: Forward) -> Reply:
        if call.operation == "PutItem":
            both.wait()
        return forward(call)

    proxy.rule = meet
    event = worker.receive()
    assert event
    with (
        process_sandbox("redelivery", os.environ) as one,
        process_sandbox("redelivery", os.environ) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        answers = list(pool.map(lambda sandbox: sandbox.invoke(event, INVOCATION_SECONDS), (one, other)))
    assert applied(function) == ["Event 1"]
    kept = [failure["itemIdentifier"] for answer in answers for failure in answer["batchItemFailures"]]
    assert kept == [event["Records"][0]["messageId"]], "who came second looks again later"


@pytest.mark.scenario(row=22)
def test_resend_during_the_first_request_is_applied_once(
    function: Function, proxy: AwsProxy, intake_process: ProcessSandbox, worker: Worker
) -> None:
    """Segment has waited for 5 seconds and tries again: the first of its requests may still be at work."""
    seconds: list[Any] = []

    def send_again(call: AwsCall, forward: Forward) -> Reply:
        reply = forward(call)
        if call.operation == "PutItem" and not seconds:
            seconds.append(None)
            seconds[0] = function.post_batch(EVENTS)
        return reply

    function.warm_up()
    proxy.rule = send_again
    assert intake_process.invoke(request_of(EVENTS), INVOCATION_SECONDS)["statusCode"] == 200
    assert (seconds[0].status, seconds[0].body["queued"]) == (202, 1)
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert sorted(applied(function)) == ["Event 1", "Event 2", "Event 3"]
    assert stored("RETRY_QUEUE_URL") == []
