"""Reads an SQS queue and leaves it as it was: the received messages are hidden, and made visible again at the end.

SQS has no order and no position. If messages became visible while the queue is read, SQS would return the same ones
again and others never.

Messages that arrive after the start are left alone. A message that is moved to the retry queue and fails again comes
back as a new one, and a command that took it for new would never end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from cli.dead_letters.messages import QueueMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# SQS returns 10 messages at most. With long polling it asks all its servers, so that no message means an empty queue.
BATCH = 10
WAIT_SECONDS = 2

# SQS allows 120,000 messages of a queue in flight, including those of other readers.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MOST_IN_FLIGHT = 100_000

READS_PER_SECOND = 20.0  # a slow connection's

_LEAST_SECONDS, _MOST_SECONDS = 120, 11 * 60 * 60


@dataclass(frozen=True)
class Depth:
    """The approximate numbers of messages of a queue: visible, in flight (received by a reader), and delayed.

    `at` is the moment by the clock of AWS.
    """

    visible: int
    in_flight: int
    delayed: int
    at: datetime

    @property
    def is_empty(self) -> bool:
        return not (self.visible or self.in_flight or self.delayed)

    @classmethod
    def of(cls, sqs: SQSClient, queue_url: str) -> Depth:
        asked_at = datetime.now(UTC)
        answer = sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )
        counts = answer["Attributes"]
        return cls(
            visible=int(counts["ApproximateNumberOfMessages"]),
            in_flight=int(counts["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(counts["ApproximateNumberOfMessagesDelayed"]),
            at=moment_of(answer["ResponseMetadata"]["HTTPHeaders"].get("date"), asked_at),
        )


def queue_arn(sqs: SQSClient, queue_url: str) -> str:
    return sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def moment_of(date: str | None, asked_at: datetime) -> datetime:
    """Return the moment of an answer by the clock of AWS, given its header `Date` and this machine's time of the call.

    The header has whole seconds. This machine's clock tells the fraction, unless it is wrong by more; and all where a
    proxy has removed the header.
    """
    if date is None:
        return asked_at
    second = parsedate_to_datetime(date)
    return asked_at if second <= asked_at < second + timedelta(seconds=1) else second


class QueueReader:
    """Reads each message that a queue has at the start, once. At the end, those not deleted become visible again.

    `rate` is the lowest number of messages a second at which the caller works, and `at_least` the seconds for which
    the messages stay hidden in any case.
    """

    def __init__(
        self,
        sqs: SQSClient,
        queue_url: str,
        *,
        rate: float = READS_PER_SECOND,
        at_least: int = _LEAST_SECONDS,
        at_most: int = MOST_IN_FLIGHT,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._at_most = at_most
        self._receipts: dict[str, str] = {}  # the newest of each hidden message, by id
        self._deleted: set[str] = set()
        self.depth = Depth.of(sqs, queue_url)
        self.arrived_since = 0
        self.is_complete = False
        # Twice the expected time: a message that becomes visible too early is read again.
        expected = 60 + 2 * min(at_most, self.depth.visible) / rate
        self._visibility_timeout = round(min(_MOST_SECONDS, max(at_least, expected)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        receipts = list(self._receipts.values())
        for start in range(0, len(receipts), BATCH):
            # If it fails, the messages become visible when their visibility timeout ends.
            try:
                with suppress(ClientError, BotoCoreError):
                    self._sqs.change_message_visibility_batch(
                        QueueUrl=self._queue_url,
                        Entries=[
                            {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                            for number, receipt in enumerate(receipts[start : start + BATCH])
                        ],
                    )
            except KeyboardInterrupt:
                hidden, minutes = len(receipts) - start, ceil(self._visibility_timeout / 60)
                left = f"{hidden} messages that were read are visible again in {minutes} minutes at the latest"
                raise KeyboardInterrupt(left) from error

    def batches(self) -> Iterator[list[QueueMessage]]:
        """Yield a few messages at a time. `is_complete` is true after the last visible message."""
        while len(self._receipts) < self._at_most:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=WAIT_SECONDS,
                VisibilityTimeout=self._visibility_timeout,
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            )
            messages = [QueueMessage.of_message(message) for message in answer.get("Messages", ())]
            if not messages:
                self.is_complete = True
                return
            if new := self._new(messages):
                yield new

    def messages(self) -> Iterator[QueueMessage]:
        """Yield the messages one by one."""
        for batch in self.batches():
            yield from batch

    @property
    def deleted(self) -> int:
        """The number of messages that are deleted so far."""
        return len(self._deleted)

    def delete(self, sqs_ids: Sequence[str]) -> list[str]:
        """Delete messages that were read, and return the ids that SQS confirms."""
        deleted: list[str] = []
        for start in range(0, len(sqs_ids), BATCH):
            batch = sqs_ids[start : start + BATCH]
            answer = self._sqs.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": self._receipts[sqs_id]} for number, sqs_id in enumerate(batch)
                ],
            )
            confirmed = [batch[int(entry["Id"])] for entry in answer.get("Successful", ())]
            for sqs_id in confirmed:
                del self._receipts[sqs_id]
            self._deleted.update(confirmed)
            deleted += confirmed
        return deleted

    def _new(self, messages: Sequence[QueueMessage]) -> list[QueueMessage]:
        """Return the messages that were not read before. SQS may return one twice, even after it was deleted."""
        new = []
        for message in messages:
            if message.sqs_id not in self._receipts and message.sqs_id not in self._deleted:
                if message.sent_at > self.depth.at:
                    self.arrived_since += 1
                else:
                    new.append(message)
            self._receipts[message.sqs_id] = message.receipt
        self.delete([message.sqs_id for message in messages if message.sqs_id in self._deleted])
        return new
