"""Events to Voucherify: customers in parallel, one customer's events in their order, until the time is used up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple, Protocol

from handler.delivery.rate_limiter import Pace
from handler.model.deadline import Deadline
from handler.storage.deletions import Deletions, DeletionsUnknown
from handler.storage.idempotency import ClaimState, IdempotencyStore
from handler.threads import Threads
from handler.voucherify.answers import (
    CREDENTIALS_REFUSED,
    DELETIONS_UNKNOWN,
    DELIVERIES_UNKNOWN,
    IN_PROGRESS,
    OUT_OF_TIME,
    AmbiguousTrack,
    Failure,
    UnguardedTrack,
    failure_of_answer,
    failure_of_bug,
    failure_of_invalid_event,
    failure_of_no_answer,
    failure_while_halted,
)
from handler.voucherify.client import Answer, Call, GivenUp, NoAnswer
from mapping import EventMapping, InvalidEvent, LeftOut, Operation, Request, Skip, map_event, message_id_of

# A call that would hardly be answered in what is left is not begun: the track would be in doubt.
MIN_CALL_SECONDS = 0.3

# How long after the deadline a call may still notice by itself that its time is up; then it is given up.
_GRACE_SECONDS = 0.05

# How long after the deadline it may take to write down what became of the tracks that were called.
SETTLE_SECONDS = 0.3


class Arrival(NamedTuple):
    """A raw event to be delivered, since when it was stored, if it was, and why it is refused unseen, if it is."""

    event: Any
    stored_at: datetime | None = None
    refusal: Failure | None = None


class Fate(StrEnum):
    """What became of an event, in the words of the answer."""

    DELIVERED = "delivered"
    QUEUED = "queued"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Result(NamedTuple):
    """What became of one raw event. `failure` says why it is queued or rejected, `skip_reason` why it is skipped.

    `unguarded`: it was delivered without the ledger, which could not be reached. `seconds` is how long its call took,
    `at` when it was settled: of one customer's events, in their order.
    """

    event: Any
    fate: Fate
    at: datetime
    failure: Failure | None = None
    skip_reason: str = ""
    left_out: tuple[LeftOut, ...] = ()
    unguarded: bool = False
    seconds: float | None = None

    @property
    def message_id(self) -> str | None:
        return message_id_of(self.event)


class Project(Protocol):
    """One Voucherify project: how to call it, how fast, and how many calls at a time."""

    @property
    def pace(self) -> Pace: ...

    @property
    def threads(self) -> Threads: ...

    def send(self, request: Request, deadline: Deadline, call: Call) -> Answer:
        """Raises NoAnswer, or GivenUp."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a shop wants: its mapping, and what becomes of a track that may have been applied, now or before."""

    mapping: EventMapping
    ambiguous_track: AmbiguousTrack
    unguarded_track: UnguardedTrack


@dataclass(slots=True)
class _Job:
    """One event on its way, with the request that it becomes; in the end it has a result."""

    arrival: Arrival
    request: Request
    call: Call = field(default_factory=Call)
    result: Result | None = None


