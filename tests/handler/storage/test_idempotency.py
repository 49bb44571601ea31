"""Idempotency records of track events, in DynamoDB as moto has it."""

from __future__ import annotations

import hashlib
import json
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from handler.model.deadline import Deadline
from handler.storage.idempotency import KEPT_SECONDS, Claim, ClaimState, IdempotencyStore, record_key
from local.stack.aws import LocalAws
from tests.function import aws_client_at


def new_store(aws: LocalAws, source: str = "default", now: float = 0.0, dynamodb: Any = None) -> IdempotencyStore:
    """Return the store of a source, at `now` seconds from now; no try of it waits for the next."""
    return IdempotencyStore(
        lambda: dynamodb or aws.dynamodb,
        aws.environment["DEDUPLICATION_TABLE"],
        source,
        try_seconds=1.0,
        clock=lambda: time.time() + now,
        sleep=lambda seconds: None,
    )


@pytest.fixture
def store(aws: LocalAws) -> IdempotencyStore:
    return new_store(aws)


def acquire(store: IdempotencyStore, message_id: str = "m-1", seconds: float = 60.0) -> Claim:
    return store.acquire(message_id, Deadline.after(seconds), reserve_seconds=0.3)


def record(aws: LocalAws, message_id: str = "m-1") -> Any:
    key = {"id": {"S": record_key("default", message_id)}}
    return aws.dynamodb.get_item(TableName=aws.environment["DEDUPLICATION_TABLE"], Key=key).get("Item")


def test_an_event_is_claimed_once_and_delivered_for_good_once_it_is_completed(store: IdempotencyStore) -> None:
    claim = acquire(store)
    assert claim.state is ClaimState.HELD
    assert acquire(store).state is ClaimState.HELD_BY_ANOTHER
    assert store.mark_completed(claim)
    assert acquire(store).state is ClaimState.COMPLETED
    assert acquire(store, "m-2").state is ClaimState.HELD


def test_a_released_event_may_be_claimed_again(store: IdempotencyStore) -> None:
    assert store.release(acquire(store))
    assert acquire(store).state is ClaimState.HELD


def test_a_claim_that_was_neither_completed_nor_released_runs_out(aws: LocalAws, store: IdempotencyStore) -> None:
    """Who claimed it was killed: whether the event was applied nobody knows."""
    acquire(store, seconds=60.0)
    assert acquire(new_store(aws, now=64.0)).state is ClaimState.HELD_BY_ANOTHER
    assert acquire(new_store(aws, now=66.0)).state is ClaimState.HELD


def test_a_completed_event_is_forgotten_after_15_days(aws: LocalAws, store: IdempotencyStore) -> None:
    store.mark_completed(acquire(store))
    day = 24 * 60 * 60.0
    assert acquire(new_store(aws, now=14.9 * day)).state is ClaimState.COMPLETED
    assert acquire(new_store(aws, now=15.1 * day)).state is ClaimState.HELD


def test_completing_it_twice_is_completing_it(aws: LocalAws, store: IdempotencyStore) -> None:
    """The answer to the first write was lost."""
    claim = acquire(store)
    assert store.mark_completed(claim)
    assert store.mark_completed(claim)
    assert acquire(store).state is ClaimState.COMPLETED


@pytest.mark.parametrize("late", ["release", "release twice"])
def test_a_late_release_removes_nothing_that_another_delivery_has_written_since(
    aws: LocalAws, store: IdempotencyStore, late: str
) -> None:
    claim = acquire(store, seconds=1.0)
    other = acquire(new_store(aws, now=10.0))
    assert other.state is ClaimState.HELD
    store.release(claim)
    assert record(aws)["token"] == {"S": other.token}, "the other one's claim stands"
    store.mark_completed(other)
    for _ in range(2 if late == "release twice" else 1):
        assert store.release(claim)
        assert store.release(other), "not even by the delivery that completed it"
    assert acquire(store).state is ClaimState.COMPLETED


def test_what_is_delivered_stays_delivered_though_its_claim_had_run_out(aws: LocalAws, store: IdempotencyStore) -> None:
    claim = acquire(store, seconds=1.0)
    other = acquire(new_store(aws, now=10.0))
    assert not store.mark_completed(claim), "the other one does not know"
    store.release(other)
    assert acquire(store).state is ClaimState.COMPLETED


def test_what_is_delivered_without_a_claim_is_known_afterwards(aws: LocalAws, store: IdempotencyStore) -> None:
    store.mark_completed(Claim(record_key("default", "m-1"), "token"))
    assert acquire(store).state is ClaimState.COMPLETED


def test_two_sources_have_records_of_their_own_in_one_table(aws: LocalAws, store: IdempotencyStore) -> None:
    store.mark_completed(acquire(store))
    assert acquire(new_store(aws, "shop")).state is ClaimState.HELD


