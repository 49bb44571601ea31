"""The worker: what lies in the retry queue goes to Voucherify by the same delivery, until it is delivered or too old.

SQS invokes it with a batch of messages and is answered which of them to keep:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html#services-sqs-batchfailurereporting
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSEvent, SQSRecord

from handler.delivery.backoff import RANDOM, backoff_seconds
from handler.delivery.dispatcher import Job, Outcome
from handler.delivery.rate_limiter import RateLimiter
from handler.model.batch_summary import BatchSummary
from handler.model.deadline import Deadline
from handler.model.errors import Unavailable, UnknownSource, UnreadableRecord
from handler.runtime import Runtime
from handler.settings.environment import Environment
from handler.settings.sources import DEFAULT_SOURCE
from handler.storage.queues import FailureRecord
from handler.voucherify.answers import Failure

# Kept back of the function's time-out for burying, hiding and answering, and of that for answering alone; a third and a
# tenth of the time-out where it is short.
RESERVE_SECONDS = 5.0
ANSWER_SECONDS = 0.5

# A message that was received so often may have crashed the function each time; most have only failed for long.
SUSPECT_RECEIVES = 5

# Longer than the function runs, so that no message comes back while it is still being handled.
SCATTER_SECONDS = 120

UNREADABLE = Failure("decode", "unreadable_record", "the message is no failure record", permanent=True)


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Deliver a batch of the retry queue; the answer names the messages that stay there."""
    seconds = context.get_remaining_time_in_millis() / 1000
    request_id = getattr(context, "aws_request_id", "")
    failed = retry_worker().handle(SQSEvent(event).records, seconds, request_id)
    return {"batchItemFailures": [{"itemIdentifier": message_id} for message_id in failed]}


@cache
def retry_worker() -> RetryWorker:
    """Made with the first batch and kept for the life of the sandbox, whose environment does not change.

    Raises FaultyEnvironment, and tries again with the next batch.
    """
    return RetryWorker(Runtime(Environment.read(os.environ)))


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


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What became of one source's messages: a result for each, None where a `problem` kept all from being tried."""

    source: str
    messages: Sequence[Message]
    results: Sequence[Outcome | None]
    rate_limiter: RateLimiter | None
    problem: UnknownSource | Unavailable | None


class RetryWorker:
    """Handles batches of the retry queue with the collaborators of one sandbox."""

    def __init__(self, sandbox: Runtime) -> None:
        self._sandbox = sandbox
        self._telemetry = sandbox.telemetry

    def handle(
        self,
        records: Iterable[SQSRecord],
        seconds_until_time_out: float,
        request_id: str = "",
    ) -> list[str]:
        """The ids of the messages that stay in the queue; all others are done with."""
        deliver_by = Deadline.after(seconds_until_time_out - min(RESERVE_SECONDS, seconds_until_time_out / 3))
        store_by = Deadline.after(seconds_until_time_out - min(ANSWER_SECONDS, seconds_until_time_out / 10))
        self._telemetry.begin(request_id)
        now = time.time()
        messages = [_read(record, now) for record in records]
        self._isolate_poison_messages(messages, deliver_by)
        dead, alive = self._split_expired(messages)
        by_source: dict[str, list[Message]] = {}
        for message in alive:
            by_source.setdefault(message.record.source, []).append(message)

        # Each source in its own thread: while one waits for its window of calls, another goes on.
        with ThreadPoolExecutor(max(1, len(by_source))) as threads:
            attempts = list(threads.map(lambda source: self._attempt(source, by_source[source], deliver_by), by_source))
        kept: list[Message] = []
        hidden: dict[str, int] = {}
        for attempt in attempts:
            self._tell(attempt)
            for message, result in zip(attempt.messages, attempt.results, strict=True):
                failure = result.failure if result else None
                if failure and failure.permanent:
                    dead.append(message.with_failure(failure))
                elif failure or not result:
                    kept.append(message)
                    hidden[message.receipt] = _seconds_until_next_try(message, failure, attempt.rate_limiter)
        self._sandbox.queues.extend_visibility(hidden, store_by)
        failed = [message.message_id for message in kept + self._dead_letter(dead, store_by)]
        self._telemetry.batch(len(messages), len(failed))
        return failed

    def _attempt(self, source: str, messages: Sequence[Message], deadline: Deadline) -> _Attempt:
        """Deliver one source's messages."""
        try:
            settings = self._sandbox.sources.settings(source, deadline)
        except (UnknownSource, Unavailable) as error:
            return _Attempt(source, messages, [None] * len(messages), None, error)
        jobs = [Job(message.record.event, message.record.first_failed_at) for message in messages]
        results = self._sandbox.delivery(settings, deadline, wait_for_quota=True).deliver(jobs, deadline)
        return _Attempt(source, messages, results, self._sandbox.project(settings).rate_limiter, None)

    def _tell(self, attempt: _Attempt) -> None:
        """Log what became of one source's messages."""
        if isinstance(attempt.problem, UnknownSource):
            self._telemetry.unknown_source(attempt.problem)
        elif attempt.problem:
            self._telemetry.unavailable(attempt.problem, attempt.source)
        else:
            results = [result for result in attempt.results if result]
            for message, result in zip(attempt.messages, results, strict=True):
                self._telemetry.not_delivered(result, attempt.source, age_seconds=round(message.age_seconds))
            ages = [message.age_seconds for message in attempt.messages]
            self._telemetry.redelivered(BatchSummary(results), attempt.source, ages)

    def _split_expired(self, messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
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

    def _dead_letter(self, messages: Sequence[Message], deadline: Deadline) -> list[Message]:
        """Move messages to the dead-letter queue, each with its last failure; those that it did not take come back."""
        not_taken = {
            id(record)
            for record in self._sandbox.queues.dead_letter([message.record for message in messages], deadline)
        }
        self._telemetry.dead_lettered(message.record for message in messages if id(message.record) not in not_taken)
        return [message for message in messages if id(message.record) in not_taken]

    def _isolate_poison_messages(self, messages: Sequence[Message], deadline: Deadline) -> None:
        """See to it that messages that may crash the function come back one by one, and so spare each other."""
        suspects = [message for message in messages if message.receives >= SUSPECT_RECEIVES]
        if len(suspects) > 1:
            self._sandbox.queues.extend_visibility(
                {suspect.receipt: RANDOM.randint(SCATTER_SECONDS, 2 * SCATTER_SECONDS) for suspect in suspects},
                deadline,
            )


def _read(record: SQSRecord, now: float) -> Message:
    """One record of the SQS event. https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
    attributes = record.attributes
    try:
        failure_record = FailureRecord.from_message(record.body)
    except UnreadableRecord:
        failure_record = FailureRecord(record.body, DEFAULT_SOURCE, 0, datetime.fromtimestamp(now, UTC), UNREADABLE)
    return Message(
        message_id=record.message_id,
        receipt=record.receipt_handle,
        # Since when it lies in the queue: after a redrive that is a new time, so that RETRY_HOURS begin anew.
        age_seconds=max(0.0, now - int(attributes.sent_timestamp) / 1000),
        receives=int(attributes.approximate_receive_count),
        record=failure_record,
    )


def _order(message: Message) -> tuple[datetime, float]:
    """The oldest first: SQS keeps no order, and stores a request's events side by side, in the same millisecond."""
    return message.record.first_failed_at, -message.age_seconds


def _seconds_until_next_try(message: Message, failure: Failure | None, rate_limiter: RateLimiter | None) -> int:
    if failure and failure.waits and rate_limiter:
        return math.ceil(rate_limiter.seconds_until_next_turn())
    return backoff_seconds(message.age_seconds)
