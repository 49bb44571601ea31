"""The surroundings of the retry worker: Lambda's poller, time that passes, and a redrive by an operator.

No test waits. To let time pass, a test moves the times of moto's messages and items into the past.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from handler.redelivery import lambda_handler
from local.stack.aws import LocalAws
from local.stack.cold import start_cold
from local.stack.front import LambdaContext
from local.stack.moto import StoredMessage
from local.stack.poller import FUNCTION_TIME_OUT_SECONDS, sqs_event
from tests.function import Function

Queue = Literal["RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"]
QUEUES: tuple[Queue, ...] = ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL")

BATCH_SIZE = 10
VISIBILITY_SECONDS = 6 * round(FUNCTION_TIME_OUT_SECONDS)

# Set by tests/conftest.py.
running_aws: LocalAws | None = None

Invoke = Callable[[dict[str, Any], float], dict[str, Any]]


def invoke_here(event: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Invoke the worker in this process, with `seconds` until its timeout."""
    return lambda_handler(event, LambdaContext(seconds))


@dataclass(frozen=True)
class Batch:
    """One invocation: its SQS records, and the ids of those that stay in the queue."""

    records: Sequence[dict[str, Any]]
    kept: Sequence[str]


@dataclass
class Worker:
    """The worker behind Lambda's poller, and time that passes between two runs."""

    aws: LocalAws
    invoke: Invoke = invoke_here
    _aged: dict[str, float] = field(default_factory=dict)  # seconds that passed here, by message id

    def start_cold(self) -> None:
        """Let the next invocation be the first of a new execution environment."""
        start_cold()

    def receive(self, at_most: int = BATCH_SIZE) -> dict[str, Any] | None:
        """Return the event that Lambda invokes the worker with, or None where no message is visible."""
        answer = self.aws.sqs.receive_message(
            QueueUrl=self.aws.environment["RETRY_QUEUE_URL"],
            MaxNumberOfMessages=at_most,
            MessageSystemAttributeNames=["All"],
            MessageAttributeNames=["All"],
            VisibilityTimeout=VISIBILITY_SECONDS,
        )
        messages: list[Any] = list(answer.get("Messages", ()))
        for message in messages:
            waited = round(self._aged.get(message["MessageId"], 0.0) * 1000)
            message["Attributes"]["SentTimestamp"] = str(int(message["Attributes"]["SentTimestamp"]) - waited)
        return sqs_event(messages) if messages else None

    def run(self, seconds: float = FUNCTION_TIME_OUT_SECONDS, at_most: int = BATCH_SIZE) -> Batch:
        """Invoke the worker with one batch, and delete the messages that it does not keep. Raise its exceptions."""
        event = self.receive(at_most)
        if event is None:
            return Batch([], [])
        answer = self.invoke(event, seconds)
        kept = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        for record in event["Records"]:
            if record["messageId"] not in kept:
                self.aws.sqs.delete_message(
                    QueueUrl=self.aws.environment["RETRY_QUEUE_URL"], ReceiptHandle=record["receiptHandle"]
                )
        return Batch(event["Records"], kept)

    def time_passes(self, seconds: float) -> None:
        """Make messages older and visible sooner, and idempotency records expire sooner."""
        for queue in QUEUES:
            self.aws.advance(queue, seconds)
            for message in self.aws.stored(queue):
                self._aged[message.message_id] = self._aged.get(message.message_id, 0.0) + seconds
        self.aws.moto.advance_table(self.aws.environment["DEDUPLICATION_TABLE"], seconds)

    def time_passes_until_one_is_visible(self) -> None:
        """Let time pass until a message is visible. Do nothing where the retry queue is empty."""
        self.time_passes(max(0.0, min(hidden_seconds("RETRY_QUEUE_URL"), default=0.0) + 0.1))

    def redrive(self) -> int:
        """Move all messages to the retry queue as SQS does, with body and attributes. Return their number."""
        dead = self.aws.messages("DEAD_LETTER_QUEUE_URL")
        for message in dead:
            self.aws.sqs.send_message(
                QueueUrl=self.aws.environment["RETRY_QUEUE_URL"],
                MessageBody=message["Body"],
                MessageAttributes=message.get("MessageAttributes", {}),
            )
            self.aws.sqs.delete_message(
                QueueUrl=self.aws.environment["DEAD_LETTER_QUEUE_URL"], ReceiptHandle=message["ReceiptHandle"]
            )
        return len(dead)


def stored(queue: Queue) -> list[dict[str, Any]]:
    """Return the failure records in a queue, the hidden ones too."""
    return [json.loads(message.body) for message in _messages(queue)]


def hidden_seconds(queue: Queue) -> list[float]:
    """Return the seconds until each message of a queue is visible, in their order, below 0 for a visible one."""
    now = time.time()
    return [max(message.visible_at, message.delayed_until) - now for message in _messages(queue)]


def _messages(queue: Queue) -> list[StoredMessage]:
    """Return the messages of a queue. SQS does not show hidden ones, moto does."""
    assert running_aws
    return running_aws.stored(queue)


FIRST_FAILURE = {"stage": "deliver", "code": "voucherify_503", "message": "Voucherify answered 503"}


def put(function: Function, *events: Any, queue: str = "RETRY_QUEUE_URL") -> None:
    """Store each event in a queue as the function does, after one failed attempt."""
    for event in events:
        put_body(function, json.dumps(stored_record(event)), queue)


def stored_record(event: Any) -> dict[str, Any]:
    return {
        "event": event,
        "source": "default",
        "attempts": 1,
        "firstFailedAt": "2026-12-02T00:30:08.276Z",
        "failure": FIRST_FAILURE,
    }


def put_body(function: Function, body: str, queue: str = "RETRY_QUEUE_URL") -> None:
    function.aws.sqs.send_message(QueueUrl=function.aws.environment[queue], MessageBody=body)
