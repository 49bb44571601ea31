"""The calls that the execution environments of one project share, under a clock that stands still until it is moved."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from handler.delivery.rate_limiter import RateLimiter
from handler.delivery.shared_calls import SharedCalls
from handler.delivery.shared_state import REFRESH_SECONDS, SharedState
from handler.model.deadline import Deadline
from handler.model.failure import WINDOW_USED_UP, Failure, Severity
from handler.storage.project_state import Closing, ProjectState
from handler.threads import Threads
from handler.voucherify.answers import failure_of_answer
from handler.voucherify.client import Answer
from local.stack.aws import LocalAws
from mapping import Operation, Request

pytestmark = pytest.mark.scenario(row=30)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
MINUTE = 60.0
IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": "user-1"}, "user-1")


@dataclass
class Plan:
    """A project of Voucherify: so many calls in each window, which begins with a full minute."""

    limit: int = 100
    calls: Counter[float] = field(default_factory=Counter)
    refused: int = 0

    def answer(self, now: float) -> Answer:
        end = now - now % MINUTE + MINUTE
        self.calls[end] += 1
        left = self.limit - self.calls[end]
        self.refused += left < 0
        headers = {
            "x-rate-limit-limit": str(self.limit),
            "x-rate-limit-remaining": str(max(left, 0)),
            "x-rate-limit-retry": str(end),
        }
        return Answer(200 if left >= 0 else 429, headers, None)


class Environment:
    """One execution environment: it calls as soon as its rate limiter allows it, and waits for nothing."""

    def __init__(self, world: World, share: int, calls_per_day: int) -> None:
        self._clock = world.clock
        self.state = SharedState(world.stored(), world.threads, world.clock)
        self.rate_limiter = RateLimiter(world.clock, share, SharedCalls(self.state, share, calls_per_day, world.clock))

    def ask(self) -> Failure | None:
        """Ask for one call, as for the first event of a batch."""
        self.state.refresh(Deadline.after(60))
        return self.rate_limiter.acquire(Deadline.after(0.0, self._clock), wait_for_quota=False)

    def end(self, answer: Answer) -> None:
        self.rate_limiter.release(answer, failure_of_answer(answer, IDENTIFY))


class World:
    """Execution environments with one clock, one table and one project."""

    def __init__(self, aws: LocalAws, table: str = "") -> None:
        self.now = NOON
        self.plan = Plan()
        self.threads = Threads(1)
        self._client: Any = aws.dynamodb
        self._table = table or aws.environment["DEDUPLICATION_TABLE"]

    def clock(self) -> float:
        return self.now

    def stored(self) -> ProjectState:
        return ProjectState(lambda: self._client, self._table, "project", self.clock)

    def start(self, share: int = 80, calls_per_day: int = 0) -> Environment:
        return Environment(self, share, calls_per_day)

    def call(self, environment: Environment) -> Failure | None:
        """Make one call that is answered at once, or return why not."""
        failure = environment.ask()
        if failure is None:
            environment.end(self.plan.answer(self.now))
        return failure

    def calls_of(self, environment: Environment) -> int:
        """Let an environment call until it may not, and return how often it did."""
        made = 0
        while self.call(environment) is None:
            made += 1
        return made


@pytest.fixture
def world(aws: LocalAws) -> World:
    return World(aws)


def test_who_starts_after_a_window_is_used_up_makes_no_call(world: World) -> None:
    assert world.calls_of(world.start()) == 80
    failure = world.call(world.start())
    assert failure
    assert (failure.code, failure.waits_for_quota) == ("rate_limited", True)
    assert world.plan.refused == 0


def test_who_was_there_before_learns_it_within_seconds(world: World) -> None:
    other = world.start()
    assert world.call(other) is None
    assert world.calls_of(world.start()) == 79
    world.now += REFRESH_SECONDS
    assert world.call(other)
    assert sum(world.plan.calls.values()) == 80


def test_calls_of_the_window_after_it_are_counted_for_all(world: World) -> None:
    environments = [world.start() for _ in range(5)]
    world.calls_of(environments[0])
    world.now += MINUTE
    asked = [environment.ask() for _ in range(30) for environment in environments]
    assert asked.count(None) == 5, "each has one call in progress, until its answer comes"
    world.now += 1
    for environment in environments:
        environment.end(world.plan.answer(world.now))
    assert sum(world.calls_of(environment) for environment in environments) == 75
    assert world.plan.refused == 0


def test_calls_are_counted_in_steps(aws: LocalAws, world: World) -> None:
    world.plan.limit = 500
    environment = world.start(share=100)
    assert world.calls_of(environment) == 500
    world.now += MINUTE
    writes = 0

    def count(**_: Any) -> None:
        nonlocal writes
        writes += 1

    aws.dynamodb.meta.events.register("before-call.dynamodb.UpdateItem", count, unique_id="count")
    try:
        assert world.calls_of(environment) == 500
    finally:
        aws.dynamodb.meta.events.unregister("before-call.dynamodb.UpdateItem", unique_id="count")
    assert 250 <= writes <= 252, "two calls a step"


def test_after_a_window_with_calls_left_nothing_is_counted(aws: LocalAws, world: World) -> None:
    environment = world.start()
    world.calls_of(environment)
    world.now += 2 * MINUTE
    table = aws.environment["DEDUPLICATION_TABLE"]
    before = aws.dynamodb.scan(TableName=table)["Items"]
    assert world.call(environment) is None
    assert world.call(environment) is None
    assert aws.dynamodb.scan(TableName=table)["Items"] == before


def test_smaller_share_does_not_close_a_larger_one(world: World) -> None:
    assert world.calls_of(world.start(share=50)) == 50
    assert world.calls_of(world.start(share=80)) == 30
    assert world.call(world.start(share=50))


def test_refusal_closes_every_share(world: World) -> None:
    world.plan.calls[NOON + MINUTE] = 100
    assert world.calls_of(world.start(share=50)) == 1
    assert world.plan.refused == 1
    assert world.call(world.start(share=100))


def test_after_a_refusal_that_names_no_limit_nothing_is_counted(world: World) -> None:
    environment = world.start()
    assert environment.ask() is None
    environment.end(Answer(429, {}, None))
    assert world.call(world.start())
    world.now += MINUTE
    world.plan.limit = 200
    assert world.calls_of(world.start()) == 160


def test_calls_of_a_day_are_counted_for_all(world: World) -> None:
    environments = [world.start(calls_per_day=70) for _ in range(3)]
    assert sum(world.calls_of(environment) for environment in environments) == 70
    failure = world.call(world.start(calls_per_day=70))
    assert failure
    assert (failure.code, failure.severity) == ("calls_per_day_used_up", Severity.ERROR)
    assert environments[0].rate_limiter.seconds_closed == 12 * 60 * MINUTE, "until midnight, UTC"
    assert world.call(world.start()) is None, "a source without a budget of its own"
    world.now += 12 * 60 * MINUTE
    assert sum(world.calls_of(environment) for environment in environments) == 70


def test_part_of_a_step_is_taken_at_the_end_of_a_day(world: World) -> None:
    world.stored().take_calls_of_day("2026-03-01", 2_999, 3_001)
    assert world.calls_of(world.start(calls_per_day=3_001)) == 2, "a step is three calls"


def test_where_the_table_cannot_be_reached_calls_are_not_counted(aws: LocalAws) -> None:
    world = World(aws, table="no-such-table")
    assert world.calls_of(world.start(calls_per_day=7)) == 80
    world.now += MINUTE
    assert world.calls_of(world.start(calls_per_day=7)) == 80


def test_many_environments_waste_no_call(world: World) -> None:
    simulate(world, environments=8, windows=2)
    first, second = world.plan.calls.values()
    assert world.plan.refused == 0
    assert 80 <= first < 88, "until the first answers come, nobody knows of the others"
    assert second == 80


def simulate(world: World, environments: int, windows: int) -> None:
    """Let each environment receive two events a second. A call, where one is allowed, takes 0.1 s."""
    random_ = random.Random(17)
    order: Iterator[int] = iter(range(10**9))
    agenda: list[tuple[float, int, Callable[[], None]]] = []

    def at(moment: float, act: Callable[[], None]) -> None:
        heapq.heappush(agenda, (moment, next(order), act))

    def receive(environment: Environment) -> None:
        at(world.now + random_.expovariate(2.0), lambda: receive(environment))
        if environment.rate_limiter.closed(Deadline.after(0.0, world.clock), wait_for_quota=False):
            return
        if environment.ask() is None:
            at(world.now + 0.05, lambda: arrive(environment))

    def arrive(environment: Environment) -> None:
        answer = world.plan.answer(world.now)
        at(world.now + 0.05, lambda: environment.end(answer))

    for _ in range(environments):
        environment = world.start()
        at(world.now + random_.expovariate(2.0), lambda environment=environment: receive(environment))  # type: ignore[misc]
    until = world.now + windows * MINUTE - 1
    while agenda and agenda[0][0] < until:
        world.now, _, act = heapq.heappop(agenda)
        act()


def test_a_window_that_is_longer_than_the_closing_says_holds_up_nobody(world: World) -> None:
    """The environment that closed it had its first answer three seconds before the end of a window."""
    world.stored().close(Closing(NOON, WINDOW_USED_UP.code, 100, 10, window_seconds=3.0))
    world.stored().take_calls_of_window(10, 10)
    environment = world.start(share=100)
    environment.state.learn(Closing(NOON + 0.5, WINDOW_USED_UP.code, 100, 10, window_seconds=60.0))
    world.now = NOON + 10
    assert environment.ask() is None
