"""Events to Voucherify: customers in parallel, one customer's events in their order, until the time is used up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from handler.deduplication import Claim, Deduplication
from handler.deletions import Deletions, DeletionsUnknown
from handler.outcome import (
    CREDENTIALS_REFUSED,
    DELETIONS_UNKNOWN,
    IN_PROGRESS,
    OUT_OF_TIME,
    AmbiguousTrack,
    Failure,
    failure_of_answer,
    failure_of_bug,
    failure_of_invalid_event,
    failure_of_no_answer,
    failure_while_halted,
)
from handler.pace import Pace
from handler.pool import Pool
from handler.voucherify import Answer, NoAnswer
from mapping import EventMapping, InvalidEvent, LeftOut, Operation, Request, Skip, map_event, message_id_of

# A call that would hardly be answered in what is left is not begun: the track would be in doubt.
MIN_CALL_SECONDS = 0.3

# A claim holds for the time of the call and for writing down what came of it.
CLAIM_MARGIN_SECONDS = 5.0


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
    """One Voucherify project: how to call it, and how fast."""

    @property
    def pace(self) -> Pace: ...

    def send(self, request: Request, timeout_seconds: float) -> Answer:
        """Raises NoAnswer."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a shop wants: its mapping, and what becomes of a track that may have been applied."""

    mapping: EventMapping
    ambiguous_track: AmbiguousTrack


class _Planned(NamedTuple):
    """A request that waits for its call, by the place of its event."""

    place: int
    arrival: Arrival
    request: Request


