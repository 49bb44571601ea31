"""The retry worker: it delivers the events of the retry queue until they are delivered or expired."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord

from handler.delivery.backoff import RANDOM, backoff_seconds
from handler.delivery.delivery import NewDelivery
from handler.delivery.project import Projects
from handler.model.batch_summary import BatchSummary
from handler.model.deadline import Deadline
from handler.model.errors import Unavailable, UnknownSource, UnreadableRecord
from handler.model.failure import UNREADABLE_RECORD, Failure
from handler.model.failure_record import FailureRecord, RecordedFailure
from handler.model.job import Job, Outcome
from handler.observability import Telemetry
from handler.settings.settings import Settings
from handler.settings.sources import DEFAULT_SOURCE, Sources
from handler.storage.queues import Queues

# Reserved before Lambda's time-out for moving and hiding messages and for the answer, and for the answer alone; a third
# and a tenth of a short time-out.
RESERVE_SECONDS = 5.0
ANSWER_SECONDS = 0.5

# A message that was received so often may have crashed the function each time. Most have only failed for long.
POISON_RECEIVES = 5

# Longer than the function runs, so that no message is visible again while it is still in work.
ISOLATION_SECONDS = 120


@dataclass(frozen=True, slots=True)
class QueueMessage:
    """One SQS message. `receives` counts how often it was received; `is_readable`: its body is a failure record."""

    message_id: str
    receipt: str
    age_seconds: float
    receives: int
    record: FailureRecord
    is_readable: bool

    @classmethod
    def read(cls, record: SQSRecord, now: float) -> QueueMessage:
        """Return the message of an SQS event. https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
        attributes = record.attributes
        try:
            failure_record, is_readable = FailureRecord.from_message(record.body), True
        except UnreadableRecord:
            moment, failure = datetime.fromtimestamp(now, UTC), RecordedFailure.of(UNREADABLE_RECORD)
            failure_record, is_readable = FailureRecord(record.body, DEFAULT_SOURCE, 0, moment, failure), False
        return cls(
            message_id=record.message_id,
            receipt=record.receipt_handle,
            # Its time in this queue. A redrive makes a new message, for which RETRY_HOURS begins again.
            age_seconds=max(0.0, now - int(attributes.sent_timestamp) / 1000),
            receives=int(attributes.approximate_receive_count),
            record=failure_record,
            is_readable=is_readable,
        )

    def with_failure(self, failure: Failure) -> QueueMessage:
        """Return the message with its newest failure. Each receive counts as an attempt: there were no more."""
        attempts, recorded = self.record.attempts + self.receives, RecordedFailure.of(failure)
        return replace(self, record=replace(self.record, attempts=attempts, failure=recorded))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One source's messages with the outcome of each; or the `problem` that kept all of them from being tried."""

    source: str
    messages: Sequence[QueueMessage]
    outcomes: Sequence[Outcome] = ()
    settings: Settings | None = None
    problem: UnknownSource | Unavailable | None = None


