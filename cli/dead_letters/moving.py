"""Moves messages from the dead-letter queue to the retry queue without losing any, wherever it is interrupted.

A message is deleted only after SQS has confirmed that the retry queue has it. An interrupted message is in both queues
and is moved again by the next run. That is harmless: a track is delivered once because of its idempotency record, and
an identify that is delivered twice has the same effect as once.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.dead_letters.filters import MessageFilter
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import BATCH, MOST_IN_FLIGHT, QueueReader
from cli.errors import CommandFailed

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ListMessageMoveTasksResultEntryTypeDef, SendMessageBatchRequestEntryTypeDef

MAX_BATCH_BYTES = 1024 * 1024
MOST_PER_SECOND = 500  # SQS's limit of a message move task

POLL_SECONDS = 2.0
_UNSUPPORTED = frozenset({"UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "InvalidAction"})
_RUNNING = frozenset({"RUNNING", "CANCELLING"})

Progress = Callable[[int, int], object]  # the messages that are done, and about how many there are


@dataclass
class Moved:
    """Numbers of messages: moved, in both queues, and still in the dead-letter queue only."""

    moved: int = 0
    in_both: int = 0
    not_moved: int = 0
    in_flight: int = 0
    is_complete: bool = True
    by_code: Counter[str] = field(default_factory=Counter)


def move(
    sqs: SQSClient,
    dead_url: str,
    retry_url: str,
    wanted: MessageFilter,
    *,
    rate: float,
    is_dry_run: bool,
    progress: Progress,
    at_most: int = MOST_IN_FLIGHT,
) -> Moved:
    """Move the messages that match, `rate` a second; in a dry run only count them. Reads `at_most` messages."""
    moved = Moved()
    next_at = time.monotonic()
    read = 0
    with QueueReader(sqs, dead_url, rate=rate, at_most=at_most) as reader:
        for messages in reader.batches():
            read += len(messages)
            matching = [message for message in messages if wanted.matches(message)]
            moved.by_code.update(message.code for message in matching)
            for batch in _batches(matching, max(1, min(BATCH, int(rate)))):
                if is_dry_run:
                    moved.moved += len(batch)
                    continue
                time.sleep(max(0.0, next_at - time.monotonic()))
                next_at = max(next_at, time.monotonic()) + len(batch) / rate
                sent = _send(sqs, retry_url, batch)
                deleted = reader.delete(sent)
                moved.moved += len(deleted)
                moved.in_both += len(sent) - len(deleted)
                moved.not_moved += len(batch) - len(sent)
            progress(read, reader.depth.visible)
    moved.in_flight = reader.depth.in_flight
    moved.is_complete = reader.is_complete
    return moved


def _send(sqs: SQSClient, queue_url: str, batch: Sequence[QueueMessage]) -> list[str]:
    """Send messages, and return the ids that SQS confirms."""
    entries = [_entry(number, message) for number, message in enumerate(batch)]
    answer = sqs.send_message_batch(QueueUrl=queue_url, Entries=entries)
    return [batch[int(entry["Id"])].sqs_id for entry in answer.get("Successful", ())]


def _entry(number: int, message: QueueMessage) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(number), "MessageBody": message.body}
    if message.attributes:
        entry["MessageAttributes"] = message.attributes
    return entry


def _batches(messages: Sequence[QueueMessage], most: int) -> Iterator[list[QueueMessage]]:
    """Split messages into batches that SQS accepts, by number and by bytes."""
    batch: list[QueueMessage] = []
    size = 0
    for message in messages:
        bytes_ = _size(message)
        if batch and (len(batch) == most or size + bytes_ > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += bytes_
    if batch:
        yield batch


def _size(message: QueueMessage) -> int:
    """Return the size as SQS counts it: the body, and the names, types and values of the attributes."""
    attributes: Any = message.attributes.items()
    values = sum(len(name) + sum(len(str(part).encode()) for part in value.values()) for name, value in attributes)
    return len(message.body.encode()) + values


class Redrive:
    """SQS's own redrive of a whole queue, which needs no running command.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """

    def __init__(self, sqs: SQSClient, dead_url: str, retry_url: str, rate: float) -> None:
        self._sqs = sqs
        self._dead_arn = _arn(sqs, dead_url)
        # SQS knows no source queue of these messages, since the functions sent them: it needs a destination.
        self._retry_arn = _arn(sqs, retry_url)
        self._rate = max(1, min(MOST_PER_SECOND, round(rate)))

    def start(self) -> bool:
        """Start a redrive, or find the one that is running. Return False where SQS does not support it."""
        try:
            if self._newest().get("Status") not in _RUNNING:
                self._sqs.start_message_move_task(
                    SourceArn=self._dead_arn,
                    DestinationArn=self._retry_arn,
                    MaxNumberOfMessagesPerSecond=self._rate,
                )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _UNSUPPORTED:
                return False
            raise
        return True

    def wait(self, progress: Progress) -> int:
        """Wait for the end and return the number of moved messages. Cancels it at Ctrl-C. Raises CommandFailed."""
        try:
            while (task := self._newest()).get("Status") in _RUNNING:
                progress(
                    task.get("ApproximateNumberOfMessagesMoved", 0), task.get("ApproximateNumberOfMessagesToMove", 0)
                )
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            if handle := self._newest().get("TaskHandle"):
                self._sqs.cancel_message_move_task(TaskHandle=handle)
            raise
        moved = task.get("ApproximateNumberOfMessagesMoved", 0)
        if task.get("Status") != "COMPLETED":
            problem = f"SQS's redrive ended as {task.get('Status', 'missing').lower()} after {moved} messages"
            raise CommandFailed(problem, task.get("FailureReason", "run the command again: it continues"))
        return moved

    def _newest(self) -> ListMessageMoveTasksResultEntryTypeDef:
        results = self._sqs.list_message_move_tasks(SourceArn=self._dead_arn, MaxResults=1).get("Results", [])
        return results[0] if results else {}


def _arn(sqs: SQSClient, queue_url: str) -> str:
    return sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
