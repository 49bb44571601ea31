"""`trace`: what the idempotency record, the queues and the log say about one event."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cli.target import Target
from handler.model.deadline import Deadline
from handler.storage.idempotency import IdempotencyStore
from local.stack.aws import LocalAws
from local.stack.http_server import Reply
from tests.cli.conftest import DEAD, PERSON, RETRY, Run, put_message, use_target
from tests.function import Function
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, refuse
from tests.worker import hidden_seconds

GROUPS = {"DeliverLogGroupName": "/deliver", "RedeliverLogGroupName": "/redeliver"}


pytestmark = pytest.mark.usefixtures("without_waiting")


@pytest.fixture
def log(proxy: AwsProxy, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The lines in the log of a deployed stack."""
    stack = Target.local(0)
    use_target(monkeypatch, replace(stack, known={**stack.known, **GROUPS}))
    lines: list[dict[str, Any]] = []

    def rule(call: AwsCall, forward: Forward) -> Reply:
        if call.operation != "FilterLogEvents":
            return forward(call)
        is_first = call.json["logGroupName"] == "/deliver"
        events = [{"timestamp": at, "message": json.dumps(line)} for at, line in enumerate(lines)]
        answer = json.dumps({"events": events if is_first else []}).encode()
        return Reply(200, {"Content-Type": "application/x-amz-json-1.1"}, answer)

    proxy.rule = rule
    return lines


def claim(aws: LocalAws, source: str = "default", *, is_completed: bool = False) -> None:
    """Claim the event t-1, and deliver it."""
    store = IdempotencyStore(lambda: aws.dynamodb, aws.environment["DEDUPLICATION_TABLE"], source, try_seconds=1.0)
    claim = store.acquire("t-1", Deadline.after(10.0), reserve_seconds=0.0)
    if is_completed:
        store.mark_completed(claim)


def test_delivered_track_has_an_idempotency_record(run: Run, aws: LocalAws) -> None:
    claim(aws, is_completed=True)
    ended = run("trace", "t-1")
    assert ended.code == 0
    assert "idempotency record\tCOMPLETED for source default" in ended.out
    assert "✓ Delivered at 2" in ended.out
    assert "log\tthe local system keeps no log" in ended.out

    document = run("trace", "t-1", "--json").json
    assert (document["verdict"], document["idempotencyRecords"][0]["status"]) == ("delivered", "COMPLETED")
    assert run("trace", "t-1", "--source", "shop").code == 1


def test_claim_is_in_progress(run: Run, aws: LocalAws) -> None:
    claim(aws)
    assert run("trace", "t-1", "--json").json["verdict"] == "in progress"


def test_an_event_in_the_retry_queue(run: Run, aws: LocalAws) -> None:
    put_message(aws, "t-1", queue=RETRY, code="voucherify_503")
    put_message(aws, "t-2", queue=RETRY)
    ended = run("trace", "t-1")
    assert ended.code == 0
    assert "retry queue\t1 of 2 messages\n" in ended.out
    assert "UTC: voucherify_503: Voucherify answered 400." in ended.out
    assert all(seconds <= 0 for seconds in hidden_seconds(RETRY))


def test_dead_letter_of_another_source(run: Run, aws: LocalAws) -> None:
    put_message(aws, "t-1", source="shop")
    ended = run("trace", "t-1")
    assert (ended.code, "In the dead-letter queue since 2" in ended.out) == (1, True)
    assert PERSON not in ended.out + run("trace", "t-1", "--json").out
    assert run("trace", "t-1", "--json").json["verdict"] == "dead-lettered"
    assert run("trace", "t-1", "--source", "default", "--json").json["verdict"] == "not found"
    assert len(aws.messages(DEAD)) == 1

    claim(aws, "shop", is_completed=True)
    ended = run("trace", "t-1")
    assert (ended.code, "the copies in the queues (1) are skipped as duplicates" in ended.out) == (0, True)


def test_unknown_event_is_not_found(run: Run, aws: LocalAws) -> None:
    put_message(aws, "t-1", queue=RETRY)
    aws.sqs.receive_message(QueueUrl=aws.environment[RETRY], VisibilityTimeout=60)
    for number in range(12):
        put_message(aws, f"u-{number}")
    ended = run("trace", "t-1", "--limit", "10")
    assert ended.code == 1
    assert "It may wait in the retry queue: 1 messages there are hidden until their next try. Not found" in ended.out
    assert "dead-letter queue\t0 of 10 messages, 2 not readable" in ended.out


