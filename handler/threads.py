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


class Threads:
    """At most `size` calls at the same time, on threads that are kept for the life of the sandbox. Thread-safe."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def start(self, calls: Sequence[Callable[[], T]]) -> Started[T]:
        """Start the calls in their order; the ones beyond `size` follow as others end."""
        with self._lock:
            executor = self._executor = self._executor or ThreadPoolExecutor(self.size)
            return Started([executor.submit(call) for call in calls], self._replace)

    def run(self, calls: Sequence[Callable[[], T]], deadline: Deadline) -> list[T | None]:
        """Return what each call returned, None for the ones that have not ended by the deadline."""
        started = self.start(calls)
        started.wait(deadline)
        return started.results()

    def _replace(self) -> None:
        """Leave threads that may never end to themselves: the next calls get new ones."""
        with self._lock:
            executor, self._executor = self._executor, None
        if executor:
            executor.shutdown(wait=False)


class Started(Generic[T]):
    """Calls that are under way, each in its place."""

    def __init__(self, futures: Sequence[Future[T]], on_unfinished: Callable[[], None]) -> None:
        self._futures = futures
        self._on_unfinished = on_unfinished

    def wait(self, deadline: Deadline) -> bool:
        """Return whether all of them have ended by the deadline."""
        return not wait(self._futures, max(0.0, deadline.seconds_left)).not_done

    def results(self) -> list[T | None]:
        """Stop waiting: return what each call has returned, None for one that has not. Raise what a call has raised.

        A call that has not begun never begins.
        """
        for future in self._futures:
            future.cancel()
        if not all(future.done() for future in self._futures):
            self._on_unfinished()
        return [future.result() if future.done() and not future.cancelled() else None for future in self._futures]
