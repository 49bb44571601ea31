"""One execution environment of the model: what it knows of the rate limit, and the calls that it makes.

It decides by the function's own rate limiter, deadlines and constants, in the order of `handler.delivery`. Only the
time that passes is simulated.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

import simpy

from cli.planning.events import Event
from cli.planning.world import World
from handler.delivery.bulk_update import FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS
from handler.delivery.project import MIN_CALL_SECONDS
from handler.delivery.rate_limiter import RateLimiter
from handler.delivery.shared_calls import SharedCalls
from handler.delivery.stale_attributes import EXTEND_AFTER_SECONDS, WAITING_SECONDS
from handler.model.deadline import Deadline
from handler.model.failure import BULK_NOT_DONE, OUT_OF_TIME, Failure
from handler.voucherify.bulk import CUSTOMERS, FEWEST_ROWS
from handler.voucherify.client import Answer

T = TypeVar("T")
Steps = Generator[simpy.Event, Any, T]

# What became of each event: its failure, or None where it is delivered.
Outcomes = dict[Event, Failure | None]


class ExecutionEnvironment:
    """Delivers events. `waits`: it is the retry worker's, which waits for windows and sends upserts in bulk."""

    def __init__(self, world: World, *, waits: bool) -> None:
        setup = world.setup
        self._state = world.new_state()
        shared = SharedCalls(self._state, setup.share, setup.calls_per_day, world.clock) if setup.is_shared else None
        self.limiter = RateLimiter(world.clock, setup.share, shared)
        self._world = world
        self._waits = waits
        self._waiting_until = float("-inf")
        self._released = world.time.event()

    def deliver(self, events: Sequence[Event], deadline: Deadline) -> Steps[Outcomes]:
        """Return what became of each event. Those of one customer are delivered in their order."""
        self._state.refresh(deadline)
        outcomes: Outcomes = {}
        if self._waits:
            yield from self._deliver_in_bulk(events, outcomes, deadline)
        chains: dict[int, list[Event]] = {}
        for event in events:
            if event not in outcomes:
                chains.setdefault(event.customer, []).append(event)
        yield from self._in_parallel([self._deliver_in_order(chain, outcomes, deadline) for chain in chains.values()])
        if any(outcomes.values()):
            self._record_that_events_wait(deadline)
        return outcomes

    def _record_that_events_wait(self, deadline: Deadline) -> None:
        seconds = self.limiter.seconds_closed + WAITING_SECONDS
        until = self._world.clock() + seconds
        if self._state.waiting_since is None or until - self._waiting_until >= EXTEND_AFTER_SECONDS:
            self._waiting_until = until
            self._state.extend_waiting(seconds, deadline)

    def _in_parallel(self, calls: Sequence[Steps[None]]) -> Steps[None]:
        """Take all these steps, in as many threads as an execution environment has."""
        left = deque(calls)

        def thread() -> Steps[None]:
            while left:
                yield from left.popleft()

        if len(left) == 1:
            yield from thread()
        elif left:
            threads = range(min(len(left), self._world.setup.concurrency))
            yield self._world.time.all_of([self._world.time.process(thread()) for _ in threads])

    def _deliver_in_order(self, events: Sequence[Event], outcomes: Outcomes, deadline: Deadline) -> Steps[None]:
        for event in events:
            outcomes[event] = yield from self._deliver(event, deadline)

    def _deliver(self, event: Event, deadline: Deadline) -> Steps[Failure | None]:
        usage, kind = self._world.figures.usage, event.kind
        for place in range(kind.calls):
            if failure := self._reason_to_wait(deadline):
                return failure
            is_recorded = kind.is_recorded and place == kind.calls - 1
            # A claim, the times of attributes, and the end of the claim. An order's times are always noted.
            is_noted = self._state.waiting_since is not None or event.failed_at is not None or kind.calls > 1
            notes = kind.notes if place == 0 and is_noted else 0
            writes = is_recorded + notes
            usage.dynamodb_writes += writes
            if writes:
                yield self._world.work(writes * self._world.setup.timings.database)
            failure = yield from self._call("single", deadline)
            if is_recorded:
                usage.dynamodb_writes += 1
                yield self._world.work(self._world.setup.timings.database)
            if failure:
                return failure
        self._world.delivered([event])
        return None

    def _reason_to_wait(self, deadline: Deadline) -> Failure | None:
        if closed := self.limiter.closed(deadline, wait_for_quota=self._waits):
            return closed
        return OUT_OF_TIME if deadline.seconds_left < MIN_CALL_SECONDS else None

    def _deliver_in_bulk(self, events: Sequence[Event], outcomes: Outcomes, deadline: Deadline) -> Steps[None]:
        """Send the upserts before the first other event of each customer as rows, one row a customer."""
        rows: dict[int, list[Event]] = {}
        others: set[int] = set()
        for event in events:
            if event.kind.is_row and event.customer not in others:
                rows.setdefault(event.customer, []).append(event)
            else:
                others.add(event.customer)
        if len(rows) < FEWEST_ROWS:
            return
        setup, upserts = self._world.setup, sum(map(len, rows.values()))
        self._world.figures.usage.dynamodb_writes += upserts
        yield self._world.work(math.ceil(upserts / setup.concurrency) * setup.timings.database)
        in_time = deadline.later(-max(0.0, deadline.seconds_left - self.limiter.seconds_closed) / 2)
        customers = list(rows)
        for start in range(0, len(customers), CUSTOMERS.most_rows):
            of_call = set(customers[start : start + CUSTOMERS.most_rows])
            if failure := (yield from self._update(in_time)):
                waiting = [event for event in events if event.customer in of_call and event not in outcomes]
                outcomes.update(dict.fromkeys(waiting, failure))
            else:
                sent = [event for customer in of_call for event in rows[customer]]
                outcomes.update(dict.fromkeys(sent))
                self._world.delivered(sent)

    def _update(self, deadline: Deadline) -> Steps[Failure | None]:
        """Make a call in bulk, and poll its asynchronous action to the end."""
        if failure := (yield from self._call("bulk", deadline)):
            return failure
        done_at, seconds = self._world.clock() + self._world.setup.timings.action, FIRST_POLL_SECONDS
        while deadline.seconds_left > seconds:
            yield self._world.wait(seconds)
            is_done = self._world.clock() >= done_at
            if failure := (yield from self._call("poll", deadline)):
                return failure
            if is_done:
                return None
            seconds = min(2 * seconds, LONGEST_POLL_SECONDS)
        return BULK_NOT_DONE

    def _call(self, purpose: str, deadline: Deadline) -> Steps[Failure | None]:
        """Make a call as soon as the rate limit allows it, and return its failure."""
        usage, database = self._world.figures.usage, self._world.setup.timings.database
        while True:
            writes = usage.dynamodb_writes
            turn = self.limiter.try_acquire(deadline, wait_for_quota=self._waits)
            if usage.dynamodb_writes > writes:  # calls that execution environments share
                yield self._world.work(database)
            if turn is None:
                break
            if isinstance(turn, Failure):
                return turn
            yield self._released | self._world.wait(turn)
        answer: Answer | None = None
        failure: Failure | None = OUT_OF_TIME
        if deadline.seconds_left >= MIN_CALL_SECONDS:
            answer, failure = self._world.answer(purpose)
            yield self._world.work(self._world.setup.timings.call)
        self.limiter.release(answer, failure)
        released, self._released = self._released, self._world.time.event()
        released.succeed()
        return failure
