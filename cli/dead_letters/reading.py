"""Reading a queue of SQS and leaving it as it was: what is received is hidden, and shown again at the end.

SQS keeps no order and no place to go on from. So everything that was read stays hidden until the end: else the same
messages would come again, and others never.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from botocore.exceptions import BotoCoreError, ClientError

from cli.dead_letters.messages import QueueMessage

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# SQS answers so many at most, and with a wait it asks all its servers, so that no answer means no message.
ROUND = 10
WAIT_SECONDS = 2

# SQS hides 120,000 messages of a queue at most, those of others too.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MOST_HIDDEN = 100_000

_LEAST_SECONDS, _MOST_SECONDS = 120, 11 * 60 * 60


@dataclass(frozen=True)
class Depth:
    """About how many messages a queue has: to be seen, hidden by whoever received them, and not yet due."""

    visible: int
    hidden: int
    delayed: int

    @classmethod
    def of(cls, sqs: SQSClient, queue_url: str) -> Depth:
        answer = sqs.get_queue_attributes(
            QueueUrl=queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
                "ApproximateNumberOfMessagesDelayed",
            ],
        )["Attributes"]
        return cls(
            visible=int(answer["ApproximateNumberOfMessages"]),
            hidden=int(answer["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(answer["ApproximateNumberOfMessagesDelayed"]),
        )


def hiding_seconds(messages: int, rate: float) -> int:
    """Twice what it takes to go through so many messages: a message that shows itself too soon is read again."""
    return round(min(_MOST_SECONDS, max(_LEAST_SECONDS, 60 + 2 * messages / rate)))


class QueueReading:
    """Letters of a queue, each once; what is not deleted can be seen again at the end, whatever ended it."""

    def __init__(self, sqs: SQSClient, queue_url: str, seconds: int, at_most: int = MOST_HIDDEN) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._seconds = seconds
        self._at_most = at_most
        self._receipts: dict[str, str] = {}  # of what is hidden, the newest of each message
        self._deleted: set[str] = set()
        self.is_complete = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        hidden = list(self._receipts.values())
        for start in range(0, len(hidden), ROUND):
            # Where it fails, the message shows itself when its time is over.
            with suppress(ClientError, BotoCoreError):
                self._sqs.change_message_visibility_batch(
                    QueueUrl=self._queue_url,
                    Entries=[
                        {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                        for number, receipt in enumerate(hidden[start : start + ROUND])
                    ],
                )

    def rounds(self) -> Iterator[list[QueueMessage]]:
        """A few letters at a time, until no other can be seen; `is_complete` says so then."""
        while len(self._receipts) < self._at_most:
            answer = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=ROUND,
                WaitTimeSeconds=WAIT_SECONDS,
                VisibilityTimeout=self._seconds,
                MessageSystemAttributeNames=["SentTimestamp"],
                MessageAttributeNames=["All"],
            )
            letters = [QueueMessage.of_message(message) for message in answer.get("Messages", ())]
            if not letters:
                self.is_complete = True
                return
            if fresh := self._fresh(letters):
                yield fresh

    def letters(self) -> Iterator[QueueMessage]:
        """As `rounds`, one by one."""
        for letters in self.rounds():
            yield from letters

    def delete(self, sqs_ids: Sequence[str]) -> list[str]:
        """Delete letters that were read; the ids of those that are deleted, as SQS says."""
        deleted: list[str] = []
        for start in range(0, len(sqs_ids), ROUND):
            some = sqs_ids[start : start + ROUND]
            answer = self._sqs.delete_message_batch(
                QueueUrl=self._queue_url,
                Entries=[
                    {"Id": str(number), "ReceiptHandle": self._receipts[sqs_id]} for number, sqs_id in enumerate(some)
                ],
            )
            gone = [some[int(entry["Id"])] for entry in answer.get("Successful", ())]
            for sqs_id in gone:
                del self._receipts[sqs_id]
            self._deleted.update(gone)
            deleted += gone
        return deleted

    def _fresh(self, letters: Sequence[QueueMessage]) -> list[QueueMessage]:
        """The letters that were not read before. SQS may give one twice, even after it was deleted."""
        fresh = []
        for letter in letters:
            if letter.sqs_id not in self._receipts and letter.sqs_id not in self._deleted:
                fresh.append(letter)
            self._receipts[letter.sqs_id] = letter.receipt
        self.delete([letter.sqs_id for letter in letters if letter.sqs_id in self._deleted])
        return fresh
