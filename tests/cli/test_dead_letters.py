"""`dead-letters`: nothing is lost and nobody's data shown, wherever it is interrupted and whatever SQS answers."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from cli.dead_letters import reading
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import moment_of
from handler.model.failure_record import FailureRecord, RecordedFailure
from local.stack.aws import LocalAws
from local.stack.cold import start_cold
from local.stack.http_server import Reply
from local.voucherify_stub.stub import VoucherifyStub
from tests.cli.conftest import DEAD, PERSON, RETRY, Ended, Run, Time, event, put_message
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, take_some
from tests.worker import Queue, Worker, hidden_seconds, stored

RETRY_400 = ("dead-letters", "retry", "--code", "voucherify_400", "--rate", "500")


pytestmark = pytest.mark.usefixtures("without_waiting")


def ids(queue: Queue) -> Counter[str]:
    """How often each event is in a queue, the hidden too."""
    return Counter(record["event"]["messageId"] for record in stored(queue))


def all_can_be_seen(queue: Queue) -> bool:
    return all(seconds <= 0 for seconds in hidden_seconds(queue))


def put_some(aws: LocalAws) -> None:
    put_message(aws, "t-1")
    put_message(aws, "t-2", source="shop")
    put_message(aws, "i-1", type_="identify")
    put_message(aws, "x-1", code="unknown_type", type_="bogus")
    aws.sqs.send_message(QueueUrl=aws.environment[DEAD], MessageBody=f"who is {PERSON}?")


def test_list_groups_by_reason_code(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    ended = run("dead-letters", "list")
    assert ended.code == 0
    header, *lines = [line.split("\t") for line in ended.out.splitlines()]
    assert header[:4] == ["code", "messages", "sources", "types"]
    assert lines[0][:4] == ["voucherify_400", "3", "default, shop", "track, identify"]
    assert lines[0][-1] == "Voucherify answered 400"
    assert {line[0] for line in lines} == {"voucherify_400", "unknown_type", "unreadable_record"}
    assert len(aws.messages(DEAD)) == 5
    assert all_can_be_seen(DEAD)

    document = run("dead-letters", "list", "--json").json
    assert (document["messages"], document["isComplete"], document["inFlight"]) == (5, True, 0)
    assert document["groups"][0]["sources"] == {"default": 2, "shop": 1}


def test_list_of_an_empty_queue(run: Run) -> None:
    assert run("dead-letters", "list").out == "✓ the dead-letter queue is empty\n"
    assert run("dead-letters", "list", "--json").json["groups"] == []


def test_in_flight_messages_are_reported(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    aws.sqs.receive_message(QueueUrl=aws.environment[DEAD], MaxNumberOfMessages=2, VisibilityTimeout=60)
    assert "about 2 messages in flight" in run("dead-letters", "list").err


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 5),
        (("--code", "voucherify_400"), 3),
        (("--code", "voucherify_400", "--code", "unknown_type"), 4),
        (("--type", "Track"), 2),
        (("--type", "unknown"), 2),
        (("--source", "shop"), 1),
        (("--source", "default", "--type", "track"), 1),
        (("--older-than", "2d"), 5),
        (("--older-than", "4d"), 0),
        (("--newer-than", "2d"), 0),
        (("--newer-than", "96h", "--older-than", "1w"), 0),
        (("--newer-than", "96h", "--older-than", "1d"), 5),
    ],
)
def test_filters(run: Run, aws: LocalAws, options: tuple[str, ...], count: int) -> None:
    put_some(aws)
    aws.set_age(DEAD, 3 * 24 * 60 * 60)
    assert run("dead-letters", "list", *options, "--json").json["messages"] == count
    Worker(aws).time_passes(60 * 60)  # moto does not show a message again that is older than twelve hours
    assert run("dead-letters", "retry", *options, "--dry-run", "--json").json["moved"] == count


def test_invalid_age_exits_2(run: Run) -> None:
    ended = run("dead-letters", "list", "--older-than", "soon")
    assert ended.code == 2
    assert "--older-than" in ended.err


def test_show_masks_personal_data(run: Run, aws: LocalAws) -> None:
    put_message(aws, "t-1")
    ended = run("dead-letters", "show", "t-1")
    assert ended.code == 0
    (letter,) = run("dead-letters", "show", "t-1", "--json").json["messages"]
    record = letter["record"]
    assert json.loads(ended.out)["record"] == record
    assert record["event"]["properties"] == {"email": "•••", "total": "•••"}
    assert (record["event"]["type"], record["event"]["event"]) == ("track", "Order Completed")
    assert record["failure"]["message"] == "Voucherify answered 400: ••• is not valid"

    (letter,) = run("dead-letters", "show", letter["sqsMessageId"], "--show-data", "--json").json["messages"]
    assert letter["record"]["event"]["properties"]["email"] == PERSON
    assert all_can_be_seen(DEAD)


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("Property .customer.email should be email", "Property .customer.email should be email"),
        (f"{PERSON.upper()} is taken (request_id v-0f12345)", "••• is taken (request_id v-0f12345)"),
        ("customer with source_id 'canary.person@example.com' not found", "customer with source_id '•••' not found"),
        ("duplicate: other@example.org, +49 170 1234567", "duplicate: •••, •••"),
        ('"Ada" is no number', "••• is no number"),
        ("total 42 is too small", "total ••• is too small"),
    ],
)
def test_voucherifys_reason_is_shown_without_what_it_quotes(words: str, shown: str) -> None:
    failure = RecordedFailure("deliver", "voucherify_400", f"Voucherify answered 400: {words}")
    body, _ = FailureRecord(event("t-1"), "default", 1, datetime.now(UTC), failure).to_message()
    message = QueueMessage.of_message(
        {"MessageId": "1", "ReceiptHandle": "r", "Body": body, "Attributes": {"SentTimestamp": "0"}}
    )
    assert message.masked_message == f"Voucherify answered 400: {shown}"


def test_show_of_the_first_ones_and_of_none(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    assert len(run("dead-letters", "show", "--first", "2", "--json").json["messages"]) == 2
    assert len(run("dead-letters", "show", "--json").json["messages"]) == 1
    assert [
        letter["record"]["event"]["messageId"]
        for letter in run("dead-letters", "show", "--first", "9", "--type", "identify", "--json").json["messages"]
    ] == ["i-1"]
    ended = run("dead-letters", "show", "nobody")
    assert (ended.code, ended.err) == (1, "✗ message nobody is not in the dead-letter queue\n")


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize(
    "command",
    [
        ("list",),
        ("show", "--first", "9"),
        ("retry", "--dry-run"),
        ("retry", "--rate", "500"),
        ("drop", "--yes"),
        ("export", "{tmp}/messages.jsonl"),
    ],
)
def test_no_output_has_a_persons_data(
    run: Run, aws: LocalAws, tmp_path: Path, command: tuple[str, ...], as_json: tuple[str, ...]
) -> None:
    put_some(aws)
    ended = run("dead-letters", *(part.format(tmp=tmp_path) for part in command), *as_json)
    assert ended.code == 0
    assert PERSON not in ended.out + ended.err
    assert not as_json or ended.json


def test_show_data_shows_it(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    assert PERSON in run("dead-letters", "list", "--show-data").out
    assert f"who is {PERSON}?" in run("dead-letters", "show", "--first", "9", "--show-data").out


def test_retry_moves_what_matches_as_it_is(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    before = {
        message["Body"]: message["MessageAttributes"] for message in aws.messages(DEAD) if "t-1" in message["Body"]
    }
    ended = run(*RETRY_400, "--type", "track")
    assert ended.code == 0
    assert ended.out == "2 messages moved to the retry queue (voucherify_400: 2)\n"
    assert ids(RETRY) == {"t-1": 1, "t-2": 1}
    (moved,) = [message for message in aws.messages(RETRY) if message["Body"] in before]
    assert moved["MessageAttributes"] == before[moved["Body"]]
    assert len(aws.messages(DEAD)) == 3
    assert run(*RETRY_400, "--type", "track", "--json").json["moved"] == 0


def test_retry_all(run: Run, aws: LocalAws) -> None:
    for number in range(23):
        put_message(aws, f"t-{number}")
    assert run("dead-letters", "retry", "--rate", "500", "--json").json == {
        "moved": 23,
        "inBothQueues": 0,
        "notMoved": 0,
        "byCode": {"voucherify_400": 23},
        "isDryRun": False,
        "inFlight": 0,
        "arrivedSince": 0,
        "isComplete": True,
    }
    assert (len(ids(RETRY)), stored(DEAD)) == (23, [])


def test_retry_keeps_to_its_rate(run: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Time()
    monkeypatch.setattr("cli.dead_letters.moving.time", SimpleNamespace(monotonic=clock, sleep=clock.sleep))
    waited = []
    for rate in (10, 4):
        for number in range(8):
            put_message(aws, f"t-{rate}-{number}")
        started = clock.now
        assert run("dead-letters", "retry", "--rate", str(rate), "--code", "voucherify_400").code == 0
        waited.append(clock.now - started)
    assert waited == [0.0, 1.0]


def test_large_messages_go_one_by_one(run: Run, aws: LocalAws) -> None:
    body = json.dumps({"event": {"type": "track", "messageId": "large", "pad": "x" * 700_000}})
    for _ in range(3):
        aws.sqs.send_message(QueueUrl=aws.environment[DEAD], MessageBody=body)
    assert run("dead-letters", "retry", "--rate", "500", "--json").json["moved"] == 3
    assert (len(stored(RETRY)), len(stored(DEAD))) == (3, 0)


When = Literal["before", "after"]


class Cut(Exception):
    """The n-th call of AWS was never reached."""


@contextmanager
def cut_off_at(number: int, when: When, error: BaseException) -> Iterator[None]:
    """The command's n-th call of AWS ends in an error, before or after it was made."""
    real: Callable[..., Any] = BaseClient._make_api_call  # type: ignore[attr-defined] # botocore's one way out
    made = 0

    def call(self: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
        nonlocal made
        made += 1
        if made == number and when == "before":
            raise error
        answer = real(self, operation, parameters)
        if made == number:
            raise error
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseClient, "_make_api_call", call)
        yield
    if made < number:
        raise Cut


