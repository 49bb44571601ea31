"""The delivery of events to Voucherify: one customer's events in their order, and each track event once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Protocol

from handler.delivery.bulk_update import BulkUpdate, Row
from handler.delivery.dispatcher import SETTLE_SECONDS, Dispatcher
from handler.delivery.project import MIN_CALL_SECONDS, Project, ProjectCaller
from handler.delivery.stale_attributes import StaleAttributes
from handler.model.deadline import Deadline
from handler.model.errors import DeletionsUnknown
from handler.model.failure import (
    DELETIONS_UNKNOWN,
    DELIVERIES_UNKNOWN,
    IN_PROGRESS,
    OUT_OF_TIME,
    Action,
    Failure,
    failure_of_bug,
)
from handler.model.job import DeliveryStatus, Job, Outcome
from handler.model.policy import DeliveryPolicy, StaleAttributesAction, UnguardedTrack
from handler.model.reason_codes import SkipReason
from handler.settings.settings import Settings
from handler.storage.deletions import Deletions
from handler.storage.idempotency import Claim, ClaimState, IdempotencyStore
from handler.voucherify.answers import failure_of, failure_of_invalid_event
from handler.voucherify.bulk import FEWEST_ROWS
from handler.voucherify.client import Answer, Call, NoAnswer
from mapping import InvalidEvent, LeftOut, Operation, Request, Skip, map_event, message_id_of, time_of


class Delivery:
    """Delivers raw events to one project.

    `reload` is that of ProjectCaller. `store` and `deletions` are None where there is no table. `wait_for_quota` is for
    the retry worker, which has no sender that waits: it waits for the next window of calls, and delivers no track event
    without deduplication, whatever the policy says. `stale` leaves out what newer events have set.
    """

    def __init__(
        self,
        policy: DeliveryPolicy,
        project: Project,
        reload: Callable[[], Project | None],
        store: IdempotencyStore | None,
        deletions: Deletions | None,
        *,
        wait_for_quota: bool,
        stale: StaleAttributes | None = None,
    ) -> None:
        self.policy = policy
        self.stale = stale if policy.stale_attributes is StaleAttributesAction.DROP else None
        self.caller = ProjectCaller(project, reload, policy.ambiguous_track, wait_for_quota=wait_for_quota)
        self.store = store
        # While delete events are dropped, no customer is deleted, and DynamoDB need not be asked.
        self.deletions = None if "delete" in policy.mapping.disabled else deletions
        self.needs_deduplication = wait_for_quota or policy.unguarded_track is UnguardedTrack.QUEUE
        self._project = project
        self._dispatcher = Dispatcher(project.threads)
        # The retry worker can wait for the end of an asynchronous action. A sender who waits for an answer cannot.
        self._bulk_update = BulkUpdate(project) if wait_for_quota else None

    def deliver(self, jobs: Sequence[Job], deadline: Deadline) -> list[Outcome]:
        """Return the outcome of each job, in their order, at most SETTLE_SECONDS after the deadline.

        No call begins after the deadline, and a call that is in progress then is given up: its connection is closed.
        """
        planned = [self._plan(job, deadline) for job in jobs]
        tasks = [one for one in planned if isinstance(one, _EventTask)]
        if self.stale and any(task.sets_attributes for task in tasks):
            self.stale.refresh(deadline)
        outcomes = self._deliver_in_bulk(tasks, deadline) if self._bulk_update else {}
        singly = [task for task in tasks if task not in outcomes]
        outcomes |= zip(singly, self._dispatcher.dispatch(singly, deadline), strict=True)
        queued = {task.key for task in tasks if outcomes[task].status is DeliveryStatus.QUEUED}
        if self.stale and queued:
            self.stale.queued(queued, deadline.later(SETTLE_SECONDS))
        return [outcomes[one] if isinstance(one, _EventTask) else one for one in planned]

    def _deliver_in_bulk(self, tasks: Sequence[_EventTask], deadline: Deadline) -> dict[_EventTask, Outcome]:
        """Return the outcomes of the upserts that were sent in bulk. All other events are delivered after them.

        These are the upserts before the first other event of each customer, so that the order of its events stays. A
        customer whose row has not been applied yet waits with all events, and one who is to be deleted has no row:
        Voucherify applies a row later, and would undo what came in between.
        """
        upserts: list[_EventTask] = []
        others = {task.key for task in tasks if not task.sets_attributes}
        for task in tasks:
            if task.is_plain_upsert and task.key not in others:
                upserts.append(task)
            else:
                others.add(task.key)
        if not self._bulk_update or len({task.key for task in upserts}) < FEWEST_ROWS:
            return {}
        outcomes: dict[_EventTask, Outcome] = {}
        rows: dict[str, Row[_EventTask]] = {}
        for task, prepared in zip(upserts, self._prepared(upserts, deadline), strict=True):
            if isinstance(prepared, Outcome):
                outcomes[task] = prepared
            elif prepared:
                row, body = rows.setdefault(task.key, Row(task.key)), prepared.body or {}
                if row.takes(body):
                    row.add(body, task)
        in_time = deadline.later(-deadline.seconds_left / 2)  # the rest is for the other events
        for updated in self._bulk_update.send(list(rows.values()), in_time):
            failure = updated.failure
            if updated.is_refused or (failure and failure.action is Action.STOP_BATCH):
                continue  # each of them finds out why by itself
            waiting = [task for task in tasks if failure and task.key == updated.row.customer and task not in outcomes]
            outcomes |= {task: task.concluded(failure) for task in waiting or updated.row.owners}
        return outcomes

    def _prepared(self, tasks: Sequence[_EventTask], deadline: Deadline) -> list[Request | Outcome | None]:
        """Return the request of each task as it is to be sent, or its outcome; None where there was no time for it.

        The events of one customer are prepared in their order: a later one may have made an earlier one stale.
        """
        chains: dict[str, list[_EventTask]] = {}
        for task in tasks:
            chains.setdefault(task.key, []).append(task)
        prepared: dict[_EventTask, Request | Outcome] = {}

        def prepare(chain: Sequence[_EventTask]) -> None:
            for task in chain:
                try:
                    prepared[task] = task.prepare()
                except Exception as error:
                    prepared[task] = task.failed(error)

        self._project.threads.run([partial(prepare, chain) for chain in chains.values()], deadline)
        return [prepared.get(task) for task in tasks]

    def _plan(self, job: Job, deadline: Deadline) -> _EventTask | Outcome:
        """Return the task for an event, or its outcome where it becomes no request."""
        if job.rejection:
            return Outcome(job.event, DeliveryStatus.REJECTED, _now(), job.rejection)
        if deadline.seconds_left < MIN_CALL_SECONDS:  # mapping thousands of large events takes seconds too
            return Outcome(job.event, DeliveryStatus.QUEUED, _now(), OUT_OF_TIME)
        try:
            mapped = map_event(job.event, self.policy.mapping, is_routed=job.is_routed)
        except InvalidEvent as error:
            return Outcome(job.event, DeliveryStatus.REJECTED, _now(), failure_of_invalid_event(error))
        except Exception as error:
            return Outcome(job.event, DeliveryStatus.QUEUED, _now(), failure_of_bug(error))
        if isinstance(mapped, Skip):
            return Outcome(job.event, DeliveryStatus.SKIPPED, _now(), skip_reason=mapped.reason)
        return _EventTask(self, job, mapped)


class _EventTask:
    """The task of the dispatcher that delivers one event: all of its requests, one after the other.

    Those that can be sent twice go first. An event whose order fails now is tried again later, and its custom event has
    not been sent by then.
    """

    def __init__(self, delivery: Delivery, job: Job, mapped: Request) -> None:
        self._delivery = delivery
        self._job = job
        parts = (mapped, *mapped.also)
        requests = [one for one in parts if isinstance(one, Request)]
        self._requests = sorted(requests, key=lambda one: not one.is_idempotent)
        self._request = self._requests[0]
        self._done: list[Outcome] = [
            self._outcome(failure_of_invalid_event(one)) for one in parts if isinstance(one, InvalidEvent)
        ]
        self._call = Call()
        self._known: Answer | NoAnswer | None = None
        self._unordered = False
        self._prepared = self._request

    @property
    def key(self) -> str:
        return self._request.customer

    def run(self, deadline: Deadline) -> Outcome:
        """Deliver the event, unless its customer was deleted since it was stored."""
        if failure := self._reason_to_wait(deadline):
            return self._outcome(failure)
        try:
            if self._request.operation is Operation.DELETE_CUSTOMER:
                self._record_deletion()
            elif self._is_of_deleted_customer():
                return self._skipped(SkipReason.CUSTOMER_DELETED)
        except DeletionsUnknown:
            return self._outcome(DELETIONS_UNKNOWN)
        for request in self._requests:
            if self._must_not_send(request):
                break
            outcome = self._deliver(request, deadline)
            if outcome.status is DeliveryStatus.QUEUED:
                return outcome
            self._done.append(outcome)
        return self._together(self._done)

    @property
    def sets_attributes(self) -> bool:
        return self._request.operation is not Operation.DELETE_CUSTOMER

    @property
    def is_plain_upsert(self) -> bool:
        """Whether a row of a bulk call can hold the event: its rows have a `source_id` and no `id`."""
        body = self._request.body or {}
        is_upsert = len(self._requests) == 1 and self._request.operation is Operation.UPSERT_CUSTOMER
        return is_upsert and not self._done and "id" not in body and bool(body.get("source_id"))

    def prepare(self) -> Request | Outcome:
        """Return the request as it is to be sent, or the outcome of an event that must not be sent."""
        try:
            if self._is_of_deleted_customer():
                return self._skipped(SkipReason.CUSTOMER_DELETED)
        except DeletionsUnknown:
            return self._outcome(DELETIONS_UNKNOWN)
        fitted, self._unordered = self._without_stale(self._request)
        if fitted is None:
            return self._skipped(SkipReason.SUPERSEDED)
        self._prepared = self._delivery.caller.fitted(fitted)
        return self._prepared

    def concluded(self, failure: Failure | None) -> Outcome:
        """Return the outcome of an event that was sent in bulk."""
        return self._outcome(failure, left_out=self._prepared.left_out)._replace(unordered=self._unordered)

    def _skipped(self, reason: SkipReason) -> Outcome:
        return Outcome(self._job.event, DeliveryStatus.SKIPPED, _now(), skip_reason=reason)

    def _reason_to_wait(self, deadline: Deadline) -> Failure | None:
        if closed := self._delivery.caller.closed(deadline):
            return closed
        return OUT_OF_TIME if deadline.seconds_left < MIN_CALL_SECONDS else None

    def _must_not_send(self, request: Request) -> bool:
        """Return whether a later redrive would send a request again: the event is dead, and nothing remembers it."""
        return any(one.failure for one in self._done) and not request.is_idempotent and not self._is_deduplicated

    def _deliver(self, request: Request, deadline: Deadline) -> Outcome:
        """Deliver one request of the event."""
        if request is not self._request:
            self._call.reopen()  # first: a call that is given up now belongs to the request before
            self._request = request
            if failure := self._reason_to_wait(deadline):
                return self._outcome(failure)
        with self._claim(deadline) as claim:
            if outcome := self._outcome_without_call(claim):
                return outcome
            fitted, self._unordered = self._without_stale(request)
            if fitted is None:
                return self._skipped(SkipReason.SUPERSEDED)
            attempt = self._delivery.caller.call(fitted, self._call, deadline)
            outcome = self._outcome(attempt.failure, seconds=attempt.seconds, left_out=attempt.request.left_out)
            if self._delivery.stale and outcome.status is DeliveryStatus.DELIVERED:
                self._delivery.stale.delivered(fitted, self._at)
            return self._settle(claim, outcome._replace(unordered=self._unordered))

    @cached_property
    def _at(self) -> datetime:
        """When the event happened; never later than it was stored, whatever its sender's clock says."""
        latest = self._job.stored_at or _now()
        return min(time_of(self._job.event) or latest, latest)

    def _without_stale(self, request: Request) -> tuple[Request | None, bool]:
        """Return a request without what newer events have set, and whether nobody could say what that is."""
        if not self._delivery.stale:
            return request, False
        fitted = self._delivery.stale.fit(request, self._at, was_stored=bool(self._job.stored_at))
        return fitted.request, not fitted.is_known

    def failed(self, error: Exception) -> Outcome:
        return self._outcome(failure_of_bug(error))

    def give_up(self) -> None:
        self._known = self._call.give_up()

    def conclude(self, outcome: Outcome | None) -> Outcome:
        """Return the outcome by what was known of the call when it was given up.

        An answer that came later changes nothing: its thread marks the record completed, so that the retry of the event
        is a duplicate.
        """
        known = self._known
        if outcome and not isinstance(known, NoAnswer):
            return outcome
        if known is None:
            return self._outcome(OUT_OF_TIME)
        failure = failure_of(known, self._request, self._delivery.policy.ambiguous_track)
        is_last = self._request is self._requests[-1]
        if not is_last and (failure is None or failure.is_permanent):
            return self._outcome(OUT_OF_TIME)
        # It is delivered, and DynamoDB has not confirmed the record yet.
        is_unconfirmed = failure is None and bool(self._delivery.store) and not self._request.is_idempotent
        concluded = self._outcome(failure, without_deduplication=is_unconfirmed)
        return concluded if concluded.status is DeliveryStatus.QUEUED else self._together([*self._done, concluded])

    def _together(self, outcomes: Sequence[Outcome]) -> Outcome:
        """Return the outcome of the event from those of its requests, none of which is queued."""
        first, *further = sorted(outcomes, key=lambda one: _BY_WEIGHT.index(one.status))
        if not further:
            return first
        left_out = dict.fromkeys(one for outcome in outcomes for one in outcome.left_out)
        return first._replace(
            at=_now(),
            left_out=tuple(left_out),
            without_deduplication=any(one.without_deduplication for one in outcomes),
            unordered=any(one.unordered for one in outcomes),
            seconds=max((one.seconds for one in outcomes if one.seconds is not None), default=None),
        )

    def _record_deletion(self) -> None:
        """Record the deletion before its call, so that no older event creates the customer again."""
        if self._delivery.deletions:
            self._delivery.deletions.note(self._request.customer, self._job.stored_at or _now())

    def _is_of_deleted_customer(self) -> bool:
        """Return whether the customer was deleted after the event was stored."""
        deletions, stored_at = self._delivery.deletions, self._job.stored_at
        return bool(deletions and stored_at and deletions.is_deleted_since(self._request.customer, stored_at))

    @property
    def _is_deduplicated(self) -> bool:
        return bool(self._delivery.store and message_id_of(self._job.event))

    def _claim(self, deadline: Deadline) -> AbstractContextManager[Claim | None]:
        """Claim the idempotency record of a track event. Other requests need none: sending them twice is harmless."""
        store, message_id = self._delivery.store, message_id_of(self._job.event)
        if self._request.is_idempotent or not store or not message_id:
            return nullcontext()
        return store.claim(message_id, deadline, reserve_seconds=MIN_CALL_SECONDS)

    def _outcome_without_call(self, claim: Claim | None) -> Outcome | None:
        """Return the outcome of an event that must not be delivered now; None where it may be."""
        if claim is None:
            return None
        if claim.state is ClaimState.COMPLETED:
            return Outcome(self._job.event, DeliveryStatus.DUPLICATE, _now())
        if claim.state is ClaimState.HELD_BY_ANOTHER:
            return self._outcome(IN_PROGRESS)
        if claim.state is ClaimState.UNKNOWN and self._delivery.needs_deduplication:
            return self._outcome(DELIVERIES_UNKNOWN)
        return None

    def _settle(self, claim: Claim | None, outcome: Outcome) -> Outcome:
        """Record the result of the call under the claim."""
        store = self._delivery.store
        if claim is None or store is None:
            return outcome
        if outcome.status is not DeliveryStatus.DELIVERED:
            store.release(claim)
            return outcome
        is_recorded = store.mark_completed(claim)
        return outcome._replace(without_deduplication=claim.state is ClaimState.UNKNOWN or not is_recorded)

    def _outcome(
        self,
        failure: Failure | None,
        *,
        without_deduplication: bool = False,
        seconds: float | None = None,
        left_out: tuple[LeftOut, ...] | None = None,
    ) -> Outcome:
        """Return an outcome of the current request; `left_out` is that of the request as it was sent."""
        status = DeliveryStatus.DELIVERED
        if failure:
            status = DeliveryStatus.REJECTED if failure.is_permanent else DeliveryStatus.QUEUED
        left_out = self._request.left_out if left_out is None else left_out
        return Outcome(
            self._job.event,
            status,
            _now(),
            failure,
            left_out=left_out,
            without_deduplication=without_deduplication,
            seconds=seconds,
        )


# What one request's outcome means for the event: one that is rejected rejects it, and it is a duplicate if all are.
_BY_WEIGHT = (DeliveryStatus.REJECTED, DeliveryStatus.DELIVERED, DeliveryStatus.DUPLICATE, DeliveryStatus.SKIPPED)


class NewDelivery(Protocol):
    """Makes the delivery of one batch under the settings of its source."""

    def __call__(self, settings: Settings, deadline: Deadline) -> Delivery: ...


def _now() -> datetime:
    return datetime.now(UTC)
