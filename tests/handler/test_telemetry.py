"""What the function says of itself: its metrics and its lines of log, as an operator finds them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local.poller import poll_once
from local.voucherify import Fault
from tests.handler.conftest import Function


def printed_metrics(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The metrics that were printed, by name, with their dimensions, without what names the format."""
    found = []
    for line in capsys.readouterr().out.splitlines():
        blob = json.loads(line)
        if "_aws" in blob:
            (directive,) = blob.pop("_aws")["CloudWatchMetrics"]
            assert directive["Namespace"] == "VoucherifyDestination"
            assert blob.pop("service") == "voucherify-destination"
            assert blob.pop("source") == "default"
            assert {"service", "source"} <= set(directive["Dimensions"][0])
            found.append(blob)
    return found


def identify(number: int, user: str | None = "u-1") -> dict[str, Any]:
    return {"type": "identify", "messageId": f"i-{number}", "userId": user, "traits": {}}


def test_a_request_counts_its_events_by_fate_and_says_how_long_voucherify_took(
    function: Function, capsys: pytest.CaptureFixture[str]
) -> None:
    function.put(trackDisabled="true")
    function.voucherify.next(None, Fault(503))
    function.post_batch([identify(1), identify(2), identify(3, user=None), {"type": "track", "userId": "u-1"}])
    counts, *reasons = printed_metrics(capsys)
    latency = counts.pop("VoucherifyLatency")
    assert counts == {"Received": [4.0], "Delivered": [1.0], "Queued": [1.0], "Rejected": [1.0], "Skipped": [1.0]}
    assert len(latency) == 2
    assert all(0 < milliseconds < 60_000 for milliseconds in latency)
    assert reasons == [
        {"code": "voucherify_503", "NotDelivered": [1.0]},
        {"code": "customer_id_missing", "NotDelivered": [1.0]},
    ]


def test_the_worker_counts_too_with_the_age_of_what_had_waited_and_what_it_gave_up(
    function: Function, capsys: pytest.CaptureFixture[str]
) -> None:
    function.voucherify.next(Fault(503), Fault(400))
    function.post(identify(1))
    capsys.readouterr()
    assert poll_once(function.aws) == 1
    counts, *reasons = printed_metrics(capsys)
    assert counts.keys() == {"Rejected", "VoucherifyLatency", "RetryAge"}
    assert 0 <= counts["RetryAge"][0] < 60
    assert reasons == [{"code": "voucherify_400", "NotDelivered": [1.0]}, {"code": "voucherify_400", "Dead": [1.0]}]


def test_who_is_refused_is_counted_by_cause(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    function.post(identify(1), headers={})
    function.post(identify(1), headers={"X-Signature": "0" * 40})
    function.post(b"{")
    assert printed_metrics(capsys) == [
        {"cause": "missing_signature", "Refused": [1.0]},
        {"cause": "wrong_signature", "Refused": [1.0]},
        {"cause": "not_json", "Refused": [1.0]},
    ]


def test_settings_that_cannot_be_used_are_counted(function: Function, capsys: pytest.CaptureFixture[str]) -> None:
    function.aws.delete_settings()
    function.post(identify(1))
    assert printed_metrics(capsys) == [{"SettingsUnusable": [1.0]}, {"cause": "faulty_settings", "Refused": [1.0]}]


def test_more_events_than_one_metric_holds_are_counted_all_the_same(
    function: Function, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "60")
    function.post_batch([identify(number, f"u-{number}") for number in range(250)], seconds=120)
    metrics = printed_metrics(capsys)
    assert sum(sum(blob.get("Delivered", [])) for blob in metrics) == 250
    assert sum(len(blob.get("VoucherifyLatency", [])) for blob in metrics) == 250


def test_a_request_has_one_line_and_each_event_that_was_not_delivered_has_one(function: Function) -> None:
    function.voucherify.next(None, Fault(503))
    function.post_batch([identify(1), identify(2), identify(3, user=None)])
    volatile = {"timestamp", "location", "request_id", "duration_ms", "service"}
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
