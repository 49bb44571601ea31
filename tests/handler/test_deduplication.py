"""The ledger of message ids, in DynamoDB as moto has it."""

from __future__ import annotations

import socket
import time

import pytest

from handler.deduplication import KEPT_SECONDS, Claim, Deduplication
from local.aws import LocalAws
from tests.handler.conftest import aws_client_at


@pytest.fixture
def ledger(aws: LocalAws) -> Deduplication:
    return Deduplication(lambda: aws.dynamodb, aws.environment["DEDUPLICATION_TABLE"], "default")


def test_an_event_is_claimed_once_and_delivered_for_good_once_it_is_kept(ledger: Deduplication) -> None:
    assert ledger.claim("m-1", 60.0) is Claim.OURS
    assert ledger.claim("m-1", 60.0) is Claim.IN_PROGRESS
    assert ledger.keep("m-1")
    assert ledger.claim("m-1", 60.0) is Claim.DELIVERED
    assert ledger.claim("m-2", 60.0) is Claim.OURS


def test_a_released_event_may_be_claimed_again(ledger: Deduplication) -> None:
    ledger.claim("m-1", 60.0)
    assert ledger.release("m-1")
    assert ledger.claim("m-1", 60.0) is Claim.OURS


def test_a_claim_that_was_neither_kept_nor_released_is_void_in_the_end(ledger: Deduplication) -> None:
    """Who claimed it was killed: whether the event was applied nobody knows."""
    assert ledger.claim("m-1", -1.0) is Claim.OURS
    assert ledger.claim("m-1", 60.0) is Claim.OURS


def test_two_sources_have_their_own_ledgers_in_one_table(aws: LocalAws, ledger: Deduplication) -> None:
    other = Deduplication(lambda: aws.dynamodb, aws.environment["DEDUPLICATION_TABLE"], "shop")
    ledger.claim("m-1", 60.0)
    ledger.keep("m-1")
    assert other.claim("m-1", 60.0) is Claim.OURS


def test_what_is_stored_names_nobody_and_goes_after_15_days(aws: LocalAws, ledger: Deduplication) -> None:
    ledger.claim("john.doe@example.com", 60.0)
    ledger.keep("john.doe@example.com")
    (item,) = aws.dynamodb.scan(TableName=aws.environment["DEDUPLICATION_TABLE"])["Items"]
    assert item["id"]["S"].startswith("track#")
    assert "john" not in str(item)
    assert KEPT_SECONDS == 15 * 86400
    assert int(item["expiration"]["N"]) == pytest.approx(time.time() + KEPT_SECONDS, abs=60)


def test_a_table_that_cannot_be_reached_guards_nothing_and_fails_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        dynamodb = aws_client_at("dynamodb", free.getsockname()[1])
        ledger = Deduplication(lambda: dynamodb, "table", "default")
        assert ledger.claim("m-1", 60.0) is Claim.UNGUARDED
        assert not ledger.keep("m-1")
        assert not ledger.release("m-1")


def test_a_table_that_is_not_there_guards_nothing(aws: LocalAws) -> None:
    ledger = Deduplication(lambda: aws.dynamodb, "no-such-table", "default")
    assert ledger.claim("m-1", 60.0) is Claim.UNGUARDED
