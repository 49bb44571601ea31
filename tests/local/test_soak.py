"""Small soaks, the errors that their audit must find, and their SQS."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest

from cli.planning.deployment import MAX_RECEIVES
from local.soak import run
from local.soak.run import FAULTS, SoakFailed, Traffic, backlog, faulty, rate_limit, soak
from local.soak.sqs import VISIBILITY_SECONDS, Message, SqsStub
from local.stack.aws import LocalAws
from local.stack.cold import start_cold
from local.voucherify_stub.stub import Fault, RateLimit
from tests.limits import INVOCATION_SECONDS

pytestmark = pytest.mark.slow

QUICK_FAULTS = [(fault, weight) for fault, weight in FAULTS if not fault.delay]


@pytest.fixture
def soaked(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    yield aws
    start_cold()


def test_the_audit_finds_nothing_wrong_and_notices_what_is_lost_doubled_or_left(soaked: LocalAws) -> None:
    traffic = Traffic(200, customers=40, sizes=(1, 40), resent=0.5, skipped=0.05, invalid=0.05)
    ended = soak(traffic, soaked, rule=faulty(0.3, faults=QUICK_FAULTS), function_seconds=INVOCATION_SECONDS)
    audit = ended.audit
    assert audit.errors == []
    assert audit.accepted.total() == audit.accounted_for > 200
    assert all((audit.delivered, audit.dead_letters, audit.answered["skipped"], audit.duplicates, audit.ambiguous))
    assert audit.wasted == 0
    assert backlog(ended.backlog).startswith("at most ")

    delivered = next(call for call in audit.calls if call.applied and call.path == "/v1/events")
    elsewhere = [call for call in audit.calls if call.json != delivered.json]
    for wrong, error in (
        ({"calls": [*audit.calls, delivered], "without_deduplication": 0}, f"{audit.doubled + 1} doubled"),
        ({"calls": elsewhere}, "1 lost"),
        ({"dead_letters": Counter[str]()}, "accounted for"),
        ({"left": 1}, "1 left in the retry queue"),
        ({"received_too_often": 1}, "1 received too often"),
        ({"applied_events": 0}, "Voucherify has 0 events"),
        ({"skipped": frozenset[str]()}, "but 0 are of a type to skip"),
    ):
        assert error in "; ".join(dataclasses.replace(audit, **wrong).errors)


@pytest.mark.long
def test_under_a_limit_two_workers_lose_and_double_nothing(soaked: LocalAws) -> None:
    traffic = Traffic(200, customers=100, sizes=(50, 50), resent=0, skipped=0, invalid=0)
    audit = soak(traffic, soaked, limit=RateLimit(100, 1), workers=2, function_seconds=INVOCATION_SECONDS).audit
    assert audit.errors == []
    assert audit.delivered.total() == 200


def test_a_worker_that_fails_ends_the_soak(soaked: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(event: object, context: object) -> None:
        raise KeyError("no such message")

    monkeypatch.setattr(run, "redeliver", fail)
    traffic = Traffic(20, customers=20, skipped=0, invalid=0)
    with pytest.raises(
        SoakFailed, match=r"A retry worker failed with KeyError\('no such message'\); \d+ messages are left"
    ):
        soak(traffic, soaked, rule=lambda request: Fault(503), function_seconds=INVOCATION_SECONDS)


@pytest.fixture
def sqs() -> SqsStub:
    return SqsStub()


def put(sqs: SqsStub, delay: float = 0) -> Message:
    message = Message("{}", {}, sqs.clock(), sqs.clock() + delay)
    sqs.retry.add(message)
    return message


def test_a_delayed_message_is_received_once_its_time_is_skipped(sqs: SqsStub) -> None:
    message = put(sqs, delay=900)
    assert sqs.receive(10) == []
    sqs.skip_to_next_message()
    assert sqs.receive(10) == [message]
    attributes = sqs.lambda_event([message])["Records"][0]["attributes"]
    assert int(attributes["SentTimestamp"]) / 1000 == pytest.approx(sqs.clock() - sqs.clock.skipped - 900, abs=5)


def test_a_received_message_comes_back_after_its_visibility_with_a_new_receipt(sqs: SqsStub) -> None:
    message = put(sqs)
    sqs.receive(10)
    receipt = message.receipt
    assert sqs.receive(10) == []
    sqs.clock.skipped += VISIBILITY_SECONDS
    assert sqs.receive(10) == [message]
    assert not sqs.retry.hide(receipt, 60)
    assert sqs.retry.hide(message.receipt, 60)
    sqs.clock.skipped += 59
    assert sqs.receive(10) == []
    sqs.clock.skipped += 1
    assert sqs.receive(10) == [message]


def test_a_message_that_is_received_too_often_goes_to_the_dead_letter_queue(sqs: SqsStub) -> None:
    message = put(sqs)
    for _ in range(MAX_RECEIVES):
        assert sqs.receive(10) == [message]
        sqs.clock.skipped += VISIBILITY_SECONDS
    assert sqs.receive(10) == []
    assert (len(sqs.retry), sqs.dead.messages, sqs.received_too_often) == (0, [message], 1)


def test_a_backlog_has_the_longest_length_and_those_at_some_moments() -> None:
    assert backlog([]) == "always empty"
    assert backlog([(100, 0), (100.5, 1_234), (101.5, 800), (170, 0)]) == (
        "at most 1,234, 1,234 after 1 s, 800 after 10 s, 800 after 1 min"
    )


@pytest.mark.parametrize("text", ["", "100", "100/", "0/1s", "100/0s", "-1/1s", "100/1h"])
def test_an_invalid_limit_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rate_limit(text)


def test_a_limit_is_calls_and_seconds() -> None:
    assert rate_limit("100/60s") == RateLimit(100, 60)
