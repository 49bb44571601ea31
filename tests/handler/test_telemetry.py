"""What the function says of itself: its metrics and its lines of log, as an operator finds them."""

from __future__ import annotations

from typing import Any

import pytest

from local.poller import poll_once
from local.voucherify import Fault
from tests.handler.conftest import Function


def metrics_of(function: Function) -> list[dict[str, Any]]:
    """What each line counted since the last look, by name, with its dimensions beside service and source."""
    found = [{name: value for name, value in line.items() if name != "source"} for line in function.logs.metrics]
    assert {line["source"] for line in function.logs.metrics} <= {"default"}
    function.logs.metrics.clear()
    return found


def identify(number: int, user: str | None = "u-1") -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{number}", "userId": user, "traits": {}}


def test_a_request_counts_its_events_by_fate_and_says_how_long_voucherify_took(function: Function) -> None:
    function.put(trackDisabled="true")
    function.voucherify.next(None, Fault(503))
    function.post_batch([identify(1), identify(2), identify(3, user=None), {"type": "track", "userId": "u-1"}])
    *reasons, counts = metrics_of(function)
    latency = counts.pop("VoucherifyLatency")
    assert counts == {"Received": 4, "Delivered": 1, "Queued": 1, "Rejected": 1, "Skipped": 1}
    assert len(latency) == 2
    assert all(0 < milliseconds < 60_000 for milliseconds in latency)
    assert reasons == [
        {"code": "voucherify_503", "NotDelivered": 1},
        {"code": "customer_id_missing", "NotDelivered": 1},
    ]


def test_the_worker_counts_too_with_the_age_of_what_had_waited_and_what_it_gave_up(function: Function) -> None:
    function.voucherify.next(Fault(503), Fault(400))
    function.post(identify(1))
    function.logs.metrics.clear()
    assert poll_once(function.aws) == 1
    reason, counts, dead = metrics_of(function)
    assert counts.keys() == {"Rejected", "VoucherifyLatency", "RetryAge"}
    assert 0 <= counts["RetryAge"][0] < 60
    assert reason == {"code": "voucherify_400", "NotDelivered": 1}
    assert dead == {"code": "voucherify_400", "Dead": 1}


def test_who_is_refused_is_counted_by_cause(function: Function) -> None:
    function.post(identify(1), headers={})
    function.post(identify(1), headers={"X-Signature": "0" * 40})
    function.post(b"{")
    assert metrics_of(function) == [
        {"cause": "missing_signature", "Refused": 1},
        {"cause": "wrong_signature", "Refused": 1},
        {"cause": "not_json", "Refused": 1},
    ]


def test_settings_that_cannot_be_used_are_counted(function: Function) -> None:
    function.aws.delete_settings()
    function.post(identify(1))
    assert metrics_of(function) == [{"SettingsUnusable": 1}, {"cause": "faulty_settings", "Refused": 1}]


def test_more_events_than_one_metric_holds_are_counted_all_the_same(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "60")
    function.post_batch([identify(number, f"u-{number}") for number in range(250)], seconds=120)
    metrics = metrics_of(function)
    assert [line.get("Delivered") for line in metrics] == [250, None, None]
    assert [len(line["VoucherifyLatency"]) for line in metrics] == [100, 100, 50]


def test_a_request_has_one_line_and_each_event_that_was_not_delivered_has_one(function: Function) -> None:
    function.voucherify.next(None, Fault(503))
    function.post_batch([identify(1), identify(2), identify(3, user=None)])
    volatile = {"timestamp", "request_id", "duration_ms", "service"}
    lines = [{name: value for name, value in line.items() if name not in volatile} for line in function.logs]
    assert lines == [
        {
            "level": "WARNING",
            "message": "event not delivered",
            "source": "default",
            "outcome": "queued",
            "stage": "deliver",
            "code": "voucherify_503",
            "reason": "Voucherify answered 503 service_unavailable",
            "message_id": "i-2",
            "index": 1,
        },
        {
            "level": "WARNING",
            "message": "event not delivered",
            "source": "default",
            "outcome": "rejected",
            "stage": "map",
            "code": "customer_id_missing",
            "reason": "userId and anonymousId are missing: whose event is it?",
            "message_id": "i-3",
            "index": 2,
        },
        {
            "level": "INFO",
            "message": "request",
            "source": "default",
            "status": 202,
            "matched": {"sharedSecret": "current"},
            "events": 3,
            "delivered": 1,
            "queued": 1,
            "rejected": 1,
        },
    ]
    assert len({line["request_id"] for line in function.logs}) == 1


def test_a_line_leads_to_the_trace_of_its_own_invocation(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    function.voucherify.next(Fault(503))
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Sampled=1")
    function.post(identify(1))
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-67891233-abcdef012345678912345678")
    assert poll_once(function.aws) == 1
    monkeypatch.delenv("_X_AMZN_TRACE_ID")
    function.post(identify(2))
    assert [(line["message"], line.get("xray_trace_id")) for line in function.logs] == [
        ("event not delivered", "1-5759e988-bd862e3fe1be46a994272793"),
        ("request", "1-5759e988-bd862e3fe1be46a994272793"),
        ("redelivered", "1-67891233-abcdef012345678912345678"),
        ("batch", "1-67891233-abcdef012345678912345678"),
        ("request", None),
    ]
