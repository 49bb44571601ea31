"""How fast Voucherify may be called, learned from what it says: https://docs.voucherify.io/docs/limits

`X-Rate-Limit-Limit` calls are allowed in a window, `X-Rate-Limit-Remaining` of them are left, and the next window opens
at `X-Rate-Limit-Retry`, in seconds of the epoch. A 429 says in `Retry-After` how many seconds that is away.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from handler.outcome import OUT_OF_TIME, PLAN_USED_UP, WINDOW_USED_UP, Failure, failure_while_halted
from handler.voucherify import Answer

# The smallest plan, until the headers have said more.
DEFAULT_LIMIT = 100.0
DEFAULT_WINDOW_SECONDS = 60.0

# A window is a minute or an hour long: no header may close it for longer.
MAX_WINDOW_SECONDS = 60 * 60.0

# A plan that is used up opens again when it is upgraded, or with the next billing cycle.
PLAN_USED_UP_SECONDS = 2 * 60 * 60.0


class Pace:
    """One Voucherify project's limits. Holds for the life of the sandbox. Thread-safe.

    `clock` gives the seconds of the epoch, as the headers do.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._in_flight = 0
        self._limit: float | None = None
        self._left = 0.0  # in the window that ends at _window_end, without the calls in flight
        self._window_end = 0.0
        self._window_seconds: float | None = None
        self._closed_until = 0.0
        self._closed_by = WINDOW_USED_UP

    def acquire(self, time_left: Callable[[], float], *, patient: bool) -> Failure | None:
        """Take the right to one call, which `release` gives back; or the failure that stands against it.

        Waits for the calls in flight where only their answers can say whether one more is allowed. Who is `patient`
        waits for the next window too, where that opens within `time_left`.
        """
        with self._changed:
            while True:
                closed_for = self._closed_until - self._clock()
                if closed_for > 0:
                    if not patient or closed_for > time_left():
                        return failure_while_halted(self._closed_by)
                    self._changed.wait(closed_for)
                elif self._has_room():
                    self._in_flight += 1
                    return None
                elif not self._in_flight:
                    self._closed_until, self._closed_by = self._window_end, WINDOW_USED_UP
                elif time_left() <= 0:
                    return OUT_OF_TIME
                else:
                    self._changed.wait(time_left())

    def release(self, answer: Answer | None, failure: Failure | None) -> None:
        """A call has ended: learn from its answer, and close where that says so."""
        with self._changed:
            self._in_flight -= 1
            if answer:
                self._learn(answer.headers)
                if failure and failure.waits:
                    seconds = self._closing_seconds(answer.headers, failure)
                    self._closed_until, self._closed_by = max(self._closed_until, self._clock() + seconds), failure
            self._changed.notify_all()

    def delay_seconds(self, position: int) -> float:
        """How long until the turn of the event that waits at `position`: the plan's pace, from when it opens."""
        with self._changed:
            pace = (self._window_seconds or DEFAULT_WINDOW_SECONDS) / (self._limit or DEFAULT_LIMIT)
            return max(0.0, self._closed_until - self._clock()) + position * pace

    def _has_room(self) -> bool:
        if self._limit is None:
            return True
        left = self._limit if self._clock() >= self._window_end else self._left
        return left > self._in_flight

    def _learn(self, headers: Mapping[str, str]) -> None:
        limit, left, end = (_number(headers, f"X-Rate-Limit-{name}") for name in ("Limit", "Remaining", "Retry"))
        if not limit or left is None or end is None:
            return
        self._limit = limit
        if end > self._window_end:
            if self._window_end and left > self._left:  # refilled: a window has passed, or several
                window = min(end - self._window_end, self._window_seconds or MAX_WINDOW_SECONDS)
                self._window_seconds = max(window, 1.0)
            self._left, self._window_end = left, end
        elif end == self._window_end:
            self._left = min(self._left, left)  # answers may overtake each other

    def _closing_seconds(self, headers: Mapping[str, str], failure: Failure) -> float:
        if failure.code == PLAN_USED_UP:
            return PLAN_USED_UP_SECONDS
        seconds = _number(headers, "Retry-After")
        if seconds is None:
            opens_at = _number(headers, "X-Rate-Limit-Retry")
            seconds = DEFAULT_WINDOW_SECONDS if opens_at is None else opens_at - self._clock()
        return min(max(seconds, 1.0), MAX_WINDOW_SECONDS)


def _number(headers: Mapping[str, str], name: str) -> float | None:
    """A header's number that is not below 0, or None: it comes from outside."""
    try:
        number = float(headers.get(name, ""))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
