"""Moves messages from the dead-letter queue to the retry queue without losing any, wherever it is interrupted.

A message is deleted only after SQS has confirmed that the retry queue has it. An interrupted message is in both queues
and is moved again by the next run. That is harmless: a track is delivered once because of its idempotency record, and
an identify that is delivered twice has the same effect as once.

SQS can move a whole queue itself. But its task takes no filter, it counts approximately, and AWS does not say that it
leaves messages alone that arrive meanwhile.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cli.dead_letters.filters import MessageFilter
from cli.dead_letters.messages import QueueMessage
from cli.dead_letters.reading import BATCH, QueueReader

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_BATCH_BYTES = 1024 * 1024

Progress = Callable[[int, int], object]  # the messages that are done, and about how many there are


@dataclass
class Moved:
    """Numbers of messages: moved, in both queues, and still in the dead-letter queue only."""

    moved: int = 0
    in_both: int = 0
    not_moved: int = 0
    by_code: Counter[str] = field(default_factory=Counter)

    def add(self, messages: Sequence[QueueMessage]) -> None:
        """Count messages that are moved."""
        self.moved += len(messages)
        self.by_code.update(message.code for message in messages)


def move(
    sqs: SQSClient,
    reader: QueueReader,
    retry_url: str,
    wanted: MessageFilter,
    moved: Moved,
    *,
    rate: float,
    is_dry_run: bool,
    progress: Progress,
) -> None:
    """Move the messages that match, `rate` a second, and count them in `moved`; in a dry run only count them."""
    next_at = time.monotonic()
    read = 0
    for messages in reader.batches():
        read += len(messages)
        matching = [message for message in messages if wanted.matches(message)]
        for batch in _batches(matching, max(1, min(BATCH, int(rate)))):
            if is_dry_run:
                moved.add(batch)
                continue
            time.sleep(max(0.0, next_at - time.monotonic()))
            next_at = max(next_at, time.monotonic()) + len(batch) / rate
            sent = _send(sqs, retry_url, batch)
            deleted = set(reader.delete(sent))
            moved.add([message for message in batch if message.sqs_id in deleted])
            moved.in_both += len(sent) - len(deleted)
            moved.not_moved += len(batch) - len(sent)
        progress(read, reader.depth.visible)


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
