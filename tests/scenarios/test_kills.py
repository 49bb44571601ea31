"""The execution environment is killed: at each step of a request, and by a message in the worker."""

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
from tests.scenarios.execution_environment import ExecutionEnvironment, Killed, execution_environment
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


def kill_at(step: int, when: str, proxy: AwsProxy, process: ExecutionEnvironment, function: Function) -> list[str]:
    """Kill the process at its call number `step`, of AWS or Voucherify, before or after the call takes effect.

    Voucherify answers 503 to the second track event. Return a list that fills with the names of the calls.
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
        process.kill()
        return Reply(cut="close")

    def voucherify(request: Request) -> Fault | None:
        fails = b"Event 2" in request.body
        if is_last(request.path):
            process.kill()
            return Fault(drop="before" if fails or when == "before" else "after")
        return Fault(503) if fails else None

    proxy.rule, function.voucherify.rule = aws, voucherify
    return calls


STEPS = [
    *("GetParametersByPath", "GetItem", "/v1/customers"),
    *("PutItem", "/v1/events", "UpdateItem"),
    *("PutItem", "/v1/events", "DeleteItem"),
    *("PutItem", "/v1/events", "UpdateItem"),
    *("UpdateItem", "UpdateItem", "UpdateItem"),  # an event waits from now on, and this customer has had a newer one
    "SendMessageBatch",
]


# The moment after one call is the moment before the next.
BEFORE_EACH_CALL_AND_AFTER_THE_LAST = [
    *((step, "before") for step in range(1, len(STEPS) + 1)),
    (len(STEPS), "after"),
]


@pytest.mark.scenario(row=22)
@pytest.mark.parametrize(("step", "when"), BEFORE_EACH_CALL_AND_AFTER_THE_LAST)
def test_killed_request_is_sent_again_and_applies_each_track_once(
    function: Function, proxy: AwsProxy, deliver_process: ExecutionEnvironment, worker: Worker, step: int, when: str
) -> None:
    """Except where it dies between Voucherify's call and the update of the record: nobody can know of that call."""
    calls = kill_at(step, when, proxy, deliver_process, function)
    with pytest.raises(Killed):
        deliver_process.invoke(request_of(EVENTS), INVOCATION_SECONDS)
    assert calls == STEPS[:step]
    is_ambiguous = step in {6, 12}

    proxy.rule = function.voucherify.rule = None
    assert function.post_batch(EVENTS).status in {200, 202}, "in another execution environment"
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []

    assert set(applied(function)) == {"Event 1", "Event 2", "Event 3"}
    assert len(applied(function)) == 3 + is_ambiguous
    assert function.voucherify.customers["u-1"]["name"] == "Ada"


def test_undisturbed_request_takes_these_steps(
    function: Function, proxy: AwsProxy, deliver_process: ExecutionEnvironment
) -> None:
    calls = kill_at(0, "never", proxy, deliver_process, function)
    assert deliver_process.invoke(request_of(EVENTS), INVOCATION_SECONDS)["statusCode"] == 202
    assert calls == STEPS


@pytest.fixture
def bounded_receives(function: Function) -> Iterator[int]:
    """Give the retry queue the redrive policy of template.yaml, with fewer receives. Return their number."""
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
    """The poison message is the oldest and comes first, so no neighbour is delivered in a batch with it."""
    poison = {"type": "identify", "userId": "poison", "traits": {}}
    neighbours = [{**EVENTS[1], "userId": f"u-{number}", "messageId": f"t-{number}"} for number in range(9)]
    put(function, poison)
    worker.time_passes(60.0)
    put(function, *neighbours)
    with execution_environment("redelivery", {**os.environ, "VOUCHERIFY_CONCURRENCY": "1"}) as process:
        worker.invoke = process.invoke

        def kill(request: Request) -> Fault | None:
            if b"poison" not in request.body:
                return None
            process.kill()
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


@pytest.mark.scenario(row=22)
@pytest.mark.parametrize("at_most", [10, 1], ids=["in one batch", "one by one"])
def test_worker_that_dies_after_it_has_replaced_a_message_leaves_two(
    function: Function, proxy: AwsProxy, worker: Worker, at_most: int
) -> None:
    """An event that has only waited gets a new message when it fails. It is applied once all the same."""
    function.voucherify.next(Fault(429, headers={"Retry-After": "600"}))
    assert function.post(EVENTS[1]).body["queued"] == 1
    worker.time_passes(700.0)
    in_this_process = worker.invoke

    with execution_environment("redelivery", os.environ) as process:

        def kill(call: AwsCall, forward: Forward) -> Reply:
            reply = forward(call)
            if call.operation == "SendMessageBatch":
                process.kill()
            return reply

        worker.invoke, proxy.rule = process.invoke, kill
        function.voucherify.rule = lambda request: Fault(503)
        with pytest.raises(Killed):
            worker.run()
    assert [record["event"] for record in stored("RETRY_QUEUE_URL")] == [EVENTS[1], EVENTS[1]]

    worker.invoke = in_this_process
    proxy.rule = function.voucherify.rule = None
    worker.time_passes(HOUR)
    while stored("RETRY_QUEUE_URL"):
        assert worker.run(at_most=at_most).kept == []
    assert applied(function) == ["Event 1"]
    assert stored("DEAD_LETTER_QUEUE_URL") == []


@pytest.mark.scenario(row=28)
def test_message_received_twice_at_once_is_applied_once(function: Function, proxy: AwsProxy, worker: Worker) -> None:
    """Both workers claim it before either has an answer."""
    put(function, EVENTS[1])
    both = threading.Barrier(2, timeout=60)
    one_at_a_time = threading.Lock()  # moto checks a condition and writes in two steps

    def meet(call: AwsCall, forward: Forward) -> Reply:
        with one_at_a_time:
            reply = forward(call)
        if call.operation == "PutItem":
            both.wait()
        return reply

    proxy.rule = meet
    event = worker.receive()
    assert event
    with (
        execution_environment("redelivery", os.environ) as one,
        execution_environment("redelivery", os.environ) as other,
        ThreadPoolExecutor(2) as pool,
    ):
        answers = list(pool.map(lambda process: process.invoke(event, INVOCATION_SECONDS), (one, other)))
    assert applied(function) == ["Event 1"]
    kept = [failure["itemIdentifier"] for answer in answers for failure in answer["batchItemFailures"]]
    assert kept == [event["Records"][0]["messageId"]], "the second worker keeps it for later"


@pytest.mark.scenario(row=22)
def test_resend_during_the_first_request_is_applied_once(
    function: Function, proxy: AwsProxy, deliver_process: ExecutionEnvironment, worker: Worker
) -> None:
    """Segment sends a request again after 5 seconds, while the function may still work on the first one."""
    seconds: list[Any] = []

    def send_again(call: AwsCall, forward: Forward) -> Reply:
        reply = forward(call)
        if call.operation == "PutItem" and not seconds:
            seconds.append(None)
            seconds[0] = function.post_batch(EVENTS)
        return reply

    function.warm_up()
    proxy.rule = send_again
    assert deliver_process.invoke(request_of(EVENTS), INVOCATION_SECONDS)["statusCode"] == 200
    assert (seconds[0].status, seconds[0].body["queued"]) == (202, 1)
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert sorted(applied(function)) == ["Event 1", "Event 2", "Event 3"]
    assert stored("RETRY_QUEUE_URL") == []
