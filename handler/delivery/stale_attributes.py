"""Nothing older over anything newer: retries reorder events, and a queued event must not undo what a newer one has set.

While no event of a project waits in the retry queue, events come in their order, and nothing is recorded but the times
of orders, whose status must never go back. While events wait, each event records when the attributes that it sets
happened, before its call, and leaves out those that a newer event has set. So an event that is delivered later knows.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import NamedTuple

from handler.delivery.shared_state import REFRESH_SECONDS, SharedState
from handler.model.deadline import Deadline
from handler.model.errors import AttributeTimesUnknown
from handler.storage.attribute_times import AttributeTimes
from handler.threads import Threads
from mapping import Attributes, Operation, Request, attributes_of, without_attributes

# An event is tried again within three hours, unless more events wait than are tried in that time.
WAITING_SECONDS = 3 * 60 * 60.0
EXTEND_AFTER_SECONDS = 5 * 60.0

# An event that waits now may have been tried for so long before it was stored, while newer ones were delivered.
_RECENT_SECONDS = 2 * REFRESH_SECONDS
_MOST_RECENT = 2_000


class Fitted(NamedTuple):
    """A request without stale attributes, None where nothing of it is left. `is_known`: nothing else of it is stale."""

    request: Request | None
    is_known: bool


class _Delivered(NamedTuple):
    """Attributes that were delivered lately, at a time, and when their event happened."""

    when: float
    attributes: Attributes
    at: datetime


class StaleAttributes:
    """Leaves out the attributes of one project's requests that a newer event has set. Thread-safe."""

    def __init__(
        self, times: AttributeTimes, state: SharedState, threads: Threads, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._times = times
        self._state = state
        self._threads = threads
        self._lock = threading.Lock()
        self._since: float | None = None  # when events began to wait
        self._extended_until = float("-inf")
        self._are_recent_noted = True
        self._recent: deque[_Delivered] = deque(maxlen=_MOST_RECENT)

    def refresh(self, deadline: Deadline) -> None:
        """Learn whether events wait by now."""
        with self._lock:
            known, self._since = self._since, self._state.waiting_since
            since = self._since if known is None else None
        self._are_recent_noted = since is None or self._note_recent(since - _RECENT_SECONDS, None, deadline)

    def fit(self, request: Request, at: datetime, *, was_stored: bool) -> Fitted:
        """Return a request without the attributes that a newer event has set, as far as that is known."""
        fitted: Request | None = request
        is_waiting = was_stored or self._since is not None
        is_known = is_waiting or (self._state.is_known and self._are_recent_noted)
        if not is_waiting and request.operation is not Operation.UPSERT_ORDER:
            return Fitted(request, is_known)
        for attributes in attributes_of(request):
            if fitted and attributes.names and (is_waiting or attributes.kind == "order"):
                try:
                    stale = self._times.note(attributes, at)
                except AttributeTimesUnknown:
                    is_known = False
                    continue
                fitted = without_attributes(fitted, attributes.kind, stale) if stale else fitted
        return Fitted(fitted, is_known)

    def delivered(self, request: Request, at: datetime) -> None:
        """Remember what was delivered, in case that events wait already and this environment does not know it yet."""
        if self._since is None:
            now = self._clock()
            with self._lock:
                self._recent += [_Delivered(now, one, at) for one in attributes_of(request) if one.names]

    def queued(self, customers: Collection[str], seconds_closed: float, deadline: Deadline) -> bool:
        """Record that events of these customers wait from now on, and the times of what was delivered meanwhile.

        No event is tried while no call is allowed, for `seconds_closed`. Return whether all of it could be recorded.
        """
        now = self._clock()
        seconds = seconds_closed + WAITING_SECONDS
        if self._since is not None and now + seconds - self._extended_until < EXTEND_AFTER_SECONDS:
            return True
        is_extended = self._state.extend_waiting(seconds, deadline)
        with self._lock:
            self._extended_until = now + seconds if is_extended else self._extended_until
            self._since = self._state.waiting_since
        return self._note_recent(now - _RECENT_SECONDS, customers, deadline) and is_extended

    def _note_recent(self, since: float, customers: Collection[str] | None, deadline: Deadline) -> bool:
        """Note the times of what was delivered since then. Return whether all of them could be noted."""
        with self._lock:
            recent = [
                one
                for one in self._recent
                if one.when >= since and (customers is None or one.attributes.id in customers)
            ]
        return all(self._threads.run([partial(self._note, one) for one in recent], deadline))

    def _note(self, one: _Delivered) -> bool:
        try:
            self._times.note(one.attributes, one.at)
        except AttributeTimesUnknown:
            return False
        return True
