"""Answers of Voucherify, and none, over the whole path."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from local.stack.cold import start_cold
from local.voucherify_stub.stub import Fault, RateLimit, VoucherifyStub
from tests.function import Function
from tests.worker import Worker, hidden_seconds, stored

MINUTE, HOUR = 60.0, 60 * 60.0


def track(number: int, customer: str = "u-1") -> dict[str, Any]:
    return {"type": "track", "messageId": f"t-{number}", "userId": customer, "event": f"Event {number}"}


def identify(number: int, customer: str, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{number}", "userId": customer, "traits": traits}


@pytest.mark.scenario(row=11)
def test_rate_limit_refuses_only_calls_under_way(function: Function) -> None:
    under_way = 16  # VOUCHERIFY_CONCURRENCY
    function.voucherify.rule = lambda request: (
        Fault(429, headers={"Retry-After": "600"}) if request.number > 50 else None
    )
    answer = function.post_batch([identify(number, f"u-{number}") for number in range(300)])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 50, 250)
    assert len(function.voucherify.calls) <= 50 + under_way
    assert len(stored("RETRY_QUEUE_URL")) == 250
    assert min(hidden_seconds("RETRY_QUEUE_URL")) > 300
    assert max(hidden_seconds("RETRY_QUEUE_URL")) > 630, "spread over the windows to come"


@pytest.mark.scenario(row=12)
@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "600"}, 300, 605),
        ({"X-Rate-Limit-Retry": "in 800"}, 400, 805),
        ({"Retry-After": "600", "X-Rate-Limit-Retry": "in 800"}, 300, 805),
        ({}, 0, 90),
        ({"Retry-After": "soon", "X-Rate-Limit-Retry": "never"}, 0, 90),
        ({"Retry-After": "-1"}, 0, 90),
        ({"X-Rate-Limit-Retry": "in -40"}, 0, 90),
        ({"Retry-After": "999999999"}, 60, 15 * MINUTE),
    ],
    ids=str,
)
def test_wait_after_429_is_sane(function: Function, headers: dict[str, str], least: float, most: float) -> None:
    """`in 800`: 800 seconds from now, as the epoch has it."""
    moments = {
        name: str(round(time.time()) + int(value.removeprefix("in "))) if value.startswith("in ") else value
        for name, value in headers.items()
    }
    function.voucherify.next(Fault(429, headers=moments))
    assert function.post(track(1)).status == 202
    (wait,) = hidden_seconds("RETRY_QUEUE_URL")
    assert least <= wait <= most
    (record,) = function.aws.messages("RETRY_QUEUE_URL") or stored("RETRY_QUEUE_URL")
    assert record.get("attempts", 0) == 0, "waiting costs no attempt"


@pytest.mark.scenario(row=13)
@pytest.mark.parametrize(
    "fault", [Fault(402), Fault(429, headers={"X-Rate-Limit-Type": "api_calls_cycle"})], ids=["402", "api_calls_cycle"]
)
def test_used_up_plan_costs_no_attempt_and_waits_for_hours(function: Function, worker: Worker, fault: Fault) -> None:
    function.voucherify.next(fault)
    assert function.post(track(1)).status == 202
    assert [record["attempts"] for record in stored("RETRY_QUEUE_URL")] == [0]
    assert {"source": "default", "code": "plan_used_up", "NotDelivered": 1} in function.logs.metrics
    worker.time_passes(15 * MINUTE)
    assert len(worker.run().kept) == 1
    (wait,) = hidden_seconds("RETRY_QUEUE_URL")
    assert HOUR < wait < 12 * HOUR
    worker.start_cold()
    worker.time_passes(12 * HOUR)
    assert worker.run().kept == []
    assert len(function.voucherify.events) == 1


@pytest.mark.scenario(row=16)
def test_unreachable_voucherify_queues_everything(function: Function) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        function.put(apiUrl=f"http://127.0.0.1:{free.getsockname()[1]}")
        answer = function.post_batch([track(1), identify(1, "u-2")])
    assert (answer.status, answer.body["queued"]) == (202, 2)
    assert [record["failure"]["code"] for record in stored("RETRY_QUEUE_URL")] == ["voucherify_unreachable"] * 2
    assert "may have been applied" not in str(stored("RETRY_QUEUE_URL"))


@pytest.mark.scenario(row=18)
def test_frozen_connections_lose_and_repeat_nothing(function: Function) -> None:
    for round_ in range(3):
        answer = function.post_batch([track(round_), identify(round_, "u-1"), track(10 + round_, "u-2")])
        assert (answer.status, answer.body["delivered"]) == (200, 3)
        function.voucherify.close_connections()
    assert len(function.voucherify.events) == 6
    assert len(function.voucherify.calls) == 9


@pytest.mark.scenario(row=14)
def test_refused_credentials_dead_letter_nothing(function: Function, worker: Worker) -> None:
    function.put(apiToken="wrong")
    answer = function.post_batch([track(number, f"u-{number}") for number in range(30)])
    assert (answer.status, answer.body["queued"], answer.body["rejected"]) == (202, 30, 0)
    worker.run()
    assert len(stored("RETRY_QUEUE_URL")) == 30
    function.put(apiToken=function.system.settings["apiToken"])
    worker.time_passes(2 * HOUR)
    while worker.run().records:
        pass
    assert len(function.voucherify.events) == 30
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []


@pytest.mark.scenario(row=20)
def test_older_identify_does_not_overwrite_a_newer_one(function: Function, worker: Worker) -> None:
    function.voucherify.next(Fault(503))
    assert function.post(identify(1, "u-1", email="old@example.com", name="Ada")).status == 202
    assert function.post(identify(2, "u-1", email="new@example.com")).status == 200
    worker.run()
    customer = function.voucherify.customers["u-1"]
    assert (customer["email"], customer["name"]) == ("new@example.com", "Ada")


@pytest.mark.scenario(row=30)
@pytest.mark.scenario(row=40)
def test_environments_behind_one_limit_waste_no_calls(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make soak` shows that the queue drains at the rate of the plan."""
    environments, calls, events = 6, 50, 20
    share = calls * 80 // 100
    system = function.system.settings
    limit = RateLimit(calls, HOUR)
    monkeypatch.setattr(
        "handler.delivery.rate_limiter.PROBE_SECONDS", HOUR
    )  # an answer that is slow to come is no reason to ask again
    with VoucherifyStub(api_key=system["apiKey"], api_token=system["apiToken"], limit=limit) as voucherify:
        function.put(apiUrl=voucherify.url)
        answers = []
        for environment in range(environments):
            start_cold()
            batch = [identify(number, f"u-{environment}-{number}") for number in range(events)]
            answers += [function.post_batch(batch), function.post_batch(batch)]
        assert {answer.status for answer in answers} <= {200, 202}
        assert sum(answer.body["delivered"] for answer in answers) == share, "no other asks what is left"
        assert [call.status for call in voucherify.calls] == [200] * share
    assert len(stored("RETRY_QUEUE_URL")) == environments * 2 * events - share


@pytest.mark.scenario(row=30)
def test_events_beyond_the_calls_of_a_day_wait_for_the_next(function: Function, worker: Worker) -> None:
    function.put(callsPerDay="3")
    batch = [identify(number, f"u-{number}") for number in range(5)]
    answer = function.post_batch(batch)
    assert (answer.body["delivered"], answer.body["queued"]) == (3, 2)
    assert {"source": "default", "code": "calls_per_day_used_up", "NotDelivered": 2} in function.logs.metrics
    assert [line["level"] for line in function.logs if line["message"] == "event not delivered"] == ["ERROR", "ERROR"]
    worker.start_cold()
    worker.time_passes(15 * MINUTE)
    assert len(worker.run().kept) == 2
    assert len(function.sent) == 3
    function.put(callsPerDay="5")
    worker.start_cold()
    worker.time_passes_until_one_is_visible()
    while worker.run().records:
        worker.time_passes_until_one_is_visible()
    assert len(function.sent) == 5
    assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []
