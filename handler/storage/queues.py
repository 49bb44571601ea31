"""The failure record and the two SQS queues that keep it.

The record is the same in both, so that an SQS redrive from the dead-letter queue works as it is. Limits:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.deadline import Deadline
from handler.model.errors import NotStored, UnreadableRecord
from handler.model.strict_json import DECODER
from handler.threads import Threads
from handler.voucherify.answers import Failure

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

MAX_BATCH_ENTRIES = 10
MAX_BATCH_BYTES = 1024 * 1024
MAX_DELAY_SECONDS = 15 * 60
MAX_HIDDEN_SECONDS = 11 * 60 * 60  # SQS allows 12 hours from when the message was received

# What the record and its attributes add to the event, at most: a failure message takes up to 12 bytes a character.
MAX_MESSAGE_CHARACTERS = 1000
MAX_EVENT_BYTES = MAX_BATCH_BYTES - 16 * 1024

_SENDS_PER_QUEUE = 2


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """An event that was not delivered, and why.

    `first_failed_at` is in UTC; `attempts` counts calls to Voucherify; `delay_seconds` hides it in the queue at first.
    """

    event: Any
    source: str
    attempts: int
    first_failed_at: datetime
    failure: Failure
    delay_seconds: int = 0

    @classmethod
    def from_message(cls, body: str) -> FailureRecord:
        """The record in a message's body. Raises UnreadableRecord for what this function has not written."""
        try:
            record = DECODER.decode(body)
            failure = record["failure"]
            return cls(
                event=record["event"],
                source=str(record["source"]),
                attempts=int(record["attempts"]),
                first_failed_at=_in_utc(datetime.fromisoformat(record["firstFailedAt"])),
                failure=Failure(str(failure["stage"]), str(failure["code"]), str(failure["message"])),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UnreadableRecord(type(error).__name__) from error

    def to_message(self) -> tuple[str, dict[str, Any]]:
        """The body, ASCII-escaped JSON, and the attributes of the SQS message."""
        record = {
            "event": self.event,
            "source": self.source,
            "attempts": self.attempts,
            "firstFailedAt": self.first_failed_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "failure": {
                "stage": self.failure.stage,
                "code": self.failure.code,
                "message": self.failure.message[:MAX_MESSAGE_CHARACTERS],
            },
        }
        attributes = {
            "code": {"DataType": "String", "StringValue": self.failure.code},
            "stage": {"DataType": "String", "StringValue": self.failure.stage},
        }
        return self._body(record), attributes

    def _body(self, record: dict[str, Any]) -> str:
        with suppress(RecursionError):
            body = _to_json(record)
            if len(body) <= MAX_EVENT_BYTES or is_storable(self.event):
                return body
        return _to_json({**record, "event": _without_payload(self.event)})


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_storable(event: object) -> bool:
    """Whether an SQS message can hold the record of an event: by its size, and by how deeply it is nested."""
    try:
        return len(_to_json(event)) <= MAX_EVENT_BYTES
    except RecursionError:
        return False


def _without_payload(event: object) -> dict[str, str]:
    """What remains of an event that no message can hold: who and what, and no type, so that nothing delivers it."""
    if not isinstance(event, dict):
        return {}
    kept = ("messageId", "userId", "anonymousId", "event", "timestamp")
    return {name: event[name] for name in kept if isinstance(event.get(name), str) and len(event[name]) <= 300}


class Queues:
    """Stores failure records: what may succeed later in the retry queue, what cannot in the dead-letter queue."""

    def __init__(
        self, sqs: Callable[[], SQSClient], retry_queue_url: str, dead_letter_queue_url: str, threads: Threads
    ) -> None:
        self._sqs = sqs
        self._retry_queue_url = retry_queue_url
        self._dead_letter_queue_url = dead_letter_queue_url
        self._threads = threads

    def store(self, records: Sequence[FailureRecord], deadline: Deadline) -> None:
        """Store every record, in the other queue where its own does not take it.

        Raise NotStored where neither does, or where not all are known to be stored by the deadline.
        """
        retry, dead = self._retry_queue_url, self._dead_letter_queue_url
        send = partial(self._send, deadline=deadline)
        retries = [record for record in records if not record.failure.permanent]
        rejected = [record for record in records if record.failure.permanent]
        left = send(dead, send(retry, retries)) + send(retry, send(dead, rejected))
        if left:
            raise NotStored(f"{len(left)} of {len(records)} events could be stored in neither queue in time")

    def dead_letter(self, records: Sequence[FailureRecord], deadline: Deadline) -> list[FailureRecord]:
        """Store records in the dead-letter queue, and return the ones that it is not known to have taken."""
        return self._send(self._dead_letter_queue_url, records, deadline)

    def extend_visibility(self, seconds_by_receipt: Mapping[str, int], deadline: Deadline) -> None:
        """Hide received messages of the retry queue, by their receipt handles, for so many seconds from now.

        Where that fails a message is visible again after the queue's own time: later or sooner, and not lost.
        """
        entries = list(seconds_by_receipt.items())
        batches = [entries[start : start + MAX_BATCH_ENTRIES] for start in range(0, len(entries), MAX_BATCH_ENTRIES)]
        self._threads.run([partial(self._hide, batch) for batch in batches], deadline)

    def _hide(self, batch: Sequence[tuple[str, int]]) -> None:
        with suppress(ClientError, BotoCoreError):
            self._sqs().change_message_visibility_batch(
                QueueUrl=self._retry_queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": min(seconds, MAX_HIDDEN_SECONDS)}
                    for number, (receipt, seconds) in enumerate(batch)
                ],
            )

    def _send(self, queue_url: str, records: Sequence[FailureRecord], deadline: Deadline) -> list[FailureRecord]:
        """Send records to one queue, and return the ones that it is not known to have taken."""
        left = list(records)
        for _ in range(_SENDS_PER_QUEUE):
            if not left or deadline.seconds_left <= 0:
                break
            batches = list(_batches(left))
            refused = self._threads.run([partial(self._send_batch, queue_url, batch) for batch in batches], deadline)
            left = [
                record
                for batch, of_batch in zip(batches, refused, strict=True)
                for record in ([message.record for message in batch] if of_batch is None else of_batch)
            ]
        return left

    def _send_batch(self, queue_url: str, batch: Sequence[_Message]) -> list[FailureRecord]:
        entries = [message.entry for message in batch]
        try:
            answer = self._sqs().send_message_batch(QueueUrl=queue_url, Entries=entries)
        except (ClientError, BotoCoreError):
            return [message.record for message in batch]
        # A 200 may hold entries that failed, and only what is named as successful is stored.
        stored = {entry["Id"] for entry in answer.get("Successful", ())}
        return [message.record for message in batch if message.entry["Id"] not in stored]


@dataclass(frozen=True, slots=True)
class _Message:
    record: FailureRecord
    entry: SendMessageBatchRequestEntryTypeDef
    size: int


def _batches(records: Sequence[FailureRecord]) -> Iterator[list[_Message]]:
    """Messages in groups that SendMessageBatch takes: by number and by their bytes together."""
    batch: list[_Message] = []
    size = 0
    for number, record in enumerate(records):
        message = _message(str(number), record)
        if batch and (len(batch) == MAX_BATCH_ENTRIES or size + message.size > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += message.size
    if batch:
        yield batch


def _message(entry_id: str, record: FailureRecord) -> _Message:
    body, attributes = record.to_message()
    # A message's size is its body's and its attributes' names, types and values.
    size = len(body) + sum(len(name) + sum(map(len, value.values())) for name, value in attributes.items())
    entry: SendMessageBatchRequestEntryTypeDef = {
        "Id": entry_id,
        "MessageBody": body,
        "MessageAttributes": attributes,
        "DelaySeconds": min(record.delay_seconds, MAX_DELAY_SECONDS),
    }
    return _Message(record, entry, size)


def _to_json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