class RetryWorker:
    """Handles batches of the retry queue in one execution environment."""

    def __init__(
        self,
        retry_hours: float,
        sources: Sources,
        projects: Projects,
        new_delivery: NewDelivery,
        queues: Queues,
        telemetry: Telemetry,
    ) -> None:
        self._retry_seconds = retry_hours * 3600
        self._sources = sources
        self._projects = projects
        self._new_delivery = new_delivery
        self._queues = queues
        self._telemetry = telemetry

    def handle(self, records: Iterable[SQSRecord], seconds_until_time_out: float, request_id: str = "") -> list[str]:
        """Return the ids of the messages that stay in the queue. SQS deletes all others."""
        deliver_by = Deadline.after(seconds_until_time_out - min(RESERVE_SECONDS, seconds_until_time_out / 3))
        store_by = Deadline.after(seconds_until_time_out - min(ANSWER_SECONDS, seconds_until_time_out / 10))
        self._telemetry.begin(request_id)
        now = time.time()
        messages = [QueueMessage.read(record, now) for record in records]
        self._isolate_poison_messages(messages, deliver_by)
        dead, alive = self._split_expired(messages)
        kept: list[QueueMessage] = []
        hidden: dict[str, int] = {}
        for attempt in self._attempt_all(alive, deliver_by):
            self._log(attempt)
            if attempt.settings is None:
                kept += attempt.messages
                hidden |= {message.receipt: backoff_seconds(message.age_seconds) for message in attempt.messages}
                continue
            for message, outcome in zip(attempt.messages, attempt.outcomes, strict=True):
                if failure := outcome.failure:
                    if failure.is_permanent:
                        dead.append(message.with_failure(failure))
                    else:
                        kept.append(message)
                        hidden[message.receipt] = self._seconds_until_next_try(message, failure, attempt.settings)
        self._queues.extend_visibility(hidden, store_by)
        ids = [message.message_id for message in kept + self._dead_letter(dead, store_by)]
        self._telemetry.batch(len(messages), len(ids))
        return ids

    def _attempt_all(self, messages: Sequence[QueueMessage], deadline: Deadline) -> list[_Attempt]:
        by_source: dict[str, list[QueueMessage]] = {}
        for message in messages:
            by_source.setdefault(message.record.source, []).append(message)
        # A thread for each source: while one waits for its rate limit, another goes on.
        with ThreadPoolExecutor(max(1, len(by_source))) as threads:
            return list(threads.map(lambda source: self._attempt(source, by_source[source], deadline), by_source))

    def _attempt(self, source: str, messages: Sequence[QueueMessage], deadline: Deadline) -> _Attempt:
        """Deliver one source's messages."""
        try:
            settings = self._sources.settings(source, deadline)
        except (UnknownSource, Unavailable) as error:
            return _Attempt(source, messages, problem=error)
        jobs = [Job(message.record.event, message.record.first_failed_at) for message in messages]
        return _Attempt(source, messages, self._new_delivery(settings, deadline).deliver(jobs, deadline), settings)

    def _log(self, attempt: _Attempt) -> None:
        if isinstance(attempt.problem, UnknownSource):
            self._telemetry.unknown_source(attempt.problem)
        elif attempt.problem:
            self._telemetry.unavailable(attempt.problem, attempt.source)
        else:
            for message, outcome in zip(attempt.messages, attempt.outcomes, strict=True):
                self._telemetry.not_delivered(outcome, attempt.source, age_seconds=round(message.age_seconds))
            ages = [message.age_seconds for message in attempt.messages]
            self._telemetry.redelivered(BatchSummary(attempt.outcomes), attempt.source, ages)

    def _split_expired(self, messages: Sequence[QueueMessage]) -> tuple[list[QueueMessage], list[QueueMessage]]:
        """Return the messages that are expired or unreadable, and those to deliver, the oldest first."""
        dead: list[QueueMessage] = []
        alive: list[QueueMessage] = []
        for message in sorted(messages, key=_order):
            if message.age_seconds > self._retry_seconds or not message.is_readable:
                self._telemetry.expired(message.record, message.age_seconds)
                dead.append(message)
            else:
                alive.append(message)
        return dead, alive

    def _dead_letter(self, messages: Sequence[QueueMessage], deadline: Deadline) -> list[QueueMessage]:
        """Move messages to the dead-letter queue, and return those that it did not take."""
        refused = {id(record) for record in self._queues.dead_letter([one.record for one in messages], deadline)}
        self._telemetry.dead_lettered(one.record for one in messages if id(one.record) not in refused)
        return [one for one in messages if id(one.record) in refused]

    def _isolate_poison_messages(self, messages: Sequence[QueueMessage], deadline: Deadline) -> None:
        """Make messages that may crash the function visible again at different times, so that each comes alone."""
        suspects = [message for message in messages if message.receives >= POISON_RECEIVES]
        if len(suspects) > 1:
            self._queues.extend_visibility(
                {suspect.receipt: RANDOM.randint(ISOLATION_SECONDS, 2 * ISOLATION_SECONDS) for suspect in suspects},
                deadline,
            )

    def _seconds_until_next_try(self, message: QueueMessage, failure: Failure, settings: Settings) -> int:
        rate_limiter = self._projects.of(settings).rate_limiter
        if failure.waits_for_quota:
            return math.ceil(rate_limiter.reserve_wait_seconds())
        return max(backoff_seconds(message.age_seconds), math.ceil(rate_limiter.seconds_closed))


def _order(message: QueueMessage) -> tuple[datetime, float]:
    # SQS keeps no order, and a request's events were stored in the same millisecond.
    return message.record.first_failed_at, -message.age_seconds
