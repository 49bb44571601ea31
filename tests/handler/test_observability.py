"""What the function says of itself: its metrics and its lines of log, as an operator finds them."""

from __future__ import annotations

import io
import itertools
import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from typing import Any

import pytest

from handler.model.batch_summary import MAX_MESSAGE_IDS, BatchSummary
from handler.model.errors import SettingsUnavailable
from handler.model.failure import Failure
from handler.model.failure_record import FailureRecord, RecordedFailure
from handler.model.job import DeliveryStatus, Outcome
from handler.observability import Telemetry
from local.stack.poller import poll_once
from local.voucherify_stub.stub import Fault
from tests.function import Function, Log


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


@pytest.mark.scenario(row=2)
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
    assert [line.get("Received") for line in metrics] == [250, None, None]
    assert [line.get("Delivered") for line in metrics] == [250, None, None]
    assert [len(line["VoucherifyLatency"]) for line in metrics] == [100, 100, 50]


def test_events_that_are_not_delivered_are_one_metric_a_code(function: Function) -> None:
    function.voucherify.next(Fault(400), Fault(400))
    function.post_batch([identify(1), identify(2, "u-2"), identify(3, user=None), identify(4, user=None)])
    *reasons, counts = metrics_of(function)
    assert reasons == [
        {"code": "voucherify_400", "NotDelivered": 2},
        {"code": "customer_id_missing", "NotDelivered": 2},
    ]
    assert counts["Rejected"] == 4


def test_a_line_lists_a_limited_number_of_message_ids() -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    delivered = [
        Outcome({"messageId": f"d-{number}"}, DeliveryStatus.DELIVERED, at) for number in range(MAX_MESSAGE_IDS)
    ]
    skipped = Outcome({"message_id": " s-1 "}, DeliveryStatus.SKIPPED, at, skip_reason="opted_out")
    without_id = Outcome({}, DeliveryStatus.DELIVERED, at)
    assert BatchSummary([skipped, without_id]).message_ids == {"opted_out": ["s-1"]}
    assert BatchSummary([*delivered, skipped]).message_ids.keys() == {"delivered"}


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
            "reason": "no userId or anonymousId: send one of them, or map a field to customer.source_id",
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
            "message_ids": {"delivered": ["i-1"]},
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


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry("voucherify-destination", "INFO", "VoucherifyDestination")


def delivered(count: int) -> BatchSummary:
    """So many events, of which each call took a millisecond more than the one before."""
    at = datetime(2026, 12, 2, tzinfo=UTC)
    return BatchSummary([Outcome({}, DeliveryStatus.DELIVERED, at, seconds=number / 1000) for number in range(count)])


@pytest.mark.parametrize("count", [1, 99, 100, 101, 200, 250])
def test_whatever_their_number_no_value_is_lost_or_doubled_and_all_have_their_source(
    telemetry: Telemetry, logs: Log, count: int
) -> None:
    telemetry.redelivered(delivered(count), "shop", [float(number) for number in range(count)])
    metrics = logs.read().metrics
    assert {line["source"] for line in metrics} == {"shop"}
    assert [line["Delivered"] for line in metrics if "Delivered" in line] == [count]
    for name in ("VoucherifyLatency", "RetryAge"):
        assert [value for line in metrics for value in line.get(name, [])] == list(range(count))
        assert all(len(line.get(name, [])) <= 100 for line in metrics)


def test_what_a_dead_letter_of_no_source_is_counted_by(telemetry: Telemetry, logs: Log) -> None:
    """A dimension must have a value."""
    failure = Failure("deliver", "voucherify_503", "Voucherify answered 503")
    telemetry.dead_lettered([FailureRecord({}, "", 1, datetime(2026, 12, 2, tzinfo=UTC), RecordedFailure.of(failure))])
    assert logs.read().metrics == [{"source": "unknown", "code": "voucherify_503", "Dead": 1}]


