"""`trace`: one event's way, as far as ledger, queues and log know it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import boto3
import pytest

from cli.dead_letters import reading
from cli.target import Target
from handler.model.deadline import Deadline
from handler.storage.idempotency import IdempotencyStore
from local.stack.aws import LocalAws
from tests.cli.conftest import Run
from tests.cli.dead_letter_messages import CANARY, DEAD, RETRY, put_letter
from tests.scenarios.aws_proxy import aws_proxy, refuse
from tests.worker import hidden_seconds

GROUPS = {"DeliverLogGroupName": "/deliver", "RedeliverLogGroupName": "/redeliver"}


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WAIT_SECONDS", 0)


@pytest.fixture
def log(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A stack with logs, and how to write a line into the first; its groups are there after the first line."""
    local = Target.local(0)
    target = replace(local, name="stack", known={**local.known, **GROUPS})
    monkeypatch.setattr(Target, "local", lambda port: target)
    logs = boto3.client("logs")
    for group in GROUPS.values():
        if not logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            logs.create_log_group(logGroupName=group)
            logs.create_log_stream(logGroupName=group, logStreamName="s")

    def log(**line: Any) -> None:
        event: Any = {"timestamp": int(time.time() * 1000), "message": json.dumps(line)}
        logs.put_log_events(logGroupName="/deliver", logStreamName="s", logEvents=[event])

    return log


def claim(aws: LocalAws, source: str = "default", *, is_completed: bool = False) -> None:
    """Claim the event t-1, and deliver it."""
    store = IdempotencyStore(lambda: aws.dynamodb, aws.environment["DEDUPLICATION_TABLE"], source, try_seconds=1.0)
    claim = store.acquire("t-1", Deadline.after(10.0), reserve_seconds=0.0)
    if is_completed:
        store.mark_completed(claim)


def test_a_delivered_track_is_in_the_ledger(run: Run, aws: LocalAws) -> None:
    claim(aws, is_completed=True)
    ended = run("trace", "t-1")
    assert ended.code == 0
    assert "ledger\tCOMPLETED for source default" in ended.out
    assert "✓ Delivered at 2" in ended.out
    assert "log\tthe local system keeps no log" in ended.out

    document = run("trace", "t-1", "--json").json
    assert (document["verdict"], document["ledger"][0]["status"]) == ("delivered", "COMPLETED")
    assert run("trace", "t-1", "--source", "shop").code == 1


def test_a_claim_that_was_not_settled_is_in_progress(run: Run, aws: LocalAws) -> None:
    claim(aws)
    assert run("trace", "t-1", "--json").json["verdict"] == "in progress"


def test_an_event_in_the_retry_queue(run: Run, aws: LocalAws) -> None:
    put_letter(aws, "t-1", queue=RETRY, code="voucherify_503")
    put_letter(aws, "t-2", queue=RETRY)
    ended = run("trace", "t-1")
    assert ended.code == 0
    assert "retry queue\t1 of 2 messages read" in ended.out
    assert "because voucherify_503: Voucherify answered 400." in ended.out
    assert all(seconds <= 0 for seconds in hidden_seconds(RETRY))


def test_a_dead_letter_of_another_source_that_was_delivered_before(run: Run, aws: LocalAws) -> None:
    put_letter(aws, "t-1", source="shop")
    ended = run("trace", "t-1")
    assert (ended.code, "Dead since 2" in ended.out) == (1, True)
    assert CANARY not in ended.out + run("trace", "t-1", "--json").out
    assert run("trace", "t-1", "--json").json["verdict"] == "dead"
    assert run("trace", "t-1", "--source", "default", "--json").json["verdict"] == "never seen"
    assert len(aws.messages(DEAD)) == 1

    claim(aws, "shop", is_completed=True)
    ended = run("trace", "t-1")
    assert (ended.code, "what still lies in a queue (1) is skipped as a duplicate" in ended.out) == (0, True)


def test_what_nobody_knows_was_never_seen_as_far_as_one_can_look(run: Run, aws: LocalAws) -> None:
    put_letter(aws, "t-1", queue=RETRY)
    aws.sqs.receive_message(QueueUrl=aws.environment[RETRY], VisibilityTimeout=60)
    for number in range(12):
        put_letter(aws, f"u-{number}")
    ended = run("trace", "t-1", "--limit", "10")
    assert ended.code == 1
    assert "Never seen, or delivered at once as anything but a track" in ended.out
    assert "3 messages could not be looked at" in ended.out
    assert "dead-letter queue\t0 of 10 messages read, 2 hidden or not looked at" in ended.out


def test_the_log_says_what_was_queued_before(run: Run, log: Callable[..., None]) -> None:
    line = {"message": "event not delivered", "source": "default", "outcome": "queued", "code": "voucherify_503"}
    log(**line, message_id="t-1", reason="Voucherify answered 503", request_id="r")
    log(**line, message_id="t-2")
    ended = run("trace", "t-1")
    assert ended.code == 0
    assert "log\t2" in ended.out
    assert "it was queued because voucherify_503; since then delivered, or hidden until its next turn." in ended.out
    (logged,) = run("trace", "t-1", "--json").json["log"]["lines"]
    assert (logged["outcome"], logged["reason"]) == ("queued", "Voucherify answered 503")
    assert "became a dead letter" not in ended.out


def test_the_log_says_what_was_given_up(run: Run, log: Callable[..., None]) -> None:
    log(message="event given up", source="default", code="voucherify_503", message_id="t-9")
    assert "it became a dead letter because voucherify_503; since then dropped" in run("trace", "t-9").out


def test_where_the_log_is_refused_the_rest_is_said(
    run: Run, aws: LocalAws, log: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with aws_proxy(aws.url) as proxy:
        proxy.rule = refuse("FilterLogEvents", status=400, code="AccessDeniedException")
        target = replace(Target.local(0), endpoint_url=proxy.url)
        monkeypatch.setattr(Target, "local", lambda port: target)
        put_letter(aws, "t-1")
        ended = run("trace", "t-1")
    assert "log\tCloudWatch Logs refused: AccessDeniedException" in ended.out
    assert "Dead since" in ended.out


def test_help_has_examples(run: Run) -> None:
    assert "trace ajs-next-1766 --source shop" in run("trace", "--help").out
