"""How long a replay keeps trying: through closed rate-limit windows and short outages, until it is told to stop."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from cli.errors import CommandFailed, Exit
from cli.interruption import begin_countdown
from handler.delivery.rate_limiter import RateLimiter
from handler.delivery.shared_calls import SharedCalls
from handler.model.deadline import Deadline
from handler.model.failure import OUT_OF_TIME, Failure
from handler.model.reason_codes import ReasonCode

# The longest call, and the longest wait of a thread for the rate limit.
CALL_SECONDS = 10.0

# Tries again after 1, 2, 4, 8, 16 and 32 seconds. A claim that a crash left behind in an idempotency record expires in
# that time, after 15 seconds.
MOST_TRIES = 6

_SLICE_SECONDS = 0.25

# A window may be an hour long. A wait that is longer than a minute's window is reported.
_LONG_SECONDS = 90.0

_CONTINUES = "then run the same command: it continues"
_ADVICE = {
    ReasonCode.CREDENTIALS_REFUSED: f"fix apiKey and apiToken (settings set), {_CONTINUES}",
    ReasonCode.PLAN_USED_UP: f"wait until the plan allows calls again, {_CONTINUES}",
    "wrong_api_url": f"fix apiUrl (settings set), {_CONTINUES}",
}

T = TypeVar("T")


class StopRequest:
    """Whether a person asked to stop. The first Ctrl-C gives running calls a second to end, the second one does not."""

    def __init__(self) -> None:
        self.is_made = False

    def check(self) -> None:
        """Raises KeyboardInterrupt where the request is made."""
        if self.is_made:
            raise KeyboardInterrupt

    def interruptible(self, sleep: Callable[[float], None]) -> Callable[[float], None]:
        """Return a `sleep` that ends when the request is made."""

        def sleep_until_made(seconds: float) -> None:
            while seconds > 0 and not self.is_made:
                sleep(min(seconds, _SLICE_SECONDS))
                seconds -= _SLICE_SECONDS

        return sleep_until_made

    @contextmanager
    def on_interrupt(self, note: Callable[[str], None]) -> Iterator[None]:
        """Make the request at Ctrl-C. Only the main thread can listen to it."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.check()
            self.is_made = True
            begin_countdown()
            note("stopping: the running calls have a second to end")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Throttle:
    """At most `per_second` calls a second, for all rate limiters that share it; None is no limit. Thread-safe."""

    def __init__(self, per_second: float | None, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_at = 0.0

    def acquire(self, seconds: float) -> bool:
        """Wait until a call is allowed. Return False where that takes longer than `seconds`."""
        if not self._interval:
            return True
        with self._lock:
            now = self._clock()
            wait = max(0.0, self._next_at - now)
            if wait > seconds:
                return False
            self._next_at = now + wait + self._interval
        self._sleep(wait)
        return True

    @property
    def is_open(self) -> bool:
        return self._next_at <= self._clock()


class CappedRateLimiter(RateLimiter):
    """The plan's rate limiter, below the operator's own cap (--rate)."""

    def __init__(
        self, clock: Callable[[], float], throttle: Throttle, share: int = 100, shared: SharedCalls | None = None
    ) -> None:
        super().__init__(clock, share, shared)
        self._throttle = throttle

    def acquire(self, deadline: Deadline, *, wait_for_quota: bool) -> Failure | None:
        if not self._throttle.acquire(deadline.seconds_left):
            return OUT_OF_TIME
        return super().acquire(deadline, wait_for_quota=wait_for_quota)

    def allows_call(self) -> bool:
        """Return whether a call may be made now, as far as it is known."""
        if not self._throttle.is_open or self._take_room(Deadline.after(0.0), wait_for_quota=False):
            return False
        self.release(None, None)
        return True


class RetryLoop:
    """Tries items until they are settled. `sleep` gets a fraction of a second at most."""

    def __init__(
        self,
        stop_request: StopRequest,
        sleep: Callable[[float], None] = time.sleep,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._stop_request = stop_request
        self._sleep = sleep
        self._note = note

    def deadline(self) -> Deadline:
        """Return the deadline of one call; it has passed as soon as a person asks to stop."""
        return Deadline(time.monotonic() + CALL_SECONDS, self._clock)

    def _clock(self) -> float:
        return math.inf if self._stop_request.is_made else time.monotonic()

    def run(
        self,
        items: Sequence[T],
        attempt: Callable[[Sequence[T]], list[tuple[T, Failure]]],
        rate_limiter: CappedRateLimiter,
    ) -> list[tuple[T, Failure]]:
        """Attempt items until none fails, and return those that failed too often, each with its last failure.

        Raises CommandFailed where only the operator can help, and KeyboardInterrupt.
        """
        left = attempt(items)
        tries = 0
        while left:
            self._stop_request.check()
            for _, failure in left:
                if failure.code in _ADVICE:
                    raise CommandFailed(failure.reason, _ADVICE[failure.code], Exit.UNREACHABLE)
            if waiting := [failure for _, failure in left if failure.waits_for_quota or failure == OUT_OF_TIME]:
                self._wait_for(rate_limiter, waiting[0])
            elif tries == MOST_TRIES:
                break
            else:
                self.wait(2.0**tries)
                tries += 1
            left = attempt([item for item, _ in left])
        self._stop_request.check()
        return left

    def wait(self, seconds: float) -> None:
        """Raises KeyboardInterrupt where a person asks to stop."""
        while seconds > 0:
            self._stop_request.check()
            self._sleep(min(seconds, _SLICE_SECONDS))
            seconds -= _SLICE_SECONDS

    def _wait_for(self, rate_limiter: CappedRateLimiter, failure: Failure) -> None:
        waited = 0.0
        while not rate_limiter.allows_call():
            self.wait(_SLICE_SECONDS)
            waited += _SLICE_SECONDS
            if waited == _LONG_SECONDS:
                self._note(f"waiting for the rate limit: {failure.reason}")
