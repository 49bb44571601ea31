"""The rate limit of a Voucherify project, learned from its answers: https://docs.voucherify.io/docs/limits

`X-Rate-Limit-Limit` calls are allowed in a window, `X-Rate-Limit-Remaining` of them are left, and the next window opens
at `X-Rate-Limit-Retry`, in epoch seconds. A 429 says in `Retry-After` how many seconds that is away.

The shop itself uses the same windows, for its checkout for instance. So a part of each window is left to it: no call is
made once no more than that part remains.

Other execution environments use the same windows too. So one that has had no answer lately makes a single call first,
whose answer says how many are left, and leaves room for the calls of others towards the end of a window. What they
tell each other beyond that is in `shared_calls`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from handler.delivery.shared_calls import Denied, SharedCalls, calls_of_share
from handler.model.deadline import Deadline
from handler.model.failure import OUT_OF_TIME, WINDOW_USED_UP, Failure
from handler.model.reason_codes import ReasonCode
from handler.storage.project_state import Closing
from handler.voucherify.client import Answer

# The smallest plan, until an answer has said more.
DEFAULT_LIMIT = 100.0
DEFAULT_WINDOW_SECONDS = 60.0

# A window is a minute or an hour long: no header may close it for longer.
MAX_WINDOW_SECONDS = 60 * 60.0

# A 429 closes the window for this long at least: a `Retry-After` of 0 must not make every call fail at once.
MIN_CLOSED_SECONDS = 1.0

# A 5xx with `Retry-After` closes for no longer than this.
MAX_PAUSE_SECONDS = 15 * 60.0

# A plan that is used up opens again when it is upgraded, or with the next billing cycle.
PLAN_USED_UP_SECONDS = 2 * 60 * 60.0

# Events that wait are spread over this time or over a window, whichever is longer. SQS delays a message for no longer.
LONGEST_SPREAD_SECONDS = 15 * 60.0

# An answer is news for so long. Lambda may have frozen the execution environment since, while others called.
FRESH_SECONDS = 0.25

# The single call that finds out how many calls are left holds up the others for so long: it may never be answered.
PROBE_SECONDS = 0.25

# So many calls must be left in the window for each call in progress: other execution environments have calls in
# progress too, and an answer is already old when it comes. So the last calls of a window are made ever fewer at a time.
CALLS_LEFT_PER_CALL = 4


@dataclass(slots=True)
class _Window:
    """A window of calls, by its newest answer."""

    limit: float
    left: float
    end: float


class RateLimiter:
    """The rate limit of one Voucherify project. Thread-safe.

    `clock` returns epoch seconds, as the headers hold them. `share` is the percentage of each window that may be used,
    `shared` the calls that other execution environments make too.
    """

    def __init__(self, clock: Callable[[], float], share: int = 100, shared: SharedCalls | None = None) -> None:
        self._clock = clock
        self._share = share
        self._shared = shared
        self._changed = threading.Condition()
        self._in_flight = 0
        self._called_at = 0.0
        self._heard_at = -math.inf
        self._window: _Window | None = None
        self._window_seconds = 0.0  # not longer than it is, and 0 while nothing is known
        self._closed_until = 0.0
        self._closed_by = WINDOW_USED_UP
        self._next_free = 0.0

    def acquire(self, deadline: Deadline, *, wait_for_quota: bool) -> Failure | None:
        """Take the right to one call, which `release` gives back; or return the failure that forbids it.

        Waits for calls in progress where only their answers can say whether one more is allowed. With `wait_for_quota`
        it waits for the next window too, where that opens before the deadline.
        """
        while True:
            with self._changed:
                while isinstance(turn := self._take_room(deadline, wait_for_quota=wait_for_quota), float):
                    self._changed.wait(turn)
            if turn or self._is_shared_call_taken():
                return turn

    def try_acquire(self, deadline: Deadline, *, wait_for_quota: bool) -> Failure | float | None:
        """Do as `acquire` does, but return the seconds to wait instead of waiting: less where a call is released."""
        while True:
            turn = self._take_room(deadline, wait_for_quota=wait_for_quota)
            if turn is not None or self._is_shared_call_taken():
                return turn

    def _take_room(self, deadline: Deadline, *, wait_for_quota: bool) -> Failure | float | None:
        with self._changed:
            if failure := self.closed(deadline, wait_for_quota=wait_for_quota):
                return failure
            closed_for = self._seconds_closed()
            if closed_for > 0:
                return closed_for
            if self._has_room():
                self._in_flight += 1
                self._called_at = self._clock()
                return None
            return min(deadline.seconds_left, PROBE_SECONDS) if deadline.seconds_left > 0 else OUT_OF_TIME

    def _is_shared_call_taken(self) -> bool:
        """Take one of the calls that execution environments share. Where there is none, give the room for it back."""
        denied = self._shared.take() if self._shared else None
        if denied:
            with self._changed:
                self._in_flight -= 1
                self._follow(denied)
                self._changed.notify_all()
        return denied is None

    def closed(self, deadline: Deadline, *, wait_for_quota: bool) -> Failure | None:
        """Return the failure that forbids a call until the deadline, or None where one may be allowed by then."""
        with self._changed:
            closed_for = self._seconds_closed()
            if closed_for > 0 and not (wait_for_quota and closed_for <= deadline.seconds_left):
                return self._closed_by.for_events_not_tried()
            return None

    def release(self, answer: Answer | None, failure: Failure | None) -> None:
        """End a call: learn from its answer, and close the window where the answer says so."""
        with self._changed:
            self._in_flight -= 1
            known = self._closed_until
            if answer:
                self._heard_at = self._clock()
                self._learn(answer.headers)
                if failure and failure.waits_for_quota:
                    self._close(self._heard_at + self._closing_seconds(answer.headers, failure), failure)
                elif answer.status >= 500 and failure and (pause := _seconds_to_wait(answer.headers, self._clock())):
                    self._close(self._heard_at + min(pause, MAX_PAUSE_SECONDS), failure)
            closing = self._closing() if self._closed_until > known and self._closed_by.waits_for_quota else None
            self._changed.notify_all()
        if closing and self._shared:
            self._shared.close(closing)

    @property
    def seconds_closed(self) -> float:
        """The time for which no call is allowed; 0 while calls are."""
        with self._changed:
            return self._seconds_closed()

    def reserve_wait_seconds(self) -> float:
        """Return the wait of one more event: behind all events that wait already, at the plan's rate."""
        with self._changed:
            now, opens = self._clock(), self._clock() + self._seconds_closed()
            calls = calls_of_share(self._limit or DEFAULT_LIMIT, self._share)
            seconds = self._window_seconds or DEFAULT_WINDOW_SECONDS
            # An event that comes back before its turn has another one then. So turns lie within a limited time.
            free = min(max(opens, self._next_free), opens + max(seconds, LONGEST_SPREAD_SECONDS))
            self._next_free = free + seconds / calls
            return free - now

    def _has_room(self) -> bool:
        now, window = self._clock(), self._window
        if now - self._heard_at >= FRESH_SECONDS or (window and now >= window.end):
            return not self._in_flight or now - self._called_at >= PROBE_SECONDS
        if not window:
            return True
        return window.left - self._left_to_others(window.limit) > self._in_flight * CALLS_LEFT_PER_CALL

    def _left_to_others(self, limit: float) -> float:
        """Return the calls of a window that are not ours."""
        return limit - calls_of_share(limit, self._share)

    @property
    def _limit(self) -> float:
        """The calls of a window, by an answer here or elsewhere; 0 while none has said it."""
        if self._window:
            return self._window.limit
        closing = self._shared.closing if self._shared else None
        return closing.limit if closing else 0.0

    def _seconds_closed(self) -> float:
        """Return the time for which no call is allowed, as far as it is known here or elsewhere."""
        if self._shared and (denied := self._shared.denied()):
            self._follow(denied)
        return max(0.0, self._closed_until - self._clock())

    def _follow(self, denied: Denied) -> None:
        """Close until then, and at least until the end of the window."""
        window = self._window
        end = window.end if window and self._clock() < window.end else 0.0
        self._close(max(denied.until, end), denied.failure)

    def _closing(self) -> Closing:
        """Return what the other execution environments have to know."""
        is_for_this_share = self._closed_by is WINDOW_USED_UP and self._window and self._window.left > 0
        share = self._share if is_for_this_share else 100
        seconds = self._window_seconds or DEFAULT_WINDOW_SECONDS
        return Closing(self._closed_until, self._closed_by.code, share, self._limit, seconds)

    def _learn(self, headers: Mapping[str, str]) -> None:
        limit, left = _number(headers, "x-rate-limit-limit"), _number(headers, "x-rate-limit-remaining")
        if limit is None or limit < 1 or left is None:
            return
        seconds = self._seconds_to_end(headers)
        # Without a sensible end, the number of calls left holds for as long as the answer is fresh.
        end = self._clock() + FRESH_SECONDS if seconds is None else _number(headers, "x-rate-limit-retry") or 0.0
        window = self._window
        if not window or window.limit != limit:
            self._window_seconds = 0.0
            self._window = window = _Window(limit, left, end)
        elif end > window.end:
            self._window = window = _Window(limit, left, end)
        elif end == window.end:
            window.left = min(window.left, left)  # answers may overtake each other
        seconds = seconds or min(_seconds_to_wait(headers, self._clock()) or 0.0, MAX_WINDOW_SECONDS)
        self._window_seconds = max(self._window_seconds, seconds)
        if window.left <= self._left_to_others(limit):
            self._close(window.end, WINDOW_USED_UP)

    def _close(self, until: float, failure: Failure) -> None:
        if until > self._closed_until:
            self._closed_until, self._closed_by = until, failure

    def _closing_seconds(self, headers: Mapping[str, str], failure: Failure) -> float:
        if failure.code == ReasonCode.PLAN_USED_UP:
            return PLAN_USED_UP_SECONDS
        to_end, rounded_up = self._seconds_to_end(headers), _seconds_to_wait(headers, self._clock())
        if rounded_up is None:
            return to_end or DEFAULT_WINDOW_SECONDS
        if to_end and abs(rounded_up - to_end) <= 1:
            return to_end
        return min(max(rounded_up, MIN_CLOSED_SECONDS), MAX_WINDOW_SECONDS)

    def _seconds_to_end(self, headers: Mapping[str, str]) -> float | None:
        """Return the seconds to the end of the window, None where the header is missing or not plausible."""
        end = _number(headers, "x-rate-limit-retry")
        if end is None:
            return None
        seconds = end - self._clock()
        return seconds if 0 < seconds <= MAX_WINDOW_SECONDS else None


def _seconds_to_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return `Retry-After`, seconds or a date, in seconds. https://www.rfc-editor.org/rfc/rfc9110#name-retry-after"""
    seconds = _number(headers, "retry-after")
    if seconds is None:
        with suppress(ValueError, TypeError, OverflowError):
            seconds = max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now)
    return seconds


def _number(headers: Mapping[str, str], name: str) -> float | None:
    """Return a header's number, None where it has none or one below 0."""
    try:
        number = float(headers.get(name, ""))
    except ValueError:
        return None
    return number if 0 <= number < float("inf") else None
