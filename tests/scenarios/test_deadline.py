"""The function answers in time although a peer holds its own answer until then."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from local.stack.http_server import Reply
from local.voucherify_stub.stub import Fault
from tests.function import Function
from tests.raw_server import Dribbling
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward
from tests.worker import Worker, put, stored

pytestmark = pytest.mark.scenario(row=33)

IDENTIFY: dict[str, Any] = {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"name": "Ada"}}
TRACK: dict[str, Any] = {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "Event 1"}


@pytest.fixture(autouse=True)
def short_budget(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "1.5")


@pytest.fixture
def hold() -> Iterator[Callable[[], None]]:
    """Return a call that blocks until the test has ended. A function that waits for it fails the test."""
    released = threading.Event()

    def wait() -> None:
        released.wait(60)

    yield wait
    released.set()


def codes() -> set[str]:
    return {record["failure"]["code"] for record in stored("RETRY_QUEUE_URL")}


def held_by_aws(proxy: AwsProxy, operation: str, hold: Callable[[], None]) -> None:
    """Let AWS answer no call of this operation."""

    def rule(call: AwsCall, forward: Forward) -> Reply:
        if call.operation == operation:
            hold()
        return forward(call)

    proxy.rule = rule


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\nX-A: ", b"HTTP/1.1 ", b"HTTP/1.1 100 Continue\r\nX-A: "],
    ids=["header", "status", "interim"],
)
def test_dribbling_header_does_not_delay_the_answer(function: Function, head: bytes) -> None:
    with closing(Dribbling(head, b"x")) as server:
        function.put(apiUrl=server.url)
        answer = function.post_batch([IDENTIFY, {**TRACK, "userId": "u-2"}])
        assert (answer.status, answer.body["queued"]) == (202, 2)
    assert codes() <= {"voucherify_timeout", "out_of_time"}


def test_dribbling_body_counts_by_its_status(function: Function) -> None:
    with closing(Dribbling(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b"x")) as server:
        function.put(apiUrl=server.url)
        assert function.post(IDENTIFY).status in {200, 202}
    assert codes() <= {"out_of_time"}


def test_slow_resolver_delays_no_answer_and_sends_nothing_late(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve, released, done = socket.getaddrinfo, threading.Event(), threading.Event()

    def slow(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "localhost":
            return resolve(host, *args, **kwargs)
        assert released.wait(60)
        try:
            return resolve("127.0.0.1", *args, **kwargs)
        finally:
            done.set()

    function.put(apiUrl=function.voucherify.url.replace("127.0.0.1", "localhost"))
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    answer = function.post(IDENTIFY)
    assert (answer.status, answer.body["queued"]) == (202, 1)
    assert codes() <= {"voucherify_unreachable", "out_of_time"}
    released.set()
    assert done.wait(60) or codes() == {"out_of_time"}
    function.put(apiUrl=function.voucherify.url)
    assert function.post({**IDENTIFY, "messageId": "i-2"}).status in {200, 202}
    assert [call.json["source_id"] for call in function.voucherify.calls] in ([], ["u-1"]), "at most the second one"


def test_silent_addresses_do_not_delay_the_answer(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    with ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(4):  # its backlog is full: the next connection is not answered
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())

        def many(host: Any, *args: Any, **kwargs: Any) -> Any:
            if host != "localhost":
                return resolve(host, *args, **kwargs)
            return 8 * [(socket.AF_INET, socket.SOCK_STREAM, 6, "", silent.getsockname())]

        function.put(apiUrl=f"http://localhost:{silent.getsockname()[1]}")
        monkeypatch.setattr(socket, "getaddrinfo", many)
        answer = function.post(IDENTIFY)
    assert (answer.status, answer.body["queued"]) == (202, 1)
    assert codes() <= {"voucherify_unreachable", "out_of_time"}


def test_slow_sqs_gives_503_in_time(function: Function, proxy: AwsProxy, hold: Callable[[], None]) -> None:
    held_by_aws(proxy, "SendMessageBatch", hold)
    function.voucherify.rule = lambda request: Fault(503)
    answer = function.post_batch([{**IDENTIFY, "userId": f"u-{number}"} for number in range(200)])
    assert (answer.status, answer.body["queued"]) == (503, 0)


def test_slow_ssm_gives_503_only_without_settings(
    function: Function, proxy: AwsProxy, hold: Callable[[], None]
) -> None:
    """With settings from an earlier read it delivers."""
    held_by_aws(proxy, "GetParametersByPath", hold)
    assert function.post(IDENTIFY).status == 503
    proxy.rule = None
    assert function.post(IDENTIFY).status in {200, 202}
    held_by_aws(proxy, "GetParametersByPath", hold)
    assert function.post(IDENTIFY).status in {200, 202}


def test_slow_dynamodb_before_a_call_queues_the_track(
    function: Function, proxy: AwsProxy, hold: Callable[[], None]
) -> None:
    held_by_aws(proxy, "PutItem", hold)
    answer = function.post(TRACK)
    assert (answer.status, answer.body["queued"]) == (202, 1)
    assert codes() <= {"deliveries_unknown", "out_of_time"}
    assert function.voucherify.calls == []


@pytest.mark.unguarded
def test_slow_dynamodb_after_a_call_is_counted_as_unguarded(
    function: Function, proxy: AwsProxy, hold: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "4")
    function.warm_up()
    held_by_aws(proxy, "UpdateItem", hold)
    answer = function.post(TRACK)
    assert (answer.status, answer.body["delivered"]) == (200, 1)


@pytest.mark.scenario(row=21)
@pytest.mark.parametrize("seconds", [pytest.param(0.0, marks=pytest.mark.long), 0.3, 1.5])
def test_little_time_left_still_gives_an_answer(
    function: Function, proxy: AwsProxy, hold: Callable[[], None], seconds: float
) -> None:
    function.warm_up()
    held_by_aws(proxy, "SendMessageBatch", hold)
    function.voucherify.rule = lambda request: Fault(503)
    answer = function.post(IDENTIFY, seconds=seconds)
    assert answer.status == 503


@pytest.mark.parametrize(
    "operation",
    [pytest.param("GetParametersByPath", marks=pytest.mark.long), "PutItem", "ChangeMessageVisibilityBatch"],
)
def test_worker_ends_before_its_timeout_and_keeps_the_message(
    function: Function, proxy: AwsProxy, worker: Worker, hold: Callable[[], None], operation: str
) -> None:
    put(function, TRACK)
    function.voucherify.rule = lambda request: Fault(503)
    held_by_aws(proxy, operation, hold)
    assert len(worker.run(seconds=3.0).kept) == 1


def test_worker_keeps_a_message_that_the_dead_letter_queue_takes_too_late(
    function: Function, proxy: AwsProxy, worker: Worker, hold: Callable[[], None]
) -> None:
    put(function, TRACK)
    function.voucherify.rule = lambda request: Fault(400)
    held_by_aws(proxy, "SendMessageBatch", hold)
    assert len(worker.run(seconds=3.0).kept) == 1