def interrupted(run: Run, number: int, when: When, error: BaseException) -> Ended | None:
    """The command, interrupted at its n-th call; None where it makes fewer."""
    try:
        with cut_off_at(number, when, error):
            return run(*RETRY_400)
    except Cut:
        return None


REFUSED = ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "made up"}}, "made up")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("when", "error", "code"),
    [
        ("before", KeyboardInterrupt(), 130),
        pytest.param("after", KeyboardInterrupt(), 130, marks=pytest.mark.long),
        pytest.param("before", REFUSED, 3, marks=pytest.mark.long),
    ],
)
def test_interrupt_at_each_call_loses_nothing(
    run: Run, aws: LocalAws, when: When, error: BaseException, code: int
) -> None:
    """Run again to the end, each is in the retry queue; twice at most those of the batch that was cut off."""
    wanted, others = {f"t-{number}" for number in range(15)}, {"x-1", "x-2"}
    for cut in range(1, 100):
        aws.empty_queues()
        for message_id in wanted:
            put_message(aws, message_id)
        for message_id in others:
            put_message(aws, message_id, code="unknown_type")
        ended = interrupted(run, cut, when, error)
        assert set(ids(DEAD) + ids(RETRY)) == wanted | others
        assert set(ids(RETRY)) <= wanted
        if ended is None:
            break
        # What is shown again at the end is no work any more, so that its failure does no harm.
        assert ended.code == code or set(ids(RETRY)) == wanted

        Worker(aws).time_passes(12 * 60 * 60)  # an answer of SQS that was lost has hidden letters that nobody knows of
        assert run(*RETRY_400).code == 0
        assert ids(DEAD) == Counter(others)
        assert set(ids(RETRY)) == wanted
        assert sum(ids(RETRY).values()) <= len(wanted) + reading.BATCH
    else:
        pytest.fail("the command never came to its end")
    assert cut > 8, "several rounds were cut off"


def test_message_in_both_queues_is_delivered_once(
    run: Run, aws: LocalAws, voucherify: VoucherifyStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_cold()
    for number in range(7):
        put_message(aws, f"t-{number}")
    # Its depth, receive, send, delete: cut off before the last, all are in both.
    ended = interrupted(run, 4, "before", KeyboardInterrupt())
    assert ended
    assert (ended.code, ids(DEAD)) == (130, ids(RETRY))
    assert "run the same command to continue" in ended.err
    assert all_can_be_seen(DEAD)
    assert run(*RETRY_400).code == 0
    assert set(ids(RETRY).values()) == {2}

    worker = Worker(aws)
    for _ in range(4):
        worker.run()
        worker.time_passes_until_one_is_visible()
    assert stored(RETRY) == []
    assert [call.path for call in voucherify.calls] == ["/v1/events"] * 7
    start_cold()


def test_unsent_message_is_reported(run: Run, aws: LocalAws, proxy: AwsProxy) -> None:
    for number in range(6):
        put_message(aws, f"t-{number}")

    def rule(call: AwsCall, forward: Forward) -> Reply:
        if call.operation == "SendMessageBatch":
            return take_some(call, forward, lambda number: number % 2 == 0)
        return forward(call)

    proxy.rule = rule
    ended = run(*RETRY_400)
    assert ended.code == 1
    assert "3 messages moved to the retry queue (voucherify_400: 3)" in ended.out
    assert "3 messages still in the dead-letter queue" in ended.out
    assert set(ids(DEAD)).isdisjoint(ids(RETRY))
    assert len(ids(DEAD) + ids(RETRY)) == 6
    assert all_can_be_seen(DEAD)


def test_undeleted_message_is_reported(run: Run, aws: LocalAws, proxy: AwsProxy) -> None:
    put_message(aws, "t-1")

    def rule(call: AwsCall, forward: Forward) -> Reply:
        if call.operation == "DeleteMessageBatch":
            return take_some(call, forward, lambda number: False)
        return forward(call)

    proxy.rule = rule
    ended = run(*RETRY_400)
    assert (ended.code, ids(DEAD), ids(RETRY)) == (1, {"t-1": 1}, {"t-1": 1})
    assert "1 message in both queues" in ended.out


class CauseNotFixed:
    """The retry worker, which rejects each message again as soon as the retry queue has it."""

    def __init__(self, aws: LocalAws) -> None:
        self.aws = aws
        self.times = 0
        self.operations: set[str] = set()

    def __call__(self, call: AwsCall, forward: Forward) -> Reply:
        self.operations.add(call.operation)
        answer = forward(call)
        if call.operation == "SendMessageBatch" and self.times < 3:  # so that a command that repeats itself ends too
            self.times += 1
            for entry in call.json["Entries"]:
                self.aws.sqs.send_message(
                    QueueUrl=self.aws.environment[DEAD],
                    MessageBody=entry["MessageBody"],
                    MessageAttributes=entry.get("MessageAttributes", {}),
                )
        return answer


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ((), 5),
        (("--code", "voucherify_400"), 3),
        (("--type", "track"), 2),
        (("--source", "shop"), 1),
        (("--newer-than", "1d"), 5),
        (("--older-than", "0s"), 5),
        (("--code", "voucherify_400", "--type", "track", "--source", "default", "--newer-than", "1d"), 1),
    ],
)
def test_retry_moves_once_what_comes_back_again(
    run: Run, aws: LocalAws, proxy: AwsProxy, options: tuple[str, ...], count: int
) -> None:
    put_some(aws)
    proxy.rule = worker = CauseNotFixed(aws)
    ended = run("dead-letters", "retry", "--rate", "500", *options, "--json")
    assert (ended.code, ended.json["moved"]) == (0, count)
    assert ended.json["arrivedSince"] == count
    assert len(aws.stored(RETRY)) == count
    assert len(aws.stored(DEAD)) == 5, "the others are there as before, and those that came back"
    assert all_can_be_seen(DEAD)
    assert not any(operation.endswith("MoveTask") for operation in worker.operations), "SQS would move them again"


@pytest.mark.parametrize(("seconds_off", "moment"), [(0.25, 0.25), (0.999, 0.999), (1.5, 0), (-0.5, 0), (3600, 0)])
def test_the_start_is_that_of_the_clock_of_aws(seconds_off: float, moment: float) -> None:
    """The clock of a laptop may be wrong; AWS tells whole seconds."""
    second = datetime(2026, 5, 1, 12, tzinfo=UTC)
    found = moment_of("Fri, 01 May 2026 12:00:00 GMT", second + timedelta(seconds=seconds_off))
    assert found == second + timedelta(seconds=moment)
    assert moment_of(None, second) == second


def test_messages_that_arrive_after_the_start_are_left_alone(run: Run, aws: LocalAws, proxy: AwsProxy) -> None:
    put_some(aws)

    def rule(call: AwsCall, forward: Forward) -> Reply:
        answer = forward(call)
        if call.operation == "GetQueueAttributes":
            put_message(aws, "later")
        return answer

    proxy.rule = rule
    assert run("dead-letters", "list", "--json").json["messages"] == 5
    ended = run("dead-letters", "drop", "--yes")
    assert "6 of 6 messages dropped" in ended.out, "the one that arrived during the list is among them"
    assert "1 message arrived since the command began" in ended.err
    assert ids(DEAD) == {"later": 1}