class Delivery:
    """Delivers raw events to one project.

    `reload` gives the project under its newest settings where those are others, once its keys were refused, else None.
    `ledger` and `deletions` are None where there is no table for them. `patient` waits for the next window of calls.
    """

    def __init__(
        self,
        policy: Policy,
        project: Project,
        reload: Callable[[], Project | None],
        ledger: Deduplication | None,
        deletions: Deletions | None,
        pool: Pool,
        *,
        patient: bool,
    ) -> None:
        self._policy = policy
        self._project = project
        self._reload = reload
        self._ledger = ledger
        # Where no delete is taken nobody is deleted, and nothing need be asked.
        self._deletions = None if "delete" in policy.mapping.disabled else deletions
        self._pool = pool
        self._patient = patient
        self._halted_by: Failure | None = None
        self._reloading = threading.Lock()
        self._reloaded = False

    def deliver(self, arrivals: Sequence[Arrival], time_left: Callable[[int], float]) -> list[Result]:
        """The result of each event, in their order.

        `time_left` gives the seconds until nothing more may be called, where so many events may still have to be
        stored.
        """
        results: dict[int, Result] = {}
        chains: dict[str, list[_Planned]] = {}
        for place, arrival in enumerate(arrivals):
            planned = self._plan(place, arrival)
            if isinstance(planned, Result):
                results[place] = planned
            else:
                chains.setdefault(planned.request.customer, []).append(planned)

        unsettled = _Countdown(sum(map(len, chains.values())))

        def deliver_chain(chain: list[_Planned]) -> None:
            for planned in chain:
                result = self._deliver(planned, lambda: time_left(unsettled.count))
                results[planned.place] = result
                if not result.failure:
                    unsettled.decrease()

        self._pool.map(deliver_chain, list(chains.values()))
        return [results[place] for place in range(len(arrivals))]

    def _plan(self, place: int, arrival: Arrival) -> _Planned | Result:
        """The request that an event becomes, or its result where it becomes none."""
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
        return _Planned(place, arrival, mapped)

    def _deliver(self, planned: _Planned, time_left: Callable[[], float]) -> Result:
        try:
            return self._deliver_at_its_turn(planned, time_left)
        except Exception as error:
            return _result(planned, failure_of_bug(error))

    def _deliver_at_its_turn(self, planned: _Planned, time_left: Callable[[], float]) -> Result:
        if self._halted_by:
            return _result(planned, failure_while_halted(self._halted_by))
        if time_left() < MIN_CALL_SECONDS:
            return _result(planned, OUT_OF_TIME)
        try:
            if self._deletions and self._is_of_a_deleted_customer(planned, self._deletions):
                return Result(planned.arrival.event, Fate.SKIPPED, _now(), skip_reason="customer_deleted")
        except DeletionsUnknown:
            return _result(planned, DELETIONS_UNKNOWN)
        pace = self._project.pace
        if closed := pace.acquire(time_left, patient=self._patient):
            return _result(planned, closed)
        call = _Call()
        try:
            return self._deliver_once(planned, call, time_left)
        finally:
            pace.release(call.answer, call.failure)

    def _is_of_a_deleted_customer(self, planned: _Planned, deletions: Deletions) -> bool:
        """Whether an event was stored before its customer was deleted. A deletion is noted, before it is called."""
        customer, stored_at = planned.request.customer, planned.arrival.stored_at
        if planned.request.operation is Operation.DELETE_CUSTOMER:
            deletions.note(customer, stored_at or _now())
            return False
        return stored_at is not None and deletions.is_deleted_since(customer, stored_at)

    def _deliver_once(self, planned: _Planned, call: _Call, time_left: Callable[[], float]) -> Result:
        """Call Voucherify between claiming the event in the ledger and keeping or releasing it, if it is a track."""
        ledger = None if planned.request.is_idempotent else self._ledger
        message_id = message_id_of(planned.arrival.event) if ledger else None
        if not (ledger and message_id):
            self._call(planned.request, call, time_left)
            return _result(planned, call.failure, call)
        claim = ledger.claim(message_id, time_left() + CLAIM_MARGIN_SECONDS)
        if claim is Claim.DELIVERED:
            return Result(planned.arrival.event, Fate.DUPLICATE, _now())
        if claim is Claim.IN_PROGRESS:
            return _result(planned, IN_PROGRESS)
        self._call(planned.request, call, time_left)
        if call.failure and claim is Claim.UNGUARDED:  # nothing to release: what is there may be an earlier delivery's
            return _result(planned, call.failure, call, unguarded=True)
        settle = ledger.release if call.failure else ledger.keep
        is_settled = settle(message_id)
        return _result(planned, call.failure, call, unguarded=claim is Claim.UNGUARDED or not is_settled)

    def _call(self, request: Request, call: _Call, time_left: Callable[[], float]) -> None:
        if time_left() < MIN_CALL_SECONDS:  # waiting for the window, or for the ledger, has used it up
            call.failure = OUT_OF_TIME
            return
        project = self._project
        self._send(project, request, call, time_left)
        if call.failure and call.failure.code == CREDENTIALS_REFUSED and (other := self._other_than(project)):
            self._send(other, request, call, time_left)
        if call.failure and call.failure.halts:
            self._halted_by = call.failure

    def _send(self, project: Project, request: Request, call: _Call, time_left: Callable[[], float]) -> None:
        started = time.monotonic()
        try:
            call.answer = project.send(request, time_left())
            call.failure = failure_of_answer(call.answer, request)
        except NoAnswer as error:
            call.failure = failure_of_no_answer(error, request, self._policy.ambiguous_track)
        call.seconds = time.monotonic() - started

    def _other_than(self, refused: Project) -> Project | None:
        """The project under settings read again, once, where its keys are no longer those that were refused."""
        with self._reloading:
            if self._project is refused and not self._reloaded:
                self._reloaded = True
                self._project = self._reload() or refused
            return self._project if self._project is not refused else None


@dataclass(slots=True)
class _Call:
    """What came of a call, if one was made."""

    answer: Answer | None = None
    failure: Failure | None = None
    seconds: float | None = None


class _Countdown:
    """How many events may still have to be stored. Thread-safe."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._lock = threading.Lock()

    def decrease(self) -> None:
        with self._lock:
            self.count -= 1


def _result(
    planned: _Planned, failure: Failure | None, call: _Call | None = None, *, unguarded: bool = False
) -> Result:
    fate = Fate.DELIVERED if failure is None else Fate.REJECTED if failure.permanent else Fate.QUEUED
    left_out = planned.request.left_out
    seconds = call.seconds if call else None
    return Result(planned.arrival.event, fate, _now(), failure, "", left_out, unguarded, seconds)


def _now() -> datetime:
    return datetime.now(UTC)
