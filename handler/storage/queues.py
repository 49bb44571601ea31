"""The two SQS queues: the retry queue and the dead-letter queue. Both hold failure records.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.deadline import Deadline
from handler.model.errors import NotStored
from handler.model.failure_record import MAX_MESSAGE_BYTES, FailureRecord
from handler.threads import Threads

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_BATCH_ENTRIES = 10
MAX_BATCH_BYTES = MAX_MESSAGE_BYTES
MAX_DELAY_SECONDS = 15 * 60
MAX_VISIBILITY_SECONDS = 11 * 60 * 60  # SQS allows 12 hours from when the message was received

_SENDS_PER_QUEUE = 2

# Messages with a group make a queue fair: a source with a backlog does not hold up the events of another. The text of a
# group has up to 128 letters, digits and punctuation marks:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-fair-queues.html
_GROUP = re.compile(r"[!-~]{1,128}")


class NewMessage(NamedTuple):
    """A record to store; SQS hides it for `delay_seconds` at first."""

    record: FailureRecord
    delay_seconds: int = 0


class Queues:
    """Stores failure records: in the retry queue, or in the dead-letter queue. Thread-safe."""

    def __init__(
        self, sqs: Callable[[], SQSClient], retry_queue_url: str, dead_letter_queue_url: str, threads: Threads
    ) -> None:
        self._sqs = sqs
        self._retry_queue_url = retry_queue_url
        self._dead_letter_queue_url = dead_letter_queue_url
        self._threads = threads

    def store(self, retries: Sequence[NewMessage], dead_letters: Sequence[NewMessage], deadline: Deadline) -> None:
        """Store every message in its queue, or in the other queue where its own does not take it.

        Raises NotStored where neither takes it, or where not all are known to be stored by the deadline.
        """
        retry, dead = self._retry_queue_url, self._dead_letter_queue_url
        send = partial(self._send, deadline=deadline)
        left = send(dead, send(retry, retries)) + send(retry, send(dead, dead_letters))
        if left:
            count = len(retries) + len(dead_letters)
            raise NotStored(f"{len(left)} of {count} events could be stored in neither queue in time")

    def retry(self, messages: Sequence[NewMessage], deadline: Deadline) -> list[NewMessage]:
        """Store messages in the retry queue, and return those that it is not known to have taken."""
        return self._send(self._retry_queue_url, messages, deadline)

    def dead_letter(self, records: Sequence[FailureRecord], deadline: Deadline) -> list[FailureRecord]:
        """Store records in the dead-letter queue, and return those that it is not known to have taken."""
        left = self._send(self._dead_letter_queue_url, list(map(NewMessage, records)), deadline)
        return [message.record for message in left]

    def extend_visibility(self, seconds_by_receipt: Mapping[str, int], deadline: Deadline) -> None:
        """Hide received messages of the retry queue, by receipt handle, for so many seconds from now.

        Where that fails a message is visible again after the queue's own visibility timeout: it is not lost.
        """
        entries = list(seconds_by_receipt.items())
        batches = [entries[start : start + MAX_BATCH_ENTRIES] for start in range(0, len(entries), MAX_BATCH_ENTRIES)]
        self._threads.run([partial(self._extend_visibility_of, batch) for batch in batches], deadline)

    def _extend_visibility_of(self, batch: Sequence[tuple[str, int]]) -> None:
        with suppress(ClientError, BotoCoreError):
            self._sqs().change_message_visibility_batch(
                QueueUrl=self._retry_queue_url,
                Entries=[
                    {
                        "Id": str(number),
                        "ReceiptHandle": receipt,
                        "VisibilityTimeout": min(seconds, MAX_VISIBILITY_SECONDS),
                    }
                    for number, (receipt, seconds) in enumerate(batch)
                ],
            )

    def _send(self, queue_url: str, messages: Sequence[NewMessage], deadline: Deadline) -> list[NewMessage]:
        """Send messages to one queue, and return those that it is not known to have taken."""
        left = list(messages)
        for _ in range(_SENDS_PER_QUEUE):
            if not left or deadline.seconds_left <= 0:
                break
            batches = list(_batches(left))
            refused = self._threads.run([partial(self._send_batch, queue_url, batch) for batch in batches], deadline)
            left = [
                message
                for batch, of_batch in zip(batches, refused, strict=True)
                for message in ([entry.message for entry in batch] if of_batch is None else of_batch)
            ]
        return left

    def _send_batch(self, queue_url: str, batch: Sequence[_Entry]) -> list[NewMessage]:
        entries = [entry.entry for entry in batch]
        try:
            answer = self._sqs().send_message_batch(QueueUrl=queue_url, Entries=entries)
        except (ClientError, BotoCoreError):
            return [entry.message for entry in batch]
        # A 200 may hold entries that failed: only those under Successful are stored.
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html
        stored = {entry["Id"] for entry in answer.get("Successful", ())}
        return [entry.message for entry in batch if entry.entry["Id"] not in stored]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A message as SendMessageBatch takes it, and the bytes that SQS counts for it."""

    message: NewMessage
    entry: SendMessageBatchRequestEntryTypeDef
    size: int


def _batches(messages: Sequence[NewMessage]) -> Iterator[list[_Entry]]:
    """Group messages as SendMessageBatch takes them: by their number and by their size together."""
    batch: list[_Entry] = []
    size = 0
    for number, message in enumerate(messages):
        entry = _entry(str(number), message)
        if batch and (len(batch) == MAX_BATCH_ENTRIES or size + entry.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += entry.size
    if batch:
        yield batch


def _entry(entry_id: str, message: NewMessage) -> _Entry:
    body, attributes = message.record.to_message()
    # SQS counts the body, and each attribute's name, type and value.
    size = len(body) + sum(len(name) + sum(map(len, value.values())) for name, value in attributes.items())
    entry: SendMessageBatchRequestEntryTypeDef = {
        "Id": entry_id,
        "MessageBody": body,
        "MessageAttributes": attributes,
        "DelaySeconds": min(message.delay_seconds, MAX_DELAY_SECONDS),
    }
    if _GROUP.fullmatch(message.record.source):
        entry["MessageGroupId"] = message.record.source
        size += len(message.record.source)
    return _Entry(message, entry, size)