class Delivery:
    """Delivers raw events to one project.

    `reload` gives the project under its newest settings where those are others, once its keys were refused, else None.
    `store` and `deletions` are None where there is no table for them. `patient`: nobody waits for an answer, so that a
    window of calls is waited for, and no track is delivered unguarded.
    """

    def __init__(
        self,
        policy: Policy,
        project: Project,
        reload: Callable[[], Project | None],
        store: IdempotencyStore | None,
        deletions: Deletions | None,
        *,
        patient: bool,
    ) -> None:
        self._policy = policy
        self._project = project
        self._reload = reload
        self._store = store
        # Where no delete is taken nobody is deleted, and nothing need be asked.
        self._deletions = None if "delete" in policy.mapping.disabled else deletions
        self._threads = project.threads
        self._patient = patient
        self._halted_by: Failure | None = None
        self._reloading = threading.Lock()
        self._reloaded = False

    def deliver(self, arrivals: Sequence[Arrival], deadline: Deadline) -> list[Result]:
        """Return the result of each event, in their order, at most SETTLE_SECONDS after the deadline.

        No call is begun after the deadline, and none that is under way then is waited for: its connection is closed.
        """
        plans = [self._plan(arrival) for arrival in arrivals]
        jobs = [plan for plan in plans if isinstance(plan, _Job)]
        chains: dict[str, list[_Job]] = {}
        for job in jobs:
            chains.setdefault(job.request.customer, []).append(job)
        started = self._threads.start([partial(self._deliver_chain, chain, deadline) for chain in chains.values()])
        started.wait(deadline.later(_GRACE_SECONDS))
        outcomes = {id(job): job.call.give_up() for job in jobs if not job.result}
        started.wait(deadline.later(SETTLE_SECONDS))
        started.results()
        return [plan if isinstance(plan, Result) else self._conclude(plan, outcomes.get(id(plan))) for plan in plans]

    def _plan(self, arrival: Arrival) -> _Job | Result:
        """Return the job that an event becomes, or its result where it becomes no request."""
        event = arrival.event
        if arrival.refusal:
            return Result(event, Fate.REJECTED, _now(), arrival.refusal)
        try:
            mapped = map_event(event, self._policy.mapping)
        except InvalidEvent as error:
            return Result(event, Fate.REJECTED, _now(), failure_of_invalid_event(error))
        except Exception as error:
            return Result(event, Fate.QUEUED, _now(), failure_of_bug(error))
        if isinstance(mapped, Skip):
            return Result(event, Fate.SKIPPED, _now(), skip_reason=mapped.reason)
        return _Job(arrival, mapped)

    def _conclude(self, job: _Job, outcome: Answer | NoAnswer | None) -> Result:
        """Return the result of an event; `outcome` is what was known of its call when that was given up.

        An answer that came after that is too late: its thread notes a delivery, so that the next one is a duplicate.
        """
        if job.result and not isinstance(outcome, NoAnswer):
            return job.result
        if outcome is None:
            return _result(job, OUT_OF_TIME)
        failure = self._failure_of(outcome, job.request)
        # Delivered, and DynamoDB has not said yet that it knows.
        is_unguarded = failure is None and bool(self._store) and not job.request.is_idempotent
        return _result(job, failure, unguarded=is_unguarded)

    def _deliver_chain(self, chain: Sequence[_Job], deadline: Deadline) -> None:
        for job in chain:
            try:
                job.result = self._deliver_in_turn(job, deadline)
            except GivenUp:
                return
            except Exception as error:
                job.result = _result(job, failure_of_bug(error))

    def _deliver_in_turn(self, job: _Job, deadline: Deadline) -> Result:
        if self._halted_by:
            return _result(job, failure_while_halted(self._halted_by))
        if deadline.seconds_left < MIN_CALL_SECONDS:
            return _result(job, OUT_OF_TIME)
        try:
            if self._deletions and self._is_of_a_deleted_customer(job, self._deletions):
                return Result(job.arrival.event, Fate.SKIPPED, _now(), skip_reason="customer_deleted")
        except DeletionsUnknown:
            return _result(job, DELETIONS_UNKNOWN)
        message_id = message_id_of(job.arrival.event)
        if job.request.is_idempotent or not self._store or not message_id:
            return self._call(job, deadline)
        return self._call_once(job, self._store, message_id, deadline)

    def _is_of_a_deleted_customer(self, job: _Job, deletions: Deletions) -> bool:
        """Whether an event was stored before its customer was deleted. A deletion is noted, before it is called."""
        customer, stored_at = job.request.customer, job.arrival.stored_at
        if job.request.operation is Operation.DELETE_CUSTOMER:
            deletions.note(customer, stored_at or _now())
            return False
        return stored_at is not None and deletions.is_deleted_since(customer, stored_at)

    def _call_once(self, job: _Job, store: IdempotencyStore, message_id: str, deadline: Deadline) -> Result:
        """Call Voucherify between claiming a track and noting what became of it."""
        claim = store.acquire(message_id, deadline, reserve_seconds=MIN_CALL_SECONDS)
        if claim.state is ClaimState.COMPLETED:
            return Result(job.arrival.event, Fate.DUPLICATE, _now())
        if claim.state is ClaimState.HELD_BY_ANOTHER:
            return _result(job, IN_PROGRESS)
        is_unguarded = claim.state is ClaimState.UNKNOWN
        if is_unguarded and (self._patient or self._policy.unguarded_track is UnguardedTrack.QUEUE):
            return _result(job, DELIVERIES_UNKNOWN)
        try:
            result = self._call(job, deadline)
        except GivenUp:
            store.release(claim)
            raise
        if result.fate is not Fate.DELIVERED:
            store.release(claim)
            return result
        is_known = store.mark_completed(claim)
        return result._replace(unguarded=is_unguarded or not is_known)

    def _call(self, job: _Job, deadline: Deadline) -> Result:
        """Call Voucherify, and once more under new settings where the keys are refused."""
        project = self._project
        result = self._call_project(project, job, deadline)
        failure = result.failure
        if failure and failure.code == CREDENTIALS_REFUSED and (other := self._other_than(project)):
            result = self._call_project(other, job, deadline)
        if result.failure and result.failure.halts:
            self._halted_by = result.failure
        return result

    def _call_project(self, project: Project, job: _Job, deadline: Deadline) -> Result:
        """Call Voucherify when the plan allows it."""
        if closed := project.pace.acquire(deadline, patient=self._patient):
            return _result(job, closed)
        answer: Answer | None = None
        failure: Failure | None = OUT_OF_TIME
        started = time.monotonic()
        try:
            if deadline.seconds_left < MIN_CALL_SECONDS:  # waiting has used it up
                return _result(job, OUT_OF_TIME)
            outcome = self._send(project, job, deadline)
            answer = outcome if isinstance(outcome, Answer) else None
            failure = self._failure_of(outcome, job.request)
            return _result(job, failure, seconds=time.monotonic() - started)
        finally:
            project.pace.release(answer, failure)

    def _send(self, project: Project, job: _Job, deadline: Deadline) -> Answer | NoAnswer:
        try:
            return project.send(job.request, deadline, job.call)
        except NoAnswer as error:
            return error

    def _failure_of(self, outcome: Answer | NoAnswer, request: Request) -> Failure | None:
        if isinstance(outcome, Answer):
            return failure_of_answer(outcome, request)
        return failure_of_no_answer(outcome, request, self._policy.ambiguous_track)

    def _other_than(self, refused: Project) -> Project | None:
        """The project under settings read again, once, where its keys are no longer those that were refused."""
        with self._reloading:
            if self._project is refused and not self._reloaded:
                self._reloaded = True
                self._project = self._reload() or refused
            return self._project if self._project is not refused else None


def _result(job: _Job, failure: Failure | None, *, unguarded: bool = False, seconds: float | None = None) -> Result:
    fate = Fate.DELIVERED if failure is None else Fate.REJECTED if failure.permanent else Fate.QUEUED
    return Result(job.arrival.event, fate, _now(), failure, "", job.request.left_out, unguarded, seconds)


def _now() -> datetime:
    return datetime.now(UTC)
