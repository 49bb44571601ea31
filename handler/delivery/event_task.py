"""The delivery of one event: its requests, its idempotency record, and what must not be sent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from handler.delivery.project import MIN_CALL_SECONDS, ProjectCaller
from handler.delivery.stale_attributes import StaleAttributes
from handler.model.deadline import Deadline
from handler.model.errors import DeletionsUnknown
from handler.model.failure import (
    DELETIONS_UNKNOWN,
    DELIVERIES_UNKNOWN,
    IN_PROGRESS,
    OUT_OF_TIME,
    Failure,
    failure_of_bug,
)
from handler.model.job import DeliveryStatus, Job, Outcome, utc_now
from handler.model.policy import AmbiguousTrack
from handler.model.reason_codes import SkipReason
from handler.storage.deletions import Deletions
from handler.storage.idempotency import Claim, ClaimState, IdempotencyStore
from handler.voucherify.answers import failure_of, failure_of_invalid_event
from handler.voucherify.client import Answer, Call, NoAnswer
from mapping import InvalidEvent, LeftOut, Operation, Request, message_id_of


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What the events of one batch have in common.

    Without `store`, `deletions` or `stale`, nobody looks up what they know. `needs_deduplication`: no track event is
    delivered while DynamoDB does not answer.
    """

    caller: ProjectCaller
    ambiguous_track: AmbiguousTrack
    needs_deduplication: bool
    store: IdempotencyStore | None
    deletions: Deletions | None
    stale: StaleAttributes | None


class EventTask:
    """The task of the dispatcher that delivers one event: all of its requests, one after the other.

    Those that can be sent twice go first. An event whose order fails now is tried again later, and its custom event has
    not been sent by then.
    """

    def __init__(self, context: TaskContext, job: Job, mapped: Request) -> None:
        self._context = context
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
        self._prepared = self._context.caller.fitted(fitted)
        return self._prepared

    def concluded(self, failure: Failure | None) -> Outcome:
        """Return the outcome of an event that was sent in bulk."""
        return self._outcome(failure, left_out=self._prepared.left_out)._replace(unordered=self._unordered)

    def _skipped(self, reason: SkipReason) -> Outcome:
        return Outcome(self._job.event, DeliveryStatus.SKIPPED, utc_now(), skip_reason=reason)

    def _reason_to_wait(self, deadline: Deadline) -> Failure | None:
        if closed := self._context.caller.closed(deadline):
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
            attempt = self._context.caller.call(fitted, self._call, deadline)
            outcome = self._outcome(attempt.failure, seconds=attempt.seconds, left_out=attempt.request.left_out)
            if self._context.stale and outcome.status is DeliveryStatus.DELIVERED:
                self._context.stale.delivered(fitted, self._at)
            return self._settle(claim, outcome._replace(unordered=self._unordered))

    @cached_property
    def _at(self) -> datetime:
        return self._job.happened_at

    def _without_stale(self, request: Request) -> tuple[Request | None, bool]:
        """Return a request without what newer events have set, and whether nobody could say what that is."""
        if not self._context.stale:
            return request, False
        fitted = self._context.stale.fit(request, self._at, was_stored=bool(self._job.stored_at))
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
        failure = failure_of(known, self._request, self._context.ambiguous_track)
        is_last = self._request is self._requests[-1]
        if not is_last and (failure is None or failure.is_permanent):
            return self._outcome(OUT_OF_TIME)
        # It is delivered, and DynamoDB has not confirmed the record yet.
        is_unconfirmed = failure is None and bool(self._context.store) and not self._request.is_idempotent
        concluded = self._outcome(failure, without_deduplication=is_unconfirmed)
        return concluded if concluded.status is DeliveryStatus.QUEUED else self._together([*self._done, concluded])

    def _together(self, outcomes: Sequence[Outcome]) -> Outcome:
        """Return the outcome of the event from those of its requests, none of which is queued."""
        first, *further = sorted(outcomes, key=lambda one: _BY_WEIGHT.index(one.status))
        if not further:
            return first
        left_out = dict.fromkeys(one for outcome in outcomes for one in outcome.left_out)
        return first._replace(
            at=utc_now(),
            left_out=tuple(left_out),
            without_deduplication=any(one.without_deduplication for one in outcomes),
            unordered=any(one.unordered for one in outcomes),
            seconds=max((one.seconds for one in outcomes if one.seconds is not None), default=None),
        )

    def _record_deletion(self) -> None:
        """Record the deletion before its call, so that no older event creates the customer again."""
        if self._context.deletions:
            self._context.deletions.note(self._request.customer, self._job.stored_at or utc_now())

    def _is_of_deleted_customer(self) -> bool:
        """Return whether the customer was deleted after the event was stored."""
        deletions, stored_at = self._context.deletions, self._job.stored_at
        return bool(deletions and stored_at and deletions.is_deleted_since(self._request.customer, stored_at))

    @property
    def _is_deduplicated(self) -> bool:
        return bool(self._context.store and message_id_of(self._job.event))

    def _claim(self, deadline: Deadline) -> AbstractContextManager[Claim | None]:
        """Claim the idempotency record of a track event. Other requests need none: sending them twice is harmless."""
        store, message_id = self._context.store, message_id_of(self._job.event)
        if self._request.is_idempotent or not store or not message_id:
            return nullcontext()
        return store.claim(message_id, deadline, reserve_seconds=MIN_CALL_SECONDS)

    def _outcome_without_call(self, claim: Claim | None) -> Outcome | None:
        """Return the outcome of an event that must not be delivered now; None where it may be."""
        if claim is None:
            return None
        if claim.state is ClaimState.COMPLETED:
            return Outcome(self._job.event, DeliveryStatus.DUPLICATE, utc_now())
        if claim.state is ClaimState.HELD_BY_ANOTHER:
            return self._outcome(IN_PROGRESS)
        if claim.state is ClaimState.UNKNOWN and self._context.needs_deduplication:
            return self._outcome(DELIVERIES_UNKNOWN)
        return None

    def _settle(self, claim: Claim | None, outcome: Outcome) -> Outcome:
        """Record the result of the call under the claim."""
        store = self._context.store
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
            utc_now(),
            failure,
            left_out=left_out,
            without_deduplication=without_deduplication,
            seconds=seconds,
        )


# What one request's outcome means for the event: one that is rejected rejects it, and it is a duplicate if all are.
_BY_WEIGHT = (DeliveryStatus.REJECTED, DeliveryStatus.DELIVERED, DeliveryStatus.DUPLICATE, DeliveryStatus.SKIPPED)
