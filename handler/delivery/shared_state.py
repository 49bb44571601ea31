"""A project's state in DynamoDB, as this execution environment knows it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from handler.model.deadline import Deadline
from handler.model.errors import ProjectStateUnknown
from handler.storage.project_state import SAME_END_SECONDS, Closing, ProjectState, State
from handler.threads import Threads

# How long it may take until an execution environment learns what others have written.
REFRESH_SECONDS = 5.0


class SharedState:
    """The state of one project, read at most once in REFRESH_SECONDS. Thread-safe.

    `is_known`: it could be read, or written, the last time. `clock` returns epoch seconds.
    """

    def __init__(self, stored: ProjectState, threads: Threads, clock: Callable[[], float] = time.time) -> None:
        self.stored = stored
        self.is_known = True
        self._threads = threads
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._state = State()

    @property
    def waiting_since(self) -> float | None:
        """Since when events wait in the retry queue, in epoch seconds; None where none do."""
        return self._state.waiting_since

    @property
    def closing(self) -> Closing | None:
        """The newest closing of the project's calls; it may have ended."""
        return self._state.closing

    def refresh(self, deadline: Deadline) -> None:
        with self._lock:
            now = self._clock()
            if now - self._read_at < REFRESH_SECONDS:
                return
            self._read_at = now
        (state,) = self._threads.run([self._read], deadline)
        with self._lock:
            self.is_known = state is not None
            if state:
                self._state = State(state.waiting_since, _later(state.closing, self._state.closing))

    def extend_waiting(self, seconds: float, deadline: Deadline) -> bool:
        """Record that events wait, for so many seconds from now on. Return whether all others will know."""
        (is_extended,) = self._threads.run([lambda: self._extend_waiting(seconds)], deadline)
        with self._lock:
            self.is_known = bool(is_extended)
            since = self._state.waiting_since
            self._state = self._state._replace(waiting_since=self._clock() if since is None else since)
        return self.is_known

    def close(self, closing: Closing) -> None:
        """Record that no call is allowed, unless that is known."""
        known = self._state.closing
        if known and closing.until <= known.until + SAME_END_SECONDS:
            return
        self.learn(closing)
        with suppress(ProjectStateUnknown):  # each of the others finds out by itself
            self.learn(self.stored.close(closing))

    def learn(self, closing: Closing | None) -> None:
        """Remember a closing that another execution environment may have written."""
        with self._lock:
            self._state = self._state._replace(closing=_later(closing, self._state.closing))

    def _read(self) -> State | None:
        try:
            return self.stored.read()
        except ProjectStateUnknown:
            return None

    def _extend_waiting(self, seconds: float) -> bool:
        try:
            self.stored.extend_waiting(seconds)
        except ProjectStateUnknown:
            return False
        return True


def _later(one: Closing | None, other: Closing | None) -> Closing | None:
    return max(filter(None, (one, other)), key=lambda closing: closing.until, default=None)
