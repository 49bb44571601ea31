"""Threads for calls that wait on the network, and a caller that can stop waiting for them.

A socket's time-out holds for each read, and a resolver has none: no time-out of a library ends a call in time whatever
the peer does. So the caller waits for the thread and not for the peer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from handler.model.deadline import Deadline

T = TypeVar("T")


class GivenUp(Exception):
    """The caller no longer waits for this call: the call must not have any further effect."""


class Threads:
    """A kept pool of threads for at most `size` calls at the same time. Thread-safe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def start(self, calls: Sequence[Callable[[], T]]) -> Started[T]:
        """Start the calls in their order; beyond `size`, each starts as another ends."""
        with self._lock:
            executor = self._executor = self._executor or ThreadPoolExecutor(self.size)
            return Started([executor.submit(call) for call in calls], self._replace_executor)

    def run(self, calls: Sequence[Callable[[], T]], deadline: Deadline) -> list[T | None]:
        """Return the result of each call, None for a call that has not ended by the deadline."""
        started = self.start(calls)
        started.wait(deadline)
        return started.results()

    def _replace_executor(self) -> None:
        """Give the next calls a new executor: the threads of this one may never end."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor:
            executor.shutdown(wait=False)


class Started(Generic[T]):
    """Calls that have been started."""

    def __init__(self, futures: Sequence[Future[T]], on_unfinished: Callable[[], None]) -> None:
        self._futures = futures
        self._on_unfinished = on_unfinished

    def wait(self, deadline: Deadline) -> None:
        """Wait until all calls have ended, or until the deadline."""
        wait(self._futures, max(0.0, deadline.seconds_left))

    def results(self) -> list[T | None]:
        """Stop waiting, and return the result of each call, None for one that has not ended.

        A call that has not begun never begins. Raises what a call has raised.
        """
        for future in self._futures:
            future.cancel()
        if not all(future.done() for future in self._futures):
            self._on_unfinished()
        return [future.result() if future.done() and not future.cancelled() else None for future in self._futures]