def test_drop_asks_and_deletes_only_what_matches(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    ended = run("dead-letters", "drop", "--code", "voucherify_400", stdin="n\n")
    assert ended.code == 1
    assert "0 of 3 messages dropped (voucherify_400: 3)\n" in ended.out
    assert "Delete 3 messages permanently?" in ended.err
    assert len(aws.messages(DEAD)) == 5
    ended = run("dead-letters", "drop", "--code", "voucherify_400", stdin="y\n")
    assert ended.code == 0
    assert "3 of 3 messages dropped (voucherify_400: 3)\n" in ended.out
    assert len(aws.messages(DEAD)) == 2


def test_drop_without_answer_deletes_nothing(run: Run, aws: LocalAws) -> None:
    put_some(aws)
    assert run("dead-letters", "drop").code == 1
    assert run("dead-letters", "drop", "--json").code == 2
    assert len(aws.messages(DEAD)) == 5
    assert run("dead-letters", "drop", "--yes", "--json").json["dropped"] == 5


def test_drop_keeps_a_copy_first(run: Run, aws: LocalAws, tmp_path: Path) -> None:
    put_some(aws)
    copy = tmp_path / "messages.jsonl.gz"
    assert run("dead-letters", "drop", "--type", "track", "--yes", "--export", str(copy)).code == 0
    kept = [json.loads(line)["event"]["messageId"] for line in gzip.decompress(copy.read_bytes()).splitlines()]
    assert sorted(kept) == ["t-1", "t-2"]
    assert len(aws.messages(DEAD)) == 3

    ended = run("dead-letters", "drop", "--yes", "--export", str(copy))
    assert ended.code == 2
    assert "already exists" in ended.err
    assert len(aws.messages(DEAD)) == 3


@pytest.mark.parametrize("name", ["messages.jsonl", "messages.jsonl.gz"])
def test_export_is_private(run: Run, aws: LocalAws, tmp_path: Path, name: str) -> None:
    put_some(aws)
    file = tmp_path / name
    ended = run("dead-letters", "export", str(file))
    assert (ended.code, ended.out) == (0, f"✓ 5 messages written to {file}\n")
    assert "personal data" in ended.err
    assert file.stat().st_mode & 0o777 == 0o600
    content = gzip.decompress(file.read_bytes()) if name.endswith("gz") else file.read_bytes()
    bodies = [message["Body"] for message in aws.messages(DEAD)]
    assert len(bodies) == 5, "they are still in the queue"
    assert sorted(content.decode().splitlines()) == sorted(
        body if body.startswith("{") else json.dumps(body) for body in bodies
    )


def test_interrupted_export_leaves_no_file(run: Run, aws: LocalAws, tmp_path: Path) -> None:
    put_some(aws)
    with cut_off_at(3, "before", KeyboardInterrupt()):
        assert run("dead-letters", "export", str(tmp_path / "messages.jsonl")).code == 130
    assert list(tmp_path.iterdir()) == []
    assert len(aws.messages(DEAD)) == 5


def test_each_command_has_examples(run: Run) -> None:
    for command in ("list", "show", "retry", "drop", "export"):
        assert f"voucherify-destination dead-letters {command}" in run("dead-letters", command, "--help").out


def test_retries_list_groups_by_reason_code(run: Run, aws: LocalAws) -> None:
    assert run("retries", "list").out == "✓ the retry queue is empty\n"
    for number in range(3):
        put_message(aws, f"t-{number}", code="voucherify_503", queue=RETRY)
    put_message(aws, "t-9", code="rate_limited", source="shop", queue=RETRY)
    ended = run("retries", "list")
    assert ended.code == 0
    assert [line.split("\t")[:2] for line in ended.out.splitlines()] == [
        ["code", "messages"],
        ["voucherify_503", "3"],
        ["rate_limited", "1"],
    ]
    assert PERSON not in ended.out
    assert all_can_be_seen(RETRY)
    assert run("retries", "list", "--source", "shop", "--json").json["messages"] == 1

    aws.sqs.receive_message(QueueUrl=aws.environment[RETRY], MaxNumberOfMessages=4, VisibilityTimeout=600)
    ended = run("retries", "list")
    assert (ended.out, "about 4 messages in flight: hidden until" in ended.err) == (
        "no visible message matches\n",
        True,
    )
