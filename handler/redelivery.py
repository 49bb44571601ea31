"""The worker: what lies in the retry queue goes to Voucherify by the same delivery, until it is delivered or too old.

SQS invokes it with a batch of messages and is answered which of them to keep:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from handler.backoff import RANDOM, backoff_seconds
from handler.delivery import Arrival
from handler.environment import Environment
from handler.errors import Unavailable, UnknownSource, UnreadableRecord
from handler.outcome import Failure
from handler.pace import Pace
from handler.queues import FailureRecord
from handler.sandbox import Sandbox
from handler.sources import DEFAULT_SOURCE
from handler.tally import Tally

# Kept back of the function's time-out for burying, hiding and answering; a third of it where it is short.
RESERVE_SECONDS = 5.0

# A message that was received so often may have crashed the function each time; most have only failed for long.
SUSPECT_RECEIVES = 5

# Longer than the function runs, so that no message comes back while it is still being handled.
SCATTER_SECONDS = 120

UNREADABLE = Failure("decode", "unreadable_record", "the message is no failure record", permanent=True)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver a batch of the retry queue; the answer names the messages that stay there."""
    seconds = context.get_remaining_time_in_millis() / 1000
    request_id = getattr(context, "aws_request_id", "")
    failed = kept_redelivery().handle(event["Records"], seconds, request_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


@cache
def kept_redelivery() -> Redelivery:
    """Made with the first batch and kept for the life of the sandbox, whose environment does not change.

    Raises FaultyEnvironment, and tries again with the next batch.
    """
    return Redelivery(Sandbox(Environment.read(os.environ)))


@dataclass(frozen=True, slots=True)
class Message:
    """One SQS message: how to name it and how to hide it, how old it is, and the record in it."""

    message_id: str
    receipt: str
    age_seconds: float
    receives: int
    record: FailureRecord

    def with_failure(self, failure: Failure) -> Message:
        """The same message with its newest failure. Each receive counts as an attempt: at most so many were made."""
        attempts = self.record.attempts + self.receives
        return replace(self, record=replace(self.record, attempts=attempts, failure=failure))


class Redelivery:
    """Handles batches of the retry queue with the collaborators of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._telemetry = sandbox.telemetry

    def handle(
        self,
        records: Sequence[Mapping[str, Any]],
        seconds_until_time_out: float,
        request_id: str = "",
    ) -> list[str]:
        """The ids of the messages that stay in the queue; all others are done with."""
        deadline = time.monotonic() + seconds_until_time_out - min(RESERVE_SECONDS, seconds_until_time_out / 3)
        self._telemetry.begin(request_id)
        now = time.time()
        messages = [_read(record, now) for record in records]
        self._scatter_suspects(messages)
        dead, alive = self._told_apart(messages)
        by_source: dict[str, list[Message]] = {}
        for message in alive:
            by_source.setdefault(message.record.source, []).append(message)

        def deliver(source: str) -> tuple[list[Message], list[Message]]:
            return self._deliver(source, by_source[source], lambda unsettled: deadline - time.monotonic())

        # Each source in its own thread: while one waits for its window of calls, another goes on.
        with ThreadPoolExecutor(max(1, len(by_source))) as threads:
            sorted_out = list(threads.map(deliver, by_source))
        kept = [message for kept, _ in sorted_out for message in kept]
        refused = [message for _, refused in sorted_out for message in refused]
        failed = [message.message_id for message in kept + self._bury(dead + refused)]
        self._telemetry.batch(len(messages), len(failed))
        return failed

    def _deliver(
        self, source: str, messages: Sequence[Message], time_left: Callable[[int], float]
    ) -> tuple[list[Message], list[Message]]:
        """The messages that are to be tried again, already hidden until then, and those that can never succeed."""
        try:
            settings = self._sandbox.sources.settings(source)
        except UnknownSource as error:
            self._telemetry.unknown_source(error)
            return self._kept_untried(messages)
        except Unavailable as error:
            self._telemetry.unavailable(error, source)
            return self._kept_untried(messages)
        arrivals = [Arrival(message.record.event, message.record.first_failed_at) for message in messages]
        results = self._sandbox.delivery(settings, patient=True).deliver(arrivals, time_left)
        pace = self._sandbox.project(settings).pace
        refused: list[Message] = []
        kept: list[Message] = []
        hidden: dict[str, int] = {}
        for message, result in zip(messages, results, strict=True):
            if failure := result.failure:
                self._telemetry.not_delivered(result, source, age_seconds=round(message.age_seconds))
                if failure.permanent:
                    refused.append(message.with_failure(failure))
                else:
                    kept.append(message)
                    hidden[message.receipt] = _seconds_until_next_try(message, failure, pace)
        self._sandbox.queues.postpone(hidden)
        self._telemetry.redelivered(Tally(results), source, [message.age_seconds for message in messages])
        return kept, refused

    def _kept_untried(self, messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
        self._sandbox.queues.postpone({message.receipt: backoff_seconds(message.age_seconds) for message in messages})
        return list(messages), []

    def _told_apart(self, messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
        """The messages to give up, unreadable or too old, and those to deliver, the oldest first."""
        dead: list[Message] = []
        alive: list[Message] = []
        for message in sorted(messages, key=_order):
            is_too_old = message.age_seconds > self._sandbox.environment.retry_hours * 3600
            if is_too_old or message.record.failure.permanent:
                self._telemetry.given_up(message.record, message.age_seconds)
                dead.append(message)
            else:
                alive.append(message)
        return dead, alive

    def _bury(self, messages: Sequence[Message]) -> list[Message]:
        """Move messages to the dead-letter queue, each with its last failure; those that it did not take come back."""
        not_taken = {id(record) for record in self._sandbox.queues.bury([message.record for message in messages])}
        self._telemetry.buried(message.record for message in messages if id(message.record) not in not_taken)
        return [message for message in messages if id(message.record) in not_taken]

    def _scatter_suspects(self, messages: Sequence[Message]) -> None:
        """See to it that messages that may crash the function come back one by one, and so spare each other."""
        suspects = [message for message in messages if message.receives >= SUSPECT_RECEIVES]
        if len(suspects) > 1:
            self._sandbox.queues.postpone(
                {suspect.receipt: RANDOM.randint(SCATTER_SECONDS, 2 * SCATTER_SECONDS) for suspect in suspects}
            )


def _read(record: Mapping[str, Any], now: float) -> Message:
    """One record of the SQS event. https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    attributes = record["attributes"]
    try:
        failure_record = FailureRecord.from_message(record["body"])
    except UnreadableRecord:
        failure_record = FailureRecord(record["body"], DEFAULT_SOURCE, 0, datetime.fromtimestamp(now, UTC), UNREADABLE)
    return Message(
        message_id=record["messageId"],
        receipt=record["receiptHandle"],
        # Since when it lies in the queue: after a redrive that is a new time, so that RETRY_HOURS begin anew.
        age_seconds=max(0.0, now - int(attributes["SentTimestamp"]) / 1000),
        receives=int(attributes["ApproximateReceiveCount"]),
        record=failure_record,
    )


def _order(message: Message) -> tuple[datetime, float]:
    """The oldest first: SQS keeps no order, and stores a request's events side by side, in the same millisecond."""
    return message.record.first_failed_at, -message.age_seconds


def _seconds_until_next_try(message: Message, failure: Failure, pace: Pace) -> int:
    if failure.waits:
        return math.ceil(pace.seconds_until_next_turn())
    return backoff_seconds(message.age_seconds)