def test_the_log_says_what_was_queued_before(run: Run, log: list[dict[str, Any]]) -> None:
    line = {"message": "event not delivered", "source": "default", "outcome": "queued", "code": "voucherify_503"}
    log += [
        {**line, "message_id": "t-1", "reason": "Voucherify answered 503", "request_id": "r"},
        {**line, "message_id": "t-2"},
    ]
    ended = run("trace", "t-1")
    assert ended.code == 0
    assert "log\t1970-01-01T00:00:00+00:00 event not delivered default queued voucherify_503" in ended.out
    assert (
        "In the retry queue, hidden until its next try; tried at 1970-01-01T00:00:00+00:00: voucherify_503."
        in ended.out
    )
    (logged,) = run("trace", "t-1", "--json").json["log"]["lines"]
    assert (logged["outcome"], logged["reason"]) == ("queued", "Voucherify answered 503")


@pytest.mark.parametrize(
    ("outcome", "verdict", "sentence"),
    [
        ("delivered", "delivered", "✓ Delivered at 1970"),
        ("duplicate", "delivered", "✓ Delivered at 1970"),
        ("track_events_filter", "skipped", "Skipped at 1970-01-01T00:00:00.001000+00:00: track_events_filter."),
    ],
)
def test_the_log_says_what_was_delivered_or_skipped(
    run: Run, log: list[dict[str, Any]], outcome: str, verdict: str, sentence: str
) -> None:
    log += [
        {"message": "event not delivered", "source": "default", "outcome": "queued", "message_id": "i-1"},
        {"message": "redelivered", "source": "default", "events": 2, "message_ids": {outcome: ["i-0", "i-1"]}},
        {"message": "request", "source": "default", "message_ids": {"delivered": ["i-10"]}},
    ]
    ended = run("trace", "i-1")
    assert (ended.code, sentence in ended.out) == (0, True)
    assert run("trace", "i-1", "--json").json["verdict"] == verdict


def test_the_functions_own_log_has_what_trace_looks_for(function: Function) -> None:
    function.put(trackEventsFilter='["Order *"]')
    identify = {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"email": PERSON}}
    track = {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "Signed Up"}
    function.post_batch([identify, track])
    (line,) = [line for line in function.logs if line["message"] == "request"]
    assert line["message_ids"] == {"delivered": ["i-1"], "track_events_filter": ["t-1"]}


def test_the_log_says_what_expired(run: Run, log: list[dict[str, Any]]) -> None:
    log.append({"message": "event given up", "source": "default", "code": "voucherify_503", "message_id": "t-9"})
    assert "Moved to the dead-letter queue at 1970" in run("trace", "t-9").out


def test_a_track_that_is_nowhere_may_have_been_skipped(run: Run) -> None:
    """A skipped event leaves no trace of its own. https://github.com/hookdeck/outpost/issues/611"""
    ended = run("trace", "rp1")
    assert ended.code == 1
    assert "it was skipped by a setting or by its integrations" in ended.out
    assert "To see whether a rule skips it, run preview with the event." in ended.out
    assert run("trace", "rp1", "--json").json["skipped"] is None


def test_the_log_says_for_which_reasons_events_were_skipped(run: Run, log: list[dict[str, Any]]) -> None:
    request = {"message": "request", "source": "default"}
    log += [
        {**request, "skipped": 2, "skip_reasons": {"opted_out": 1, "page_disabled": 1}},
        {**request, "skipped": 3, "skip_reasons": {"page_disabled": 3}},
        {**request, "skipped": 1, "skip_reasons": {"track_disabled": 1}, "source": "shop"},
        {"message": "redelivered", "source": "default", "skipped": 1, "skip_reasons": {"customer_deleted": 1}},
    ]
    ended = run("trace", "rp1", "--source", "default")
    assert "Skipped events in the last 72 hours: page_disabled 4, opted_out 1, customer_deleted 1. To see" in ended.out
    document = run("trace", "rp1", "--hours", "5", "--json").json
    assert document["verdict"] == "not found"
    assert document["skipped"] == {
        "hours": 5,
        "reasons": {"page_disabled": 4, "opted_out": 1, "track_disabled": 1, "customer_deleted": 1},
        "isComplete": True,
    }


def test_where_no_event_was_skipped_the_event_was_not_either(run: Run, log: list[dict[str, Any]]) -> None:
    log.append({"message": "request", "source": "default", "delivered": 1})
    ended = run("trace", "rp1")
    assert "No event was skipped in the last 72 hours." in ended.out
    assert "run preview" not in ended.out


def test_refused_log_is_reported(run: Run, aws: LocalAws, log: list[dict[str, Any]], proxy: AwsProxy) -> None:
    proxy.rule = refuse("FilterLogEvents", status=400, code="AccessDeniedException")
    put_message(aws, "t-1")
    ended = run("trace", "t-1")
    assert "log\tAWS refused FilterLogEvents: AccessDeniedException" in ended.out
    assert "In the dead-letter queue since" in ended.out


def test_help_has_examples(run: Run) -> None:
    assert "trace ajs-next-1766 --source shop" in run("trace", "--help").out