def test_a_record_names_nobody_and_goes_after_15_days(aws: LocalAws, store: IdempotencyStore) -> None:
    store.mark_completed(acquire(store, "john.doe@example.com"))
    (item,) = aws.dynamodb.scan(TableName=aws.environment["DEDUPLICATION_TABLE"])["Items"]
    assert item["id"]["S"].startswith("track#")
    assert "john" not in str(item)
    assert KEPT_SECONDS == 15 * 86400
    assert int(item["expiration"]["N"]) == pytest.approx(time.time() + KEPT_SECONDS, abs=600)


def test_records_of_powertools_idempotency_count(aws: LocalAws, store: IdempotencyStore) -> None:
    """Earlier versions left its layer to write them."""
    data = json.dumps({"source": "default", "messageId": "m-1"}, sort_keys=True)
    item = {
        "id": {"S": f"track#{hashlib.md5(data.encode()).hexdigest()}"},
        "status": {"S": "COMPLETED"},
        "expiration": {"N": str(round(time.time()) + 60)},
        "data": {"S": "{}"},
    }
    aws.dynamodb.put_item(TableName=aws.environment["DEDUPLICATION_TABLE"], Item=item)
    assert acquire(store).state is ClaimState.COMPLETED


class Flaky:
    """DynamoDB whose first calls fail: before they take effect, or after."""

    def __init__(self, aws: LocalAws, error: Exception, *, failures: int, takes_effect: bool) -> None:
        self._dynamodb = aws.dynamodb
        self._error = error
        self._takes_effect = takes_effect
        self.failures = failures
        self.calls = 0

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        return partial(self._call, operation)

    def _call(self, operation: str, **arguments: Any) -> Any:
        self.calls += 1
        if self.calls > self.failures:
            return getattr(self._dynamodb, operation)(**arguments)
        if self._takes_effect:
            getattr(self._dynamodb, operation)(**arguments)
        raise self._error


def client_error(status: int, code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutItem")


PASSING = [
    ReadTimeoutError(endpoint_url="http://dynamodb"),
    ConnectionClosedError(endpoint_url="http://dynamodb"),
    client_error(500, "InternalServerError"),
    client_error(400, "ProvisionedThroughputExceededException"),
    client_error(400, "ThrottlingException"),
]


@pytest.mark.parametrize("takes_effect", [False, True], ids=["without effect", "with effect"])
@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_a_write_is_tried_again_and_one_that_had_arrived_is_taken_for_its_own(
    aws: LocalAws, error: Exception, takes_effect: bool
) -> None:
    def flaky() -> IdempotencyStore:
        return new_store(aws, dynamodb=Flaky(aws, error, failures=2, takes_effect=takes_effect))

    claim = acquire(flaky())
    assert claim.state is ClaimState.HELD
    assert flaky().mark_completed(claim)
    assert acquire(flaky()).state is ClaimState.COMPLETED
    other = acquire(flaky(), "m-2")
    assert flaky().release(other)
    assert record(aws, "m-2") is None


@pytest.mark.parametrize("code", ["AccessDeniedException", "ResourceNotFoundException", "ValidationException"])
def test_a_refusal_that_no_second_try_can_help_is_not_tried_again(aws: LocalAws, code: str) -> None:
    dynamodb = Flaky(aws, client_error(400, code), failures=100, takes_effect=False)
    store = new_store(aws, dynamodb=dynamodb)
    claim = acquire(store)
    assert claim.state is ClaimState.UNKNOWN
    assert not store.mark_completed(claim)
    assert not store.release(claim)
    assert dynamodb.calls == 3


def test_a_claim_is_tried_as_long_as_a_try_and_a_call_fit_before_the_deadline(aws: LocalAws) -> None:
    now = 0.0

    def clock() -> float:
        return now

    class Slow:
        calls = 0

        def put_item(self, **arguments: Any) -> None:
            nonlocal now
            now += 0.8
            self.calls += 1
            raise ReadTimeoutError(endpoint_url="http://dynamodb")

    slow: Any = Slow()
    store = IdempotencyStore(lambda: slow, "table", "default", try_seconds=0.8, clock=clock, sleep=lambda seconds: None)
    assert store.acquire("m-1", Deadline.after(3.0, clock), reserve_seconds=0.3).state is ClaimState.UNKNOWN
    assert slow.calls == 3, "the third one began after 1.6 s: 0.8 s for it, and 0.3 s for the call, end before 3.0 s"


def test_a_table_that_cannot_be_reached_says_nothing_and_fails_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        dynamodb = aws_client_at("dynamodb", free.getsockname()[1])
        store = IdempotencyStore(lambda: dynamodb, "table", "default", try_seconds=1.0, sleep=lambda seconds: None)
        claim = acquire(store, seconds=0.0)
        assert claim.state is ClaimState.UNKNOWN
        assert not store.mark_completed(claim)
        assert not store.release(claim)
