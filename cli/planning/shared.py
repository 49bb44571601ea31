"""What execution environments tell each other: the function's own rules, on a table in memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from cli.planning.figures import Usage
from handler.model.deadline import Deadline
from handler.storage.project_state import SAME_END_SECONDS, Closing, ProjectState, State, Taken
from handler.threads import Threads

T = TypeVar("T")


class StateInMemory(ProjectState):
    """One project's state. It allows what the conditions of the writes to DynamoDB allow, and counts them."""

    def __init__(self, clock: Callable[[], float], usage: Usage) -> None:
        super().__init__(_no_client, "", "", clock)
        self._usage = usage
        self._waiting_since: float | None = None
        self._waiting_until = -math.inf
        self._closing: Closing | None = None
        self._calls_of_window = 0
        self._calls_of_day: Counter[str] = Counter()

    def read(self) -> State:
        self._usage.dynamodb_reads += 1
        return State(self._waiting_since if self._waiting_until >= self._clock() else None, self._closing)

    def extend_waiting(self, seconds: float) -> None:
        self._usage.dynamodb_writes += 1
        now = self._clock()
        if self._waiting_until < now:
            self._waiting_since = now
        self._waiting_until = now + seconds

    def close(self, closing: Closing) -> Closing:
        self._usage.dynamodb_writes += 1
        if self._closing is None or self._closing.until < closing.until - SAME_END_SECONDS:
            self._closing, self._calls_of_window = closing, 0
        return self._closing

    def take_calls_of_window(self, calls: int, most: int) -> Taken:
        self._usage.dynamodb_writes += 1
        if self._closing is None or self._closing.until > self._clock() or self._calls_of_window >= most:
            return Taken(0, self._closing)
        self._calls_of_window += calls
        return Taken(calls - max(0, self._calls_of_window - most), self._closing)

    def take_calls_of_day(self, day: str, calls: int, most: int) -> Taken:
        self._usage.dynamodb_writes += 1
        if self._calls_of_day[day] >= most:
            return Taken(0)
        self._calls_of_day[day] += calls
        return Taken(calls - max(0, self._calls_of_day[day] - most))


class OneThread(Threads):
    """Makes calls that take no time in the thread of the model."""

    def run(self, calls: Sequence[Callable[[], T]], deadline: Deadline) -> list[T | None]:
        return [call() for call in calls]


def _no_client() -> NoReturn:
    raise NotImplementedError("the state is in memory")
