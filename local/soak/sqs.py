"""SQS for the soak, in this process: its JSON protocol over HTTP for the function, plain calls for Lambda's poller.

moto takes milliseconds for each call, and its time is the real one. Here time can be skipped, so that nobody waits for
hours of backoff. It implements delays, visibility by receipt handle, receive counts, the move of messages that are
received too often to the dead-letter queue, and the limits of a request.
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/Welcome.html
"""

from __future__ import annotations

import hashlib
import heapq
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from cli.planning.deployment import MAX_RECEIVES, WORKER_TIME_OUT_SECONDS
from local.stack.http_server import HttpRequest, HttpServer, Reply

Json = dict[str, Any]

VISIBILITY_SECONDS = 6 * WORKER_TIME_OUT_SECONDS

MAX_ENTRIES = 10
MAX_BYTES = 1024 * 1024
MAX_DELAY_SECONDS = 15 * 60
MAX_VISIBILITY_SECONDS = 12 * 60 * 60


@dataclass(slots=True)
class Message:
    """A message that can be received from `visible_at` on, in the time of the queues."""

    body: str
    attributes: Json
    sent_at: float
    visible_at: float
    message_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    receipt: str = ""
    receives: int = 0


class SkippingClock:
    """The seconds since the epoch, plus the skipped ones."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        return time.time() + self.skipped


class Queue:
    """A thread-safe queue. `history` has its length after each change."""

    def __init__(self, clock: SkippingClock) -> None:
        self.history: list[tuple[float, int]] = []
        self._clock = clock
        self._lock = threading.Lock()
        self._messages: dict[str, Message] = {}
        self._by_receipt: dict[str, Message] = {}
        self._due: list[tuple[float, str]] = []  # a heap; an entry that differs from its message is void

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def messages(self) -> list[Message]:
        with self._lock:
            return list(self._messages.values())

    @property
    def seconds_until_visible(self) -> float | None:
        """The time until the next message can be received, or None where there is none."""
        with self._lock:
            self._drop_void()
            return max(0.0, self._due[0][0] - self._clock()) if self._due else None

    def add(self, message: Message) -> None:
        with self._lock:
            self._messages[message.message_id] = message
            self._schedule(message, message.visible_at)
            self._note()

    def receive(self, at_most: int) -> list[Message]:
        received: list[Message] = []
        with self._lock:
            self._drop_void()
            while self._due and len(received) < at_most and self._due[0][0] <= self._clock():
                message = self._messages[heapq.heappop(self._due)[1]]
                message.receives += 1
                self._by_receipt.pop(message.receipt, None)
                message.receipt = str(uuid.uuid4())
                self._by_receipt[message.receipt] = message
                self._schedule(message, self._clock() + VISIBILITY_SECONDS)
                received.append(message)
                self._drop_void()
        return received

    def hide(self, receipt: str, seconds: float) -> bool:
        """Set a visibility timeout. Return False where no message has this receipt handle now."""
        with self._lock:
            if message := self._by_receipt.get(receipt):
                self._schedule(message, self._clock() + seconds)
            return message is not None

    def delete(self, messages: Sequence[Message]) -> None:
        with self._lock:
            for message in messages:
                del self._messages[message.message_id]
                self._by_receipt.pop(message.receipt, None)
            self._note()

    def _schedule(self, message: Message, visible_at: float) -> None:
        message.visible_at = visible_at
        heapq.heappush(self._due, (visible_at, message.message_id))

    def _drop_void(self) -> None:
        while self._due:
            visible_at, message_id = self._due[0]
            message = self._messages.get(message_id)
            if message and message.visible_at == visible_at:
                break
            heapq.heappop(self._due)

    def _note(self) -> None:
        self.history.append((self._clock(), len(self._messages)))


class SqsStub:
    """The retry queue and the dead-letter queue."""

    def __init__(self) -> None:
        self.clock = SkippingClock()
        self.retry = Queue(self.clock)
        self.dead = Queue(self.clock)
        self.received_too_often = 0

    @contextmanager
    def serving(self) -> Iterator[dict[str, str]]:
        """Serve the function's calls, and yield the environment variables that lead here."""
        with closing(HttpServer(0, self._respond)) as server:
            url = f"http://127.0.0.1:{server.port}"
            yield {
                "AWS_ENDPOINT_URL_SQS": url,
                "RETRY_QUEUE_URL": f"{url}/123456789012/RetryQueue",
                "DEAD_LETTER_QUEUE_URL": f"{url}/123456789012/DeadLetterQueue",
            }

    def skip_to_next_message(self) -> None:
        """Skip the time until a message of the retry queue can be received."""
        if seconds := self.retry.seconds_until_visible:
            self.clock.skipped += seconds

    def receive(self, at_most: int) -> list[Message]:
        """Receive messages as Lambda's poller does. Move those received too often to the dead-letter queue instead."""
        received = self.retry.receive(at_most)
        too_often = [message for message in received if message.receives > MAX_RECEIVES]
        self.retry.delete(too_often)
        for message in too_often:
            self.received_too_often += 1
            self.dead.add(message)
        return [message for message in received if message.receives <= MAX_RECEIVES]

    def lambda_event(self, messages: Sequence[Message]) -> Json:
        """Return Lambda's event, in the time of the function, which knows nothing of skips.

        https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
        """
        return {
            "Records": [
                {
                    "messageId": message.message_id,
                    "receiptHandle": message.receipt,
                    "body": message.body,
                    "attributes": {
                        "ApproximateReceiveCount": str(message.receives),
                        "SentTimestamp": str(int((message.sent_at - self.clock.skipped) * 1000)),
                    },
                    "messageAttributes": {
                        name: {"stringValue": value["StringValue"], "dataType": value["DataType"]}
                        for name, value in message.attributes.items()
                    },
                    "eventSource": "aws:sqs",
                    "eventSourceARN": "arn:aws:sqs:eu-west-1:123456789012:RetryQueue",
                    "awsRegion": "eu-west-1",
                }
                for message in messages
            ]
        }

    def _respond(self, request: HttpRequest) -> Reply:
        action = request.headers.get("X-Amz-Target", "").partition(".")[2]
        payload = json.loads(request.body)
        queue = self.retry if payload["QueueUrl"].endswith("/RetryQueue") else self.dead
        try:
            answer = _ACTIONS[action](self, queue, payload["Entries"])
        except _Refused as refused:
            error = {"__type": f"com.amazonaws.sqs#{refused}", "message": str(refused)}
            return Reply(400, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(error).encode())
        return Reply(200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(answer).encode())

    def _send(self, queue: Queue, entries: Sequence[Json]) -> Json:
        _check_entries(entries)
        if any(not 0 <= entry.get("DelaySeconds", 0) <= MAX_DELAY_SECONDS for entry in entries):
            raise _Refused("InvalidParameterValue")
        if sum(map(_size, entries)) > MAX_BYTES:
            raise _Refused("BatchRequestTooLong")
        taken = []
        for entry in entries:
            now = self.clock()
            delay = entry.get("DelaySeconds", 0)
            message = Message(entry["MessageBody"], entry.get("MessageAttributes", {}), now, now + delay)
            queue.add(message)
            digest = hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest()
            taken.append({"Id": entry["Id"], "MessageId": message.message_id, "MD5OfMessageBody": digest})
        return {"Successful": taken, "Failed": []}

    def _hide(self, queue: Queue, entries: Sequence[Json]) -> Json:
        _check_entries(entries)
        done, failed = [], []
        for entry in entries:
            seconds = entry["VisibilityTimeout"]
            if 0 <= seconds <= MAX_VISIBILITY_SECONDS and queue.hide(entry["ReceiptHandle"], seconds):
                done.append({"Id": entry["Id"]})
            else:
                failed.append({"Id": entry["Id"], "SenderFault": True, "Code": "InvalidParameterValue"})
        return {"Successful": done, "Failed": failed}


class _Refused(Exception):
    """The text is SQS's error code."""


_ACTIONS: dict[str, Callable[[SqsStub, Queue, Sequence[Json]], Json]] = {
    "SendMessageBatch": SqsStub._send,
    "ChangeMessageVisibilityBatch": SqsStub._hide,
}


def _check_entries(entries: Sequence[Json]) -> None:
    if not entries:
        raise _Refused("EmptyBatchRequest")
    if len(entries) > MAX_ENTRIES:
        raise _Refused("TooManyEntriesInBatchRequest")
    if len({entry["Id"] for entry in entries}) < len(entries):
        raise _Refused("BatchEntryIdsNotDistinct")


def _size(entry: Json) -> int:
    attributes = entry.get("MessageAttributes", {})
    return len(entry["MessageBody"]) + sum(
        len(name) + sum(map(len, value.values())) for name, value in attributes.items()
    )
