"""A discrete-event model of the destination under a rate limit: the API, the retry queue and the retry worker.

It answers what no formula does: how long events wait, and how many calls are refused, when many execution environments
share the windows of one plan. local/soak has the real function under the same load; docs/scale.md compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from typing import Any

import simpy

from cli.planning.deployment import BATCH_SIZE, BATCHING_WINDOW_SECONDS, ENVIRONMENT, MAX_RECEIVES
from cli.planning.events import Arrival, Event
from cli.planning.execution import ExecutionEnvironment, Outcomes, Steps
from cli.planning.figures import Backlog, Figures
from cli.planning.retry_queue import RetryQueue
from cli.planning.world import Setup, World
from handler.api.webhook_handler import STORE_SECONDS, STORE_SECONDS_PER_EVENT
from handler.delivery.backoff import backoff_seconds
from handler.model.deadline import Deadline
from handler.model.failure import Failure
from handler.model.reason_codes import ReasonCode
from handler.retry_worker import LONGEST_WAIT_SECONDS, MOST_HIDDEN, RESERVE_SECONDS
from handler.storage.queues import MAX_BATCH_ENTRIES, MAX_DELAY_SECONDS

# Lambda's event source asks for more messages as often while it collects a batch.
_COLLECT_SECONDS = 0.02

# The requests to SQS with the events of one batch arrive within this time.
_SPREAD_SECONDS = 0.1


def simulate(
    setup: Setup,
    arrivals: Iterable[Arrival],
    *,
    most_seconds: float = math.inf,
    drained_from: float = math.inf,
    sample_seconds: float = 60.0,
    one_by_one: bool = False,
    seed: int = 1,
) -> Figures:
    """Simulate until all events have arrived and are delivered, or for so many seconds.

    From `drained_from` on it ends as soon as no event waits. The backlog is sampled every `sample_seconds`.
    `one_by_one`: Segment waits for the answer to each request before it sends the next one.
    """
    return _Model(World(setup, seed), drained_from, sample_seconds).run(arrivals, most_seconds, one_by_one=one_by_one)


class _Model:
    def __init__(self, world: World, drained_from: float, sample_seconds: float) -> None:
        self._world = world
        self._queue = RetryQueue(world.time)
        self._idle = [ExecutionEnvironment(world, waits=False) for _ in range(world.setup.environments)]
        world.figures.environments = len(self._idle)
        self._drained_from = drained_from
        self._sample_seconds = sample_seconds
        self._have_all_arrived = False
        self._done = self._world.time.event()

    def run(self, arrivals: Iterable[Arrival], most_seconds: float, *, one_by_one: bool) -> Figures:
        time = self._world.time
        time.process(self._one_by_one(arrivals) if one_by_one else self._at_their_time(arrivals))
        time.process(self._sample())
        for _ in range(self._world.setup.workers):
            time.process(self._work(ExecutionEnvironment(self._world, waits=True)))
        end = self._done | time.timeout(most_seconds) if most_seconds < math.inf else self._done
        time.run(end)
        self._note_backlog()
        self._world.figures.seconds = self._world.clock()
        return self._world.figures

    # What Segment sends.

    def _at_their_time(self, arrivals: Iterable[Arrival]) -> Steps[None]:
        for arrival in arrivals:
            yield self._world.wait(max(0.0, arrival.at - self._world.clock()))
            self._world.time.process(self._take(arrival.events))
        self._all_have_arrived()

    def _one_by_one(self, arrivals: Iterable[Arrival]) -> Steps[None]:
        for arrival in arrivals:
            yield self._world.wait(max(0.0, arrival.at - self._world.clock()))
            yield from self._take(arrival.events)
        self._all_have_arrived()

    def _all_have_arrived(self) -> None:
        self._have_all_arrived = True
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._have_all_arrived and not self._world.figures.left and not self._done.triggered:
            self._done.succeed()

    # The function behind the API.

    def _take(self, events: Sequence[Event]) -> Steps[None]:
        """Answer one request in any execution environment that is idle, or in a new one."""
        world, setup, figures = self._world, self._world.setup, self._world.figures
        figures.accepted += len(events)
        if self._idle:
            place = world.draw.randrange(len(self._idle))
            self._idle[place], self._idle[-1] = self._idle[-1], self._idle[place]
            environment = self._idle.pop()
        else:
            environment = ExecutionEnvironment(world, waits=False)
            figures.environments += 1
        began = world.clock()
        seconds = setup.budget - min(STORE_SECONDS, setup.budget / 4) - len(events) * STORE_SECONDS_PER_EVENT
        deadline = Deadline.after(seconds, world.clock)
        yield world.wait(setup.timings.request + len(events) * setup.timings.event)
        outcomes = yield from environment.deliver(events, deadline)
        if waiting := _failures(outcomes):
            yield from self._store(waiting, environment)
        self._idle.append(environment)
        figures.usage.api_requests += 1
        self._end_invocation(began)

    def _store(self, failures: dict[Event, Failure], environment: ExecutionEnvironment) -> Steps[None]:
        limiter, now = environment.limiter, self._world.clock()
        delays = [
            round(limiter.reserve_wait_seconds() if failure.waits_for_quota else limiter.seconds_closed)
            for failure in failures.values()
        ]
        yield from self._send_to_sqs(len(failures))
        self._world.figures.stored += len(failures)
        for event in failures:
            event.failed_at = now
            event.only_waits = ReasonCode.is_wait(failures[event].code)
        self._send(list(failures), delays)

    # The retry worker.

    def _work(self, environment: ExecutionEnvironment) -> Generator[simpy.Event, Any, None]:
        """Hand batches to one execution environment, as Lambda's event source does."""
        world = self._world
        while True:
            batch = self._queue.receive(BATCH_SIZE)
            if not batch:
                yield self._queue.next_message()
                continue
            until = world.clock() + BATCHING_WINDOW_SECONDS
            while len(batch) < BATCH_SIZE and world.clock() < until:
                yield world.wait(_COLLECT_SECONDS)
                batch += self._queue.receive(BATCH_SIZE - len(batch))
            world.figures.usage.sqs_requests += _requests(len(batch))
            began = world.clock()
            yield from self._handle(batch, environment)
            self._end_invocation(began)
            self._end_if_done()

    def _handle(self, batch: list[Event], environment: ExecutionEnvironment) -> Steps[None]:
        world, setup = self._world, self._world.setup
        reserve = min(RESERVE_SECONDS, setup.worker_seconds / 3)
        deadline = Deadline.after(setup.worker_seconds - reserve, world.clock)
        yield world.wait(setup.timings.request + len(batch) * setup.timings.event)
        batch.sort(key=lambda event: (event.failed_at, event.stored_at))
        failures = _failures((yield from environment.deliver(batch, deadline)))
        dead = [event for event, failure in failures.items() if self._is_dead(event, failure)]
        retries = {
            event: self._seconds_until_next_try(event, failure, environment)
            for event, failure in failures.items()
            if event not in dead
        }
        waits = {event for event in retries if ReasonCode.is_wait(failures[event].code)}
        # Hidden where few wait, and otherwise sent again as new messages.
        sent_again = waits if len(waits) > MOST_HIDDEN else set()
        for event, seconds in retries.items():
            event.only_waits = event in waits and event.only_waits
            if event not in sent_again:
                self._queue.hide(event, seconds)
        yield from self._send_to_sqs(len(sent_again))
        self._queue.delete(event for event in batch if event not in retries or event in sent_again)
        again = [event for event in retries if event in sent_again]
        self._send(again, [retries[event] for event in again])
        hidden = len(retries) - len(sent_again)
        world.figures.dead += len(dead)
        world.figures.usage.sqs_requests += _requests(hidden) + _requests(len(batch) - hidden)

    def _is_dead(self, event: Event, failure: Failure) -> bool:
        """Return whether nobody tries an event again. One that waits has nearly as long as SQS keeps a message."""
        waits = event.only_waits or ReasonCode.is_wait(failure.code)
        longest = LONGEST_WAIT_SECONDS if waits else ENVIRONMENT.retry_hours * 3600
        return event.receives > MAX_RECEIVES or self._world.clock() - event.stored_at > longest

    def _seconds_until_next_try(self, event: Event, failure: Failure, environment: ExecutionEnvironment) -> int:
        limiter = environment.limiter
        if failure.waits_for_quota:
            return math.ceil(limiter.reserve_wait_seconds())
        backoff = backoff_seconds(self._world.clock() - event.stored_at, self._world.draw.uniform)
        return max(backoff, math.ceil(limiter.seconds_closed))

    # What AWS does.

    def _send_to_sqs(self, messages: int) -> Steps[None]:
        requests = _requests(messages)
        self._world.figures.usage.sqs_requests += requests
        in_parallel = math.ceil(requests / self._world.setup.concurrency)
        yield self._world.wait(in_parallel * self._world.setup.timings.queue)

    def _send(self, events: Sequence[Event], delays: Sequence[int]) -> None:
        """Send messages, each in a request with some others, which arrive one after the other."""
        late = 0.0
        for place, (event, delay) in enumerate(zip(events, delays, strict=True)):
            if place % MAX_BATCH_ENTRIES == 0:
                late = self._world.draw.uniform(0, _SPREAD_SECONDS)
            self._queue.send(event, min(delay, MAX_DELAY_SECONDS) + late)

    def _end_invocation(self, began: float) -> None:
        usage = self._world.figures.usage
        usage.lambda_requests += 1
        usage.lambda_seconds += self._world.clock() - began
        self._end_if_done()

    def _sample(self) -> Generator[simpy.Event, Any, None]:
        while True:
            self._note_backlog()
            if self._world.clock() >= self._drained_from and not self._world.figures.backlog[-1].events:
                self._done.succeed()
                return
            yield self._world.wait(self._sample_seconds)

    def _note_backlog(self) -> None:
        self._world.figures.backlog.append(
            Backlog(self._world.clock(), self._queue.waiting[True], self._queue.waiting[False])
        )


def _failures(outcomes: Outcomes) -> dict[Event, Failure]:
    return {event: failure for event, failure in outcomes.items() if failure}


def _requests(messages: int) -> int:
    return math.ceil(messages / MAX_BATCH_ENTRIES)
