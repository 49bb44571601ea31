"""The retry worker: it delivers the events of the retry queue until they are delivered or expired."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

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
from handler.model.reason_codes import ReasonCode
from handler.observability import Telemetry
from handler.settings.settings import Settings
from handler.settings.sources import DEFAULT_SOURCE, Sources
from handler.storage.queues import NewMessage, Queues

# Reserved before Lambda's time-out for moving and hiding messages and for the answer, and for the answer alone; a third
# and a tenth of a short time-out.
RESERVE_SECONDS = 5.0
ANSWER_SECONDS = 0.5

# A message that was received so often may have crashed the function each time. Most have only failed for long.
POISON_RECEIVES = 5

# SQS deletes a message after 14 days. An event that only waits for calls stays in the queue for nearly as long.
LONGEST_WAIT_SECONDS = 13 * 24 * 60 * 60.0

# SQS counts hidden messages as in flight, and 120,000 of a queue may be. So of a batch in which more events wait for
# calls than this, none is hidden: each is replaced by a new message with a delay, which does not count.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MOST_HIDDEN = 100

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
            # Its time in this queue. RETRY_HOURS begins again with a new message: that of a redrive, or of an event
            # that failed after it had waited.
            age_seconds=max(0.0, now - int(attributes.sent_timestamp) / 1000),
            receives=int(attributes.approximate_receive_count),
            record=failure_record,
            is_readable=is_readable,
        )

    @property
    def only_waits(self) -> bool:
        """Whether the event has not failed since it was stored: it waits for calls that the plan allows."""
        return ReasonCode.is_wait(self.record.failure.code)

    def with_failure(self, failure: Failure) -> QueueMessage:
        """Return the message with its newest failure.

        Each receive counts as an attempt, as there were no more; a wait is none.
        """
        is_wait = ReasonCode.is_wait(failure.code)
        attempts = self.record.attempts + (int(not is_wait) if self.only_waits else self.receives - int(is_wait))
        return replace(self, record=replace(self.record, attempts=attempts, failure=RecordedFailure.of(failure)))


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One source's messages with the outcome of each; or the `problem` that kept all of them from being tried."""

    source: str
    messages: Sequence[QueueMessage]
    outcomes: Sequence[Outcome] = ()
    settings: Settings | None = None
    problem: UnknownSource | Unavailable | None = None

    @property
    def failures(self) -> Iterator[tuple[QueueMessage, Failure | None]]:
        """Yield the messages that are not done, each with its failure; None where it was not tried."""
        if self.problem:
            yield from ((message, None) for message in self.messages)
            return
        for message, outcome in zip(self.messages, self.outcomes, strict=True):
            if outcome.failure:
                yield message, outcome.failure


class _Retry(NamedTuple):
    """A message that is to be tried again in so many seconds; `failure` is None where it was not tried.

    `new_record`: the message is to be replaced by a new one with this record.
    """

    message: QueueMessage
    seconds: int
    failure: Failure | None = None
    new_record: FailureRecord | None = None

    @property
    def waits(self) -> bool:
        return self.failure is not None and ReasonCode.is_wait(self.failure.code)

    def as_new_message(self) -> _Retry:
        """Return the same retry by a new message, with the newest failure."""
        record = self.message.with_failure(self.failure).record if self.failure else self.message.record
        return self._replace(new_record=record)


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
        dead, alive = self._split_unreadable(messages)
        retries: list[_Retry] = []
        for attempt in self._attempt_all(alive, deliver_by):
            self._log(attempt)
            for message, failure in attempt.failures:
                if failure and failure.is_permanent:
                    dead.append(message.with_failure(failure))
                elif self._is_expired(message, failure):
                    dead.append(self._expired(message.with_failure(failure) if failure else message))
                else:
                    retries.append(self._retry(message, failure, attempt.settings))
        if sum(retry.waits for retry in retries) > MOST_HIDDEN:
            retries = [retry.as_new_message() if retry.waits else retry for retry in retries]
        kept = self._keep(retries, store_by)
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

    def _split_unreadable(self, messages: Sequence[QueueMessage]) -> tuple[list[QueueMessage], list[QueueMessage]]:
        """Return the messages that are unreadable, and those to deliver, the oldest first."""
        ordered = sorted(messages, key=_order)
        unreadable = [self._expired(message) for message in ordered if not message.is_readable]
        return unreadable, [message for message in ordered if message.is_readable]

    def _is_expired(self, message: QueueMessage, failure: Failure | None) -> bool:
        """Return whether an event that was tried once more has failed for RETRY_HOURS. Waiting is not failing."""
        waits = message.only_waits or (failure is not None and ReasonCode.is_wait(failure.code))
        return message.age_seconds > (LONGEST_WAIT_SECONDS if waits else self._retry_seconds)

    def _expired(self, message: QueueMessage) -> QueueMessage:
        self._telemetry.expired(message.record, message.age_seconds)
        return message

    def _retry(self, message: QueueMessage, failure: Failure | None, settings: Settings | None) -> _Retry:
        """Return the next try of a message; without a failure or settings, it was not tried."""
        if failure is None or settings is None:
            return _Retry(message, backoff_seconds(message.age_seconds))
        retry = _Retry(message, self._seconds_until_next_try(message, failure, settings), failure)
        return retry.as_new_message() if message.only_waits and not retry.waits else retry

    def _keep(self, retries: Sequence[_Retry], deadline: Deadline) -> list[QueueMessage]:
        """Hide messages until their next try, or replace them by new ones, and return those that stay."""
        replaced = [
            (retry, NewMessage(retry.new_record, retry.seconds)) for retry in retries if retry.new_record is not None
        ]
        refused = {id(new) for new in self._queues.retry([new for _, new in replaced], deadline)}
        staying = [retry for retry in retries if retry.new_record is None]
        staying += [retry for retry, new in replaced if id(new) in refused]
        self._queues.extend_visibility({retry.message.receipt: retry.seconds for retry in staying}, deadline)
        return [retry.message for retry in staying]

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
