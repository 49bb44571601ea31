"""What all parts of the model share: the time, the parameters, Voucherify, and what execution environments know."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

import simpy

from cli.planning.deployment import ENVIRONMENT, RETRY_CONCURRENCY, WORKER_TIME_OUT_SECONDS
from cli.planning.events import Event
from cli.planning.figures import Figures
from cli.planning.shared import OneThread, StateInMemory
from cli.planning.voucherify import Limit, Voucherify
from handler.delivery.shared_state import SharedState
from handler.model.failure import Failure
from handler.settings.settings import DEFAULT_CALL_SHARE
from handler.voucherify.client import Answer


@dataclass(frozen=True)
class Timings:
    """Seconds that things take. docs/cost.md says where they come from.

    `call`: a call of Voucherify. `action`: an
    asynchronous action, which is done at the second poll. `database`: a write to DynamoDB. `queue`: ten
    messages to SQS. `request` and `event`: our own work for a request and for each of its events.
    """

    call: float = 0.1
    action: float = 1.5
    database: float = 0.005
    queue: float = 0.01
    request: float = 0.01
    event: float = 0.0005


@dataclass(frozen=True)
class Setup:
    """A deployment under a rate limit. `calls_per_day`: 0 for any number.

    `environments` exist behind the API at the start; more are started as requests need them. `is_shared`: they have a
    table in DynamoDB, and tell each other what they know of the calls.
    """

    limit: Limit
    share: int = DEFAULT_CALL_SHARE
    calls_per_day: int = 0
    environments: int = 1
    is_shared: bool = True
    workers: int = RETRY_CONCURRENCY
    worker_seconds: float = WORKER_TIME_OUT_SECONDS
    budget: float = ENVIRONMENT.response_budget_seconds
    concurrency: int = ENVIRONMENT.voucherify_concurrency
    timings: Timings = field(default_factory=Timings)


class World:
    """One simulation: its time, what it measures, Voucherify, and what execution environments tell each other."""

    def __init__(self, setup: Setup, seed: int = 1) -> None:
        self.setup = setup
        self.time = simpy.Environment()
        self.draw = random.Random(seed)  # nosec B311
        self.figures = Figures()
        self._stored = StateInMemory(self.clock, self.figures.usage)
        self._voucherify = Voucherify(setup.limit)

    def clock(self) -> float:
        return float(self.time.now)

    def new_state(self) -> SharedState:
        """Return what a new execution environment knows of the others: nothing yet."""
        return SharedState(self._stored, OneThread(1), self.clock)

    def wait(self, seconds: float) -> simpy.Event:
        return self.time.timeout(seconds)

    def work(self, seconds: float) -> simpy.Event:
        """Wait for work that takes so long on average: half of it always, the rest at random."""
        return self.time.timeout(seconds / 2 + self.draw.expovariate(2 / seconds) if seconds else 0.0)

    def answer(self, purpose: str) -> tuple[Answer, Failure | None]:
        """Return the answer to a call, and its failure."""
        answer, failure = self._voucherify.answer(self.clock())
        minute = math.floor(self.clock() / 60)
        self.figures.calls[purpose] += 1
        self.figures.calls_by_minute[minute] += 1
        if failure:
            self.figures.refused[purpose] += 1
            self.figures.refused_by_minute[minute] += 1
        return answer, failure

    def delivered(self, events: Iterable[Event]) -> None:
        """Note that events are in Voucherify now."""
        now = self.clock()
        self.figures.last_delivery = now
        for event in events:
            self.figures.delivered += 1
            if event.failed_at is not None:
                self.figures.delays.append(now - event.arrived_at)
