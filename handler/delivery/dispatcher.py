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

from handler.delivery.rate_limiter import RateLimiter
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


class Job(NamedTuple):
    """A raw event to be delivered, since when it was stored, if it was, and why it is refused unseen, if it is."""

    event: Any
    stored_at: datetime | None = None
    refusal: Failure | None = None


class DeliveryStatus(StrEnum):
    """What became of an event, in the words of the answer."""

    DELIVERED = "delivered"
    QUEUED = "queued"
    SKIPPED = "skipped"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"


class Outcome(NamedTuple):
    """What became of one raw event. `failure` says why it is queued or rejected, `skip_reason` why it is skipped.

    `unguarded`: it was delivered without the ledger, which could not be reached. `seconds` is how long its call took,
    `at` when it was settled: of one customer's events, in their order.
    """

    event: Any
    status: DeliveryStatus
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
    def rate_limiter(self) -> RateLimiter: ...

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
class _Task:
    """One event on its way, with the request that it becomes; in the end it has a result."""

    job: Job
    request: Request
    call: Call = field(default_factory=Call)
    result: Outcome | None = None


class Delivery:
    """Delivers raw events to one project.

    `reload` gives the project under its newest settings where those are others, once its keys were refused, else None.
    `store` and `deletions` are None where there is no table for them. `wait_for_quota`: nobody waits for an answer, so
    a window of calls is waited for, and no track is delivered unguarded.
    """

    def __init__(
        self,
        policy: Policy,
        project: Project,
        reload: Callable[[], Project | None],
        store: IdempotencyStore | None,
        deletions: Deletions | None,
        *,
        wait_for_quota: bool,
    ) -> None:
        self._policy = policy
        self._project = project
        self._reload = reload
        self._store = store
        # Where no delete is taken nobody is deleted, and nothing need be asked.
        self._deletions = None if "delete" in policy.mapping.disabled else deletions
        self._threads = project.threads
        self._wait_for_quota = wait_for_quota
        self._halted_by: Failure | None = None
        self._reloading = threading.Lock()
        self._reloaded = False

    def deliver(self, jobs: Sequence[Job], deadline: Deadline) -> list[Outcome]:
        """Return the result of each event, in their order, at most SETTLE_SECONDS after the deadline.

        No call is begun after the deadline, and none that is under way then is waited for: its connection is closed.
        """
        plans = [self._plan(job) for job in jobs]
        tasks = [plan for plan in plans if isinstance(plan, _Task)]
        chains: dict[str, list[_Task]] = {}
        for task in tasks:
            chains.setdefault(task.request.customer, []).append(task)
        started = self._threads.start([partial(self._deliver_chain, chain, deadline) for chain in chains.values()])
        started.wait(deadline.later(_GRACE_SECONDS))
        outcomes = {id(task): task.call.give_up() for task in tasks if not task.result}
        started.wait(deadline.later(SETTLE_SECONDS))
        started.results()
        return [plan if isinstance(plan, Outcome) else self._conclude(plan, outcomes.get(id(plan))) for plan in plans]

    def _plan(self, job: Job) -> _Task | Outcome:
        """Return the task that an event becomes, or its result where it becomes no request."""
        event = job.event
        if job.refusal:
            return Outcome(event, DeliveryStatus.REJECTED, _now(), job.refusal)
        try:
            mapped = map_event(event, self._policy.mapping)
        except InvalidEvent as error:
            return Outcome(event, DeliveryStatus.REJECTED, _now(), failure_of_invalid_event(error))
        except Exception as error:
            return Outcome(event, DeliveryStatus.QUEUED, _now(), failure_of_bug(error))
        if isinstance(mapped, Skip):
            return Outcome(event, DeliveryStatus.SKIPPED, _now(), skip_reason=mapped.reason)
        return _Task(job, mapped)

    def _conclude(self, task: _Task, outcome: Answer | NoAnswer | None) -> Outcome:
        """Return the result of an event; `outcome` is what was known of its call when that was given up.

        An answer that came after that is too late: its thread notes a delivery, so that the next one is a duplicate.
        """
        if task.result and not isinstance(outcome, NoAnswer):
            return task.result
        if outcome is None:
            return _result(task, OUT_OF_TIME)
        failure = self._failure_of(outcome, task.request)
        # Delivered, and DynamoDB has not said yet that it knows.
        is_unguarded = failure is None and bool(self._store) and not task.request.is_idempotent
        return _result(task, failure, unguarded=is_unguarded)

    def _deliver_chain(self, chain: Sequence[_Task], deadline: Deadline) -> None:
        for task in chain:
            try:
                task.result = self._deliver_in_turn(task, deadline)
            except GivenUp:
                return
            except Exception as error:
                task.result = _result(task, failure_of_bug(error))

    def _deliver_in_turn(self, task: _Task, deadline: Deadline) -> Outcome:
        if self._halted_by:
            return _result(task, failure_while_halted(self._halted_by))
        if deadline.seconds_left < MIN_CALL_SECONDS:
            return _result(task, OUT_OF_TIME)
        try:
            if self._deletions and self._is_of_a_deleted_customer(task, self._deletions):
                return Outcome(task.job.event, DeliveryStatus.SKIPPED, _now(), skip_reason="customer_deleted")
        except DeletionsUnknown:
            return _result(task, DELETIONS_UNKNOWN)
        message_id = message_id_of(task.job.event)
        if task.request.is_idempotent or not self._store or not message_id:
            return self._call(task, deadline)
        return self._call_once(task, self._store, message_id, deadline)

    def _is_of_a_deleted_customer(self, task: _Task, deletions: Deletions) -> bool:
        """Whether an event was stored before its customer was deleted. A deletion is noted, before it is called."""
        customer, stored_at = task.request.customer, task.job.stored_at
        if task.request.operation is Operation.DELETE_CUSTOMER:
            deletions.note(customer, stored_at or _now())
            return False
        return stored_at is not None and deletions.is_deleted_since(customer, stored_at)

    def _call_once(self, task: _Task, store: IdempotencyStore, message_id: str, deadline: Deadline) -> Outcome:
        """Call Voucherify between claiming a track and noting what became of it."""
        claim = store.acquire(message_id, deadline, reserve_seconds=MIN_CALL_SECONDS)
        if claim.state is ClaimState.COMPLETED:
            return Outcome(task.job.event, DeliveryStatus.DUPLICATE, _now())
        if claim.state is ClaimState.HELD_BY_ANOTHER:
            return _result(task, IN_PROGRESS)
        is_unguarded = claim.state is ClaimState.UNKNOWN
        if is_unguarded and (self._wait_for_quota or self._policy.unguarded_track is UnguardedTrack.QUEUE):
            return _result(task, DELIVERIES_UNKNOWN)
        try:
            result = self._call(task, deadline)
        except GivenUp:
            store.release(claim)
            raise
        if result.status is not DeliveryStatus.DELIVERED:
            store.release(claim)
            return result
        is_known = store.mark_completed(claim)
        return result._replace(unguarded=is_unguarded or not is_known)

    def _call(self, task: _Task, deadline: Deadline) -> Outcome:
        """Call Voucherify, and once more under new settings where the keys are refused."""
        project = self._project
        result = self._call_project(project, task, deadline)
        failure = result.failure
        if failure and failure.code == CREDENTIALS_REFUSED and (other := self._other_than(project)):
            result = self._call_project(other, task, deadline)
        if result.failure and result.failure.halts:
            self._halted_by = result.failure
        return result

    def _call_project(self, project: Project, task: _Task, deadline: Deadline) -> Outcome:
        """Call Voucherify when the plan allows it."""
        if closed := project.rate_limiter.acquire(deadline, wait_for_quota=self._wait_for_quota):
            return _result(task, closed)
        answer: Answer | None = None
        failure: Failure | None = OUT_OF_TIME
        started = time.monotonic()
        try:
            if deadline.seconds_left < MIN_CALL_SECONDS:  # waiting has used it up
                return _result(task, OUT_OF_TIME)
            outcome = self._send(project, task, deadline)
            answer = outcome if isinstance(outcome, Answer) else None
            failure = self._failure_of(outcome, task.request)
            return _result(task, failure, seconds=time.monotonic() - started)
        finally:
            project.rate_limiter.release(answer, failure)

    def _send(self, project: Project, task: _Task, deadline: Deadline) -> Answer | NoAnswer:
        try:
            return project.send(task.request, deadline, task.call)
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


def _result(task: _Task, failure: Failure | None, *, unguarded: bool = False, seconds: float | None = None) -> Outcome:
    status = (
        DeliveryStatus.DELIVERED
        if failure is None
        else DeliveryStatus.REJECTED
        if failure.permanent
        else DeliveryStatus.QUEUED
    )
    return Outcome(task.job.event, status, _now(), failure, "", task.request.left_out, unguarded, seconds)


def _now() -> datetime:
    return datetime.now(UTC)
