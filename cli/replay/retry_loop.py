"""How long a replay goes on trying: through closed windows of calls and short outages, until it is told to stop."""

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
from handler.delivery.rate_limiter import RateLimiter
from handler.model.deadline import Deadline
from handler.voucherify.answers import CREDENTIALS_REFUSED, OUT_OF_TIME, PLAN_USED_UP, Failure

# How long one call may take, and how long a thread waits for a window of calls: so soon a replay ends when it is told.
CALL_SECONDS = 10.0

# What fails is tried again after 1, 2, 4, 8, 16 and 32 seconds. A claim in the ledger that a crash left behind is void
# by then, after 15.
MOST_TRIES = 6

_SLICE_SECONDS = 0.25

# A plan's window may be an hour long: who waits for more than a minute's is told why.
_LONG_SECONDS = 90.0

_ADVICE = {
    CREDENTIALS_REFUSED: "mend apiKey and apiToken (settings set); the same command goes on then",
    PLAN_USED_UP: "the same command goes on when the plan allows calls again",
    "wrong_api_url": "mend apiUrl (settings set); the same command goes on then",
}

T = TypeVar("T")


class Stopping:
    """Whether a person has asked to stop: the first Ctrl-C lets calls under way end, the second one does not."""

    def __init__(self) -> None:
        self.is_asked = False

    def check(self) -> None:
        """Raises KeyboardInterrupt where it is asked."""
        if self.is_asked:
            raise KeyboardInterrupt

    @contextmanager
    def on_interrupt(self, note: Callable[[str], None]) -> Iterator[None]:
        """Listens to Ctrl-C; only the main thread can."""

        def stop(number: int, frame: FrameType | None) -> None:
            self.check()
            self.is_asked = True
            note("stopping, when what is under way is done")

        before = signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Turns:
    """So many calls a second at most, all paces together; without a rate each has its turn at once. Thread-safe."""

    def __init__(self, per_second: float | None, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = 0.0

    def take(self, seconds: float) -> bool:
        """Wait for a turn; false where it does not come within `seconds`."""
        if not self._interval:
            return True
        with self._lock:
            now = self._clock()
            wait = max(0.0, self._next - now)
            if wait > seconds:
                return False
            self._next = now + wait + self._interval
        self._sleep(wait)
        return True

    @property
    def is_one_free(self) -> bool:
        return self._next <= self._clock()


class CappedRateLimiter(RateLimiter):
    """The plan's rate_limiter, and not faster than a rate of one's own."""

    def __init__(self, clock: Callable[[], float], turns: Turns) -> None:
        super().__init__(clock)
        self._turns = turns

    def acquire(self, deadline: Deadline, *, wait_for_quota: bool) -> Failure | None:
        return (
            super().acquire(deadline, wait_for_quota=wait_for_quota)
            if self._turns.take(deadline.seconds_left)
            else OUT_OF_TIME
        )

    @property
    def is_open(self) -> bool:
        """Whether a call may be made now."""
        if not self._turns.is_one_free or super().acquire(Deadline.after(0.0), wait_for_quota=False):
            return False
        self.release(None, None)
        return True


class RetryLoop:
    """Tries things until they are settled. `sleep` is only ever asked for a fraction of a second."""

    def __init__(
        self,
        stopping: Stopping,
        sleep: Callable[[float], None] = time.sleep,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._stopping = stopping
        self._sleep = sleep
        self._note = note

    def deadline(self) -> Deadline:
        """Return the deadline of one call; it has passed as soon as a person asks to stop."""
        return Deadline(time.monotonic() + CALL_SECONDS, self._clock)

    def _clock(self) -> float:
        return math.inf if self._stopping.is_asked else time.monotonic()

    def settle(
        self,
        items: Sequence[T],
        attempt: Callable[[Sequence[T]], list[tuple[T, Failure]]],
        rate_limiter: CappedRateLimiter,
    ) -> list[tuple[T, Failure]]:
        """Attempt items until none is left, or those that are left were tried often enough.

        Raises CommandFailed where only the operator can help, and KeyboardInterrupt.
        """
        left = attempt(items)
        tries = 0
        while left:
            self._stopping.check()
            for _, failure in left:
                if failure.code in _ADVICE:
                    raise CommandFailed(failure.reason, _ADVICE[failure.code], Exit.UNREACHABLE)
            if waiting := [failure for _, failure in left if failure.waits or failure == OUT_OF_TIME]:
                self._wait_for(rate_limiter, waiting[0])
            elif tries == MOST_TRIES:
                break
            else:
                self.wait(2.0**tries)
                tries += 1
            left = attempt([item for item, _ in left])
        self._stopping.check()
        return left

    def wait(self, seconds: float) -> None:
        """Raises KeyboardInterrupt where a person does not want to wait."""
        while seconds > 0:
            self._stopping.check()
            self._sleep(min(seconds, _SLICE_SECONDS))
            seconds -= _SLICE_SECONDS

    def _wait_for(self, rate_limiter: CappedRateLimiter, failure: Failure) -> None:
        waited = 0.0
        while not rate_limiter.is_open:
            self.wait(_SLICE_SECONDS)
            waited += _SLICE_SECONDS
            if waited == _LONG_SECONDS:
                self._note(f"waiting, since {failure.reason}")
