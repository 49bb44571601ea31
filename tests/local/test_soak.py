"""Small soaks, and that the books would not balance if an event were lost or doubled."""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest

from local.soak.chart import chart
from local.soak.run import FAULTS, Soak, Wave, faulty, rate_limit, soak
from local.soak.sqs import MAX_RECEIVES, VISIBILITY_SECONDS, Message, SqsStub
from local.stack.aws import LocalAws
from local.stack.cold import start_cold
from local.voucherify_stub.stub import RateLimit
from tests.limits import INVOCATION_SECONDS

QUICK_FAULTS = [(fault, weight) for fault, weight in FAULTS if not fault.delay]


@pytest.fixture
def soaked(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    yield aws
    start_cold()


@pytest.fixture
def ended(soaked: LocalAws) -> Soak:
    wave = Wave(200, customers=40, sizes=(1, 40), resent=0.5, skipped=0.05, invalid=0.05)
    return soak(wave, soaked, rule=faulty(0.3, faults=QUICK_FAULTS), intake_seconds=INVOCATION_SECONDS)


def test_the_books_of_a_soak_balance_and_notice_what_is_lost_doubled_or_left(ended: Soak) -> None:
    books = ended.books
    assert books.errors == []
    assert books.accepted.events.total() == books.accounted_for > 200
    assert all((books.delivered, books.dead, books.skips, books.duplicates, books.ambiguous)), "all of it happens"
    assert books.wasted == 0
    assert chart(ended.backlog, logarithmic=True)

    delivered = next(call for call in books.calls if call.applied and call.path == "/v1/events")
    elsewhere = [call for call in books.calls if call.json != delivered.json]
    for wrong, error in (
        ({"calls": [*books.calls, delivered]}, "1 doubled"),
        ({"calls": elsewhere}, "1 lost"),
        ({"dead": Counter[str]()}, "accounted for"),
        ({"left": 1}, "1 left in the retry queue"),
        ({"redriven": 1}, "1 given up by SQS"),
    ):
        assert error in "; ".join(dataclasses.replace(books, **wrong).errors)


def test_under_a_limit_two_workers_balance_their_books_too(soaked: LocalAws) -> None:
    wave = Wave(200, customers=100, sizes=(50, 50), resent=0, skipped=0, invalid=0)
    books = soak(wave, soaked, limit=RateLimit(100, 1), workers=2, intake_seconds=INVOCATION_SECONDS).books
    assert books.errors == []
    assert books.delivered.total() == 200


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
    assert (len(sqs.retry), sqs.dead.messages, sqs.redriven) == (0, [message], 1)


def test_a_chart_shows_the_longest_of_each_moment() -> None:
    assert chart([]) == []
    lines = chart([(0, 0), (0.5, 8), (2.1, 4), (3.9, 0), (4, 0)], width=4, height=1)
    assert lines[0] == "8 ┤███▄"
    assert chart([(0, 1_234), (40_000, 0)])[0].startswith("1,234 ┤█")


@pytest.mark.parametrize("text", ["", "100", "100/", "0/1s", "100/0s", "-1/1s", "100/1h"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        rate_limit(text)


def test_a_limit_is_calls_and_seconds() -> None:
    assert rate_limit("100/60s") == RateLimit(100, 60)
