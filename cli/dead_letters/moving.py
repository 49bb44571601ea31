"""Dead letters back to the retry queue, so that none is lost wherever it is interrupted.

A letter is deleted only after SQS has confirmed that the retry queue has it. What is interrupted in between is in both
queues, and is sent again by the next run: the ledger delivers a track once, and an identify does no harm twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from cli.dead_letters.filters import LetterFilter
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import ROUND, Depth, QueueReading, hiding_seconds
from cli.errors import CommandFailed

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ListMessageMoveTasksResultEntryTypeDef, SendMessageBatchRequestEntryTypeDef

MAX_BATCH_BYTES = 1024 * 1024
MOST_A_SECOND = 500  # SQS's own limit for its task

POLL_SECONDS = 2.0
_NOT_OFFERED = frozenset({"UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation", "InvalidAction"})
_GOES_ON = frozenset({"RUNNING", "CANCELLING"})

Progress = Callable[[int, int], object]  # how many are done, of about how many


@dataclass
class Moved:
    """What became of the letters: in the retry queue only, in both queues, or where they were."""

    moved: int = 0
    in_both: int = 0
    not_taken: int = 0
    read: int = 0
    is_complete: bool = True
    by_code: Counter[str] = field(default_factory=Counter)


class LetterMoving:
    """From one queue to another, so many a second."""

    def __init__(self, sqs: SQSClient, dead_url: str, retry_url: str, rate: float) -> None:
        self._sqs = sqs
        self._dead_url = dead_url
        self._retry_url = retry_url
        self._rate = rate
        self._next_at = time.monotonic()

    def move(self, letter_filter: LetterFilter, depth: Depth, progress: Progress, *, is_dry_run: bool = False) -> Moved:
        """Move what matches of a queue so deep; in a dry run only count it."""
        moved = Moved()
        with QueueReading(self._sqs, self._dead_url, hiding_seconds(depth.visible, self._rate)) as reading:
            for letters in reading.rounds():
                moved.read += len(letters)
                matching = [letter for letter in letters if letter_filter.matches(letter)]
                moved.by_code.update(letter.code for letter in matching)
                if is_dry_run:
                    moved.moved += len(matching)
                else:
                    self._move(matching, reading, moved)
                progress(moved.read, depth.visible)
        moved.is_complete = reading.is_complete
        return moved

    def _move(self, letters: Sequence[QueueMessage], reading: QueueReading, moved: Moved) -> None:
        for batch in _batches(letters, max(1, min(ROUND, int(self._rate)))):
            self._wait(len(batch))
            sent = self._send(batch)
            deleted = reading.delete(sent)
            moved.moved += len(deleted)
            moved.in_both += len(sent) - len(deleted)
            moved.not_taken += len(batch) - len(sent)

    def _wait(self, letters: int) -> None:
        """Until it is the turn of so many letters."""
        time.sleep(max(0.0, self._next_at - time.monotonic()))
        self._next_at = max(self._next_at, time.monotonic()) + letters / self._rate

    def _send(self, batch: Sequence[QueueMessage]) -> list[str]:
        """The ids of those that the retry queue has, as SQS confirms."""
        answer = self._sqs.send_message_batch(
            QueueUrl=self._retry_url, Entries=[_entry(number, letter) for number, letter in enumerate(batch)]
        )
        return [batch[int(entry["Id"])].sqs_id for entry in answer.get("Successful", ())]


def _entry(number: int, letter: QueueMessage) -> SendMessageBatchRequestEntryTypeDef:
    entry: SendMessageBatchRequestEntryTypeDef = {"Id": str(number), "MessageBody": letter.body}
    if letter.attributes:
        entry["MessageAttributes"] = letter.attributes
    return entry


def _batches(letters: Sequence[QueueMessage], most: int) -> Iterator[list[QueueMessage]]:
    """Groups that SQS takes at once: by number, and by their bytes together."""
    batch: list[QueueMessage] = []
    size = 0
    for letter in letters:
        bytes_ = _size(letter)
        if batch and (len(batch) == most or size + bytes_ > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(letter)
        size += bytes_
    if batch:
        yield batch


def _size(letter: QueueMessage) -> int:
    """As SQS counts: the body, and the attributes' names, types and values."""
    attributes: Any = letter.attributes.items()
    values = sum(len(name) + sum(len(str(part).encode()) for part in value.values()) for name, value in attributes)
    return len(letter.body.encode()) + values


class MoveTask:
    """SQS's own redrive of everything, which goes on without us.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
    """

    def __init__(self, sqs: SQSClient, dead_url: str, retry_url: str, rate: float) -> None:
        self._sqs = sqs
        self._dead_arn = _arn(sqs, dead_url)
        # Without a destination SQS refuses: the functions put the letters there, from no queue that it knows.
        self._retry_arn = _arn(sqs, retry_url)
        self._rate = max(1, min(MOST_A_SECOND, round(rate)))

    def start(self) -> bool:
        """Start it, or find the one that runs; False where SQS has no such thing."""
        try:
            if self._newest().get("Status") not in _GOES_ON:
                self._sqs.start_message_move_task(
                    SourceArn=self._dead_arn,
                    DestinationArn=self._retry_arn,
                    MaxNumberOfMessagesPerSecond=self._rate,
                )
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _NOT_OFFERED:
                return False
            raise
        return True

    def watch(self, progress: Progress) -> int:
        """How many were moved, when it has ended. Interrupted, it is cancelled. Raises CommandFailed."""
        try:
            while (task := self._newest()).get("Status") in _GOES_ON:
                progress(
                    task.get("ApproximateNumberOfMessagesMoved", 0), task.get("ApproximateNumberOfMessagesToMove", 0)
                )
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._cancel()
            raise
        moved = task.get("ApproximateNumberOfMessagesMoved", 0)
        if task.get("Status") != "COMPLETED":
            problem = f"SQS's redrive has {task.get('Status', 'gone').lower()} after {moved} messages"
            raise CommandFailed(problem, task.get("FailureReason", "run the command again: it goes on"))
        return moved

    def _newest(self) -> ListMessageMoveTasksResultEntryTypeDef:
        results = self._sqs.list_message_move_tasks(SourceArn=self._dead_arn, MaxResults=1).get("Results", [])
        return results[0] if results else {}

    def _cancel(self) -> None:
        if handle := self._newest().get("TaskHandle"):
            self._sqs.cancel_message_move_task(TaskHandle=handle)


def _arn(sqs: SQSClient, queue_url: str) -> str:
    return sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
