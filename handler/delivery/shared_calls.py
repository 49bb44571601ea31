"""The calls of one project that its execution environments share, counted in DynamoDB where they are scarce.

Each environment learns the rate limit from its own answers, and that is enough for as long as no window is used up. In
the window after one that was used up, hundreds of environments would call as soon as it opens, and most of them would
be refused. So the calls of that window are counted, and each environment takes a few before it makes them. A budget for
the day is counted in the same way.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from handler.delivery.shared_state import REFRESH_SECONDS, SharedState
from handler.model.errors import ProjectStateUnknown
from handler.model.failure import CALLS_PER_DAY_USED_UP, PLAN_USED_UP, WINDOW_USED_UP, Failure
from handler.model.reason_codes import ReasonCode
from handler.storage.project_state import Closing, Taken

# The calls of a window are taken in up to so many steps, and those of a day: each step is one write. An environment
# that ends takes what is left of its step with it.
STEPS_OF_WINDOW = 200
STEPS_OF_DAY = 1_000
MOST_CALLS_OF_DAY_STEP = 20

_FAILURES = {failure.code: failure for failure in (WINDOW_USED_UP, PLAN_USED_UP)}


class Denied(NamedTuple):
    """No call is allowed until a time in epoch seconds, and why."""

    until: float
    failure: Failure


@dataclass(slots=True)
class _Taken:
    """Calls of one period that were taken and not made yet."""

    period: object = None
    calls: int = 0

    def use(self, period: object) -> bool:
        """Use one of them, if there is any."""
        if self.period != period or not self.calls:
            return False
        self.calls -= 1
        return True


class SharedCalls:
    """The calls that one execution environment may make of its project's. Thread-safe.

    `share` is the percentage of each window that may be used, `calls_per_day` the budget of a day (UTC), 0 without one.
    `clock` returns epoch seconds. Without `believes_plan` it finds out by itself whether the plan is used up.
    """

    def __init__(
        self,
        state: SharedState,
        share: int,
        calls_per_day: int,
        clock: Callable[[], float] = time.time,
        *,
        believes_plan: bool = True,
    ) -> None:
        self._state = state
        self._believes_plan = believes_plan
        self._share = share
        self._calls_per_day = calls_per_day
        self._clock = clock
        self._lock = threading.Lock()
        self._of_window, self._of_day = _Taken(), _Taken()
        self._asks_from = float("-inf")

    @property
    def closing(self) -> Closing | None:
        """The newest closing that holds for this share of the calls; it may have ended."""
        closing = self._state.closing
        if not closing or closing.share < self._share:
            return None
        return closing if self._believes_plan or closing.code != ReasonCode.PLAN_USED_UP else None

    def denied(self) -> Denied | None:
        """Return until when another execution environment has found that no call is allowed, if it has."""
        closing = self.closing
        if closing is None or closing.until <= self._clock():
            return None
        return Denied(closing.until, _FAILURES.get(closing.code, WINDOW_USED_UP))

    def close(self, closing: Closing) -> None:
        """Tell the other execution environments that no call is allowed."""
        self._state.close(closing)

    def take(self) -> Denied | None:
        """Take one call, or return until when there is none. Where DynamoDB does not answer, the call is not counted.

        Makes a call of DynamoDB's at times.
        """
        with self._lock:  # one thread takes a step for all
            return self._take_of_window() or self._take_of_day()

    def _take_of_window(self) -> Denied | None:
        closing, now = self._state.closing, self._clock()
        if not closing or not closing.limit or not closing.until <= now < closing.until + closing.window_seconds:
            return None
        if self._of_window.use(closing.until):
            return None
        most = math.floor(calls_of_share(closing.limit, self._share))
        step = max(1, most // STEPS_OF_WINDOW)
        taken = self._ask(lambda: self._state.stored.take_calls_of_window(step, most))
        if taken is None:
            return None
        self._state.learn(taken.closing)
        if taken.calls:
            self._of_window = _Taken(closing.until, taken.calls - 1)
            return None
        newest = taken.closing
        if newest is None or newest.until > now:
            return self.denied()
        # The environment that wrote it may have seen the end of a window only, and taken that for all of it.
        end = newest.until + newest.window_seconds
        return Denied(end, WINDOW_USED_UP) if end > now else None

    def _take_of_day(self) -> Denied | None:
        if not self._calls_per_day:
            return None
        day = datetime.fromtimestamp(self._clock(), UTC).date()
        if self._of_day.use(day):
            return None
        most = self._calls_per_day
        step = min(max(1, most // STEPS_OF_DAY), MOST_CALLS_OF_DAY_STEP)
        taken = self._ask(lambda: self._state.stored.take_calls_of_day(day.isoformat(), step, most))
        if taken is None:
            return None
        if taken.calls:
            self._of_day = _Taken(day, taken.calls - 1)
            return None
        tomorrow = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
        return Denied(tomorrow.timestamp(), CALLS_PER_DAY_USED_UP)

    def _ask(self, take: Callable[[], Taken]) -> Taken | None:
        """Return what was taken; None where DynamoDB does not answer, which is then not asked for a while."""
        if self._clock() < self._asks_from:
            return None
        try:
            return take()
        except ProjectStateUnknown:
            self._asks_from = self._clock() + REFRESH_SECONDS
            return None


def calls_of_share(limit: float, share: int) -> float:
    """Return the calls of a window that a percentage of its `limit` calls is: at least one."""
    return max(1.0, limit * share / 100)