def test_a_line_has_level_message_time_service_request_source_and_its_own_facts(
    telemetry: Telemetry, logs: Log
) -> None:
    telemetry.begin("r-1")
    before = datetime.now(UTC)
    telemetry.unknown_settings(["apiKay"], "shop")
    (line,) = logs.read()
    timestamp = datetime.fromisoformat(line["timestamp"])
    assert timestamp.isoformat(timespec="milliseconds") == line.pop("timestamp")
    assert timestamp.utcoffset() == before.utcoffset()
    assert 0 <= (timestamp - before).total_seconds() + 0.001 < 60
    assert line == {
        "level": "WARNING",
        "message": "parameters that are no settings",
        "service": "voucherify-destination",
        "request_id": "r-1",
        "source": "shop",
        "names": ["apiKay"],
    }


def test_a_later_request_has_nothing_of_an_earlier_one(telemetry: Telemetry, logs: Log) -> None:
    telemetry.begin("r-1")
    telemetry.unknown_settings(["apiKay"], "shop")
    telemetry.begin("")
    telemetry.batch(1, 0)
    assert not logs.read()[-1].keys() & {"request_id", "source", "names"}


def test_what_is_below_the_level_is_not_written_and_metrics_are(logs: Log) -> None:
    telemetry = Telemetry("voucherify-destination", "WARNING", "VoucherifyDestination")
    telemetry.batch(1, 0)
    telemetry.unknown_settings(["apiKay"], "shop")
    telemetry.redelivered(delivered(1), "shop", [])
    assert [line["level"] for line in logs.read()] == ["WARNING"]
    assert logs.metrics == [{"source": "shop", "Delivered": 1, "VoucherifyLatency": [0.0]}]


def test_lambdas_own_log_level_goes_over_that_of_powertools(logs: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html"""
    monkeypatch.setenv("AWS_LAMBDA_LOG_LEVEL", "INFO")
    Telemetry("voucherify-destination", "WARNING", "n").batch(1, 0)
    assert [line["message"] for line in logs.read()] == ["batch"]


def test_requests_are_sampled_anew(logs: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_LOGGER_SAMPLE_RATE", "1")
    telemetry = Telemetry("voucherify-destination", "ERROR", "n")
    telemetry.begin("r-1")
    telemetry.batch(1, 0)
    assert [line["message"] for line in logs.read()] == ["batch"]


def test_any_text_is_one_line_of_ascii(telemetry: Telemetry, logs: Log) -> None:
    """Half of a surrogate pair, as cut text has it, cannot be written as UTF-8."""
    text = "\ud83e Zoë\n\x00\u2028🦊"
    telemetry.unknown_settings([text], "shop")
    (line,) = logs.read()
    assert line["names"] == [text]
    assert logs.text.isascii()
    assert logs.text.count("\n") == 1


@pytest.fixture
def lambdas_own_handler() -> Iterator[None]:
    """Lambda's runtime writes what reaches the root logger."""
    own = logging.StreamHandler(sys.stdout)
    level = logging.root.level
    logging.root.addHandler(own)
    logging.root.setLevel(logging.INFO)
    yield
    logging.root.removeHandler(own)
    logging.root.setLevel(level)


@pytest.mark.usefixtures("lambdas_own_handler")
def test_a_line_is_written_once_and_botocores_are_not(
    function: Function, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "a-stack-that-has-no-logger-yet")
    function.post(identify(1))
    logging.getLogger("botocore.credentials").info("Found credentials in environment variables.")
    messages = [json.loads(line).get("message", "metrics") for line in capsys.readouterr().out.splitlines()]
    assert messages == ["request", "metrics"]


class Pieces(io.StringIO):
    """Notes which thread writes what."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[tuple[int, str]] = []

    def write(self, text: str) -> int:
        self.pieces.append((threading.get_ident(), text))
        return len(text)


def test_threads_do_not_mix_their_lines(telemetry: Telemetry) -> None:
    error = SettingsUnavailable("SSM is down")

    def say(source: str) -> None:
        for _ in range(50):
            telemetry.settings_unusable(error, source)

    threads = [threading.Thread(target=say, args=(source,)) for source in ("a", "b", "c", "d")]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    with redirect_stdout(Pieces()) as written:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.setswitchinterval(interval)
    lines = "".join(text for _, text in written.pieces).splitlines()
    assert len(lines) == 2 * 50 * len(threads)
    assert {json.loads(line)["source"] for line in lines} == {"a", "b", "c", "d"}
    for (writer, text), following in itertools.pairwise(written.pieces):
        assert text.endswith("\n") or following == (writer, "\n")
