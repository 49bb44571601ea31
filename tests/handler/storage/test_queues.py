"""What is stored, and what happens where SQS takes it not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from handler.model.deadline import Deadline
from handler.model.errors import NotStored
from handler.model.failure import Action, Failure
from handler.model.failure_record import MAX_EVENT_BYTES, FailureRecord, RecordedFailure, is_storable
from handler.storage.queues import MAX_BATCH_BYTES, NewMessage, Queues
from handler.threads import Threads
from local.stack.aws import LocalAws
from local.stack.http_server import HttpRequest, HttpServer, Reply
from tests.function import aws_client_at

pytestmark = pytest.mark.scenario(row=23)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

RETRY = Failure("deliver", "voucherify_503", "Voucherify answered 503", attempted=True)
REJECTED = Failure("map", "customer_id_missing", "userId is missing", action=Action.DEAD_LETTER)
THREADS: Threads = Threads(4)
IN_TIME = Deadline.after(3600.0)


AT = datetime(2026, 12, 2, 0, 30, 8, 276_000, UTC)


def message(event: Any, failure: Failure = RETRY) -> NewMessage:
    return NewMessage(FailureRecord(event, "default", 1, AT, RecordedFailure.of(failure)))


@pytest.fixture
def queues(aws: LocalAws) -> Queues:
    return Queues(
        lambda: aws.sqs, aws.environment["RETRY_QUEUE_URL"], aws.environment["DEAD_LETTER_QUEUE_URL"], THREADS
    )


def test_a_record_is_stored_as_the_contract_has_it(queues: Queues, aws: LocalAws) -> None:
    event = {"type": "track", "n": 1.0, "name": "Zoë"}
    queues.store([message(event, Failure("deliver", "voucherify_500", "é"))], [], IN_TIME)
    (stored,) = aws.messages("RETRY_QUEUE_URL")

    assert stored["Body"] == (
        '{"event":{"type":"track","n":1.0,"name":"Zo\\u00eb"},"source":"default","attempts":1,'
        '"firstFailedAt":"2026-12-02T00:30:08.276000Z",'
        '"failure":{"stage":"deliver","code":"voucherify_500","message":"\\u00e9"}}'
    )
    assert {name: value["StringValue"] for name, value in stored["MessageAttributes"].items()} == {
        "code": "voucherify_500",
        "stage": "deliver",
    }


def test_what_may_succeed_later_and_what_cannot_go_to_their_own_queues(queues: Queues, aws: LocalAws) -> None:
    queues.store([message({"n": 1}), message({"n": 3})], [message({"n": 2}, REJECTED)], IN_TIME)
    assert [json.loads(m["Body"])["event"]["n"] for m in aws.messages("RETRY_QUEUE_URL")] == [1, 3]
    assert [json.loads(m["Body"])["event"]["n"] for m in aws.messages("DEAD_LETTER_QUEUE_URL")] == [2]


@pytest.mark.parametrize(
    ("count", "size"), [(25, 10), (3, MAX_EVENT_BYTES - 100)], ids=["more than ten", "more than 1 MiB"]
)
def test_many_and_large_records_are_stored_in_groups_that_sqs_takes(
    queues: Queues, aws: LocalAws, count: int, size: int
) -> None:
    queues.store([message({"n": number, "x": "x" * size}) for number in range(count)], [], IN_TIME)
    assert sorted(json.loads(m["Body"])["event"]["n"] for m in aws.messages("RETRY_QUEUE_URL")) == list(range(count))


def test_the_largest_event_with_the_longest_message_fits(queues: Queues, aws: LocalAws) -> None:
    event = {"x": "x" * (MAX_EVENT_BYTES - len('{"x":""}'))}
    assert is_storable(event)
    queues.store([message(event, Failure("deliver", "c" * 80, "🦊" * 5000))], [], IN_TIME)
    (stored,) = aws.messages("RETRY_QUEUE_URL")
    assert len(stored["Body"]) <= MAX_BATCH_BYTES
    assert json.loads(stored["Body"])["event"] == event


def deep(levels: int) -> dict[str, Any]:
    event: dict[str, Any] = {"type": "track", "userId": "u-1", "event": "Signed Up", "messageId": "m-1"}
    nested: dict[str, Any] = {}
    for _ in range(levels):
        nested = {"a": nested}
    return {**event, "properties": nested}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "track", "userId": "u-1", "event": "Signed Up", "messageId": "m-1", "x": "x" * MAX_EVENT_BYTES},
        deep(100_000),
    ],
    ids=["too large", "too deep"],
)
def test_of_an_event_that_no_message_can_hold_who_and_what_is_kept_and_no_type(
    queues: Queues, aws: LocalAws, event: dict[str, Any]
) -> None:
    assert not is_storable(event)
    queues.store([], [message(event, REJECTED)], IN_TIME)
    (stored,) = aws.messages("DEAD_LETTER_QUEUE_URL")
    assert json.loads(stored["Body"])["event"] == {"userId": "u-1", "event": "Signed Up", "messageId": "m-1"}


def test_where_one_queue_is_gone_the_other_takes_its_records(aws: LocalAws) -> None:
    gone = aws.environment["RETRY_QUEUE_URL"] + "-gone"
    there = aws.environment["DEAD_LETTER_QUEUE_URL"]
    Queues(lambda: aws.sqs, gone, there, THREADS).store([message({"n": 1})], [], IN_TIME)
    assert [json.loads(m["Body"])["event"]["n"] for m in aws.messages("DEAD_LETTER_QUEUE_URL")] == [1]

    aws.empty_queues()
    Queues(lambda: aws.sqs, there, gone, THREADS).store([], [message({"n": 2}, REJECTED)], IN_TIME)
    assert [json.loads(m["Body"])["event"]["n"] for m in aws.messages("DEAD_LETTER_QUEUE_URL")] == [2]


def test_where_both_are_gone_nothing_is_said_to_be_stored(aws: LocalAws) -> None:
    gone = aws.environment["RETRY_QUEUE_URL"] + "-gone"
    with pytest.raises(NotStored, match="2 of 2 events could be stored in neither queue"):
        Queues(lambda: aws.sqs, gone, gone, THREADS).store([message({"n": 1})], [message({"n": 2}, REJECTED)], IN_TIME)


@contextmanager
def sqs_that(answer: Callable[[str, list[str]], list[str]]) -> Iterator[SQSClient]:
    """SQS whose SendMessageBatch answers 200 and names as successful what `answer` gives for a queue and its bodies."""

    def respond(request: HttpRequest) -> Reply:
        call = json.loads(request.body)
        bodies = {entry["MessageBody"]: entry["Id"] for entry in call["Entries"]}
        taken = answer(call["QueueUrl"], list(bodies))
        successful = [{"Id": bodies[body], "MessageId": "m", "MD5OfMessageBody": ""} for body in taken]
        failed = [{"Id": bodies[b], "Code": "InternalError", "SenderFault": False} for b in bodies if b not in taken]
        body = json.dumps({"Successful": successful, "Failed": failed}).encode()
        return Reply(200, {"Content-Type": "application/x-amz-json-1.0"}, body)

    server = HttpServer(0, respond)
    try:
        yield aws_client_at("sqs", server.port)
    finally:
        server.close()


def test_entries_that_sqs_names_as_failed_are_sent_again_and_only_those() -> None:
    asked: list[list[int]] = []

    def first_takes_half(queue: str, bodies: list[str]) -> list[str]:
        asked.append([json.loads(body)["event"]["n"] for body in bodies])
        return bodies[::2] if len(asked) == 1 else bodies

    with sqs_that(first_takes_half) as sqs:
        Queues(lambda: sqs, "http://retry", "http://dead", THREADS).store(
            [message({"n": number}) for number in range(5)], [], IN_TIME
        )
    assert asked == [[0, 1, 2, 3, 4], [1, 3]]


def test_what_a_queue_refuses_twice_goes_to_the_other() -> None:
    asked: list[tuple[str, int]] = []

    def only_dead(queue: str, bodies: list[str]) -> list[str]:
        asked.append((queue, len(bodies)))
        return bodies if queue == "http://dead" else bodies[:1]

    with sqs_that(only_dead) as sqs:
        Queues(lambda: sqs, "http://retry", "http://dead", THREADS).store(
            [message({"n": number}) for number in range(3)], [], IN_TIME
        )
    assert asked == [("http://retry", 3), ("http://retry", 2), ("http://dead", 1)]


def test_a_200_that_names_nothing_has_stored_nothing() -> None:
    with sqs_that(lambda queue, bodies: []) as sqs, pytest.raises(NotStored):
        Queues(lambda: sqs, "http://retry", "http://dead", THREADS).store([message({"n": 1})], [], IN_TIME)


def test_what_sqs_does_not_answer_in_time_is_not_said_to_be_stored_and_not_waited_for() -> None:
    """It holds every answer until the function has given up."""
    given_up = threading.Event()

    def hold(queue: str, bodies: list[str]) -> list[str]:
        assert given_up.wait(60)
        return bodies

    with sqs_that(hold) as sqs:
        queues = Queues(lambda: sqs, "http://retry", "http://dead", Threads(1))
        with pytest.raises(NotStored, match="15 of 15 events"):
            queues.store([message({"n": number}) for number in range(15)], [], Deadline.after(0.1))
        given_up.set()


def test_after_sqs_has_not_answered_the_next_events_are_stored_all_the_same() -> None:
    """The thread that still waits for the first answer holds up nobody."""
    asked: list[str] = []
    done = threading.Event()

    def hold_the_first(queue: str, bodies: list[str]) -> list[str]:
        asked.append(queue)
        if len(asked) == 1:
            assert done.wait(60)
        return bodies

    with sqs_that(hold_the_first) as sqs:
        queues = Queues(lambda: sqs, "http://retry", "http://dead", Threads(1))
        with pytest.raises(NotStored):
            queues.store([message({"n": 1})], [], Deadline.after(0.1))
        queues.store([message({"n": 2})], [], IN_TIME)
        done.set()
