"""The retry queue of the model: messages that are visible now, and messages that will be."""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable

import simpy

from cli.planning.events import Event

# The moments of a second at which messages become visible.
_TICKS = 100


class RetryQueue:
    """Events that wait. Those that were received stay in it until they are deleted or sent again."""

    def __init__(self, world: simpy.Environment) -> None:
        self.waiting: Counter[bool] = Counter()  # by whether a call in bulk can hold the event
        self._world = world
        self._visible: deque[Event] = deque()
        self._later: dict[int, list[Event]] = {}
        self._ticks: list[int] = []  # a heap of the keys of _later
        self._sent = world.event()

    def send(self, event: Event, delay: float) -> None:
        """Store an event in a new message."""
        event.stored_at = self._world.now
        event.receives = 0
        self.waiting[event.kind.is_row] += 1
        self.hide(event, delay)

    def hide(self, event: Event, seconds: float) -> None:
        """Make a message visible again in so many seconds."""
        at = math.ceil((self._world.now + seconds) * _TICKS)
        if at not in self._later:
            self._later[at] = []
            heapq.heappush(self._ticks, at)
        self._later[at].append(event)
        if not self._sent.triggered:
            self._sent.succeed()

    def delete(self, events: Iterable[Event]) -> None:
        self.waiting.subtract(event.kind.is_row for event in events)

    def receive(self, at_most: int) -> list[Event]:
        while self._ticks and self._ticks[0] / _TICKS <= self._world.now:
            self._visible += self._later.pop(heapq.heappop(self._ticks))
        received = [self._visible.popleft() for _ in range(min(at_most, len(self._visible)))]
        for event in received:
            event.receives += 1
        return received

    def next_message(self) -> simpy.Event:
        """Return when a message may be visible, or when another one has been stored."""
        if self._sent.triggered:
            self._sent = self._world.event()
        if not self._ticks:
            return self._sent
        return self._sent | self._world.timeout(max(0.0, self._ticks[0] / _TICKS - self._world.now))
