"""Notices a mapping that is valid and wrong: rows that find nothing, and events of which no row reads a property.

A misspelt source is no fault: the property may come one day. So the rows that find nothing are counted for one event of
each request. After EVENTS of them, those that found nothing in any are reported. That takes as long as mapping these
events again, so the next count begins later, or with another mapping.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from handler.settings.settings import Settings
from mapping import EventMapping, RowUse, use_of_rows

# Of one source, in one execution environment.
EVENTS = 100

# The time between two counts of a source.
PAUSE_SECONDS = 15 * 60.0

# A row is judged by so many events that have its mapping.
LEAST_EVENTS = 10

Report = Callable[[str, int, Sequence[str], int], object]
Row = tuple[str, str, str]  # the name of its mapping, its source and its destination


class RowCheck:
    """Counts for each source, in one execution environment. Thread-safe.

    `report` gets the source, the number of events, the rows of the shop's own mappings that found nothing in them, and
    the number of events that have properties or traits, none of which a row has found. `clock` returns seconds.
    """

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._by_source: dict[str, _Count] = {}

    def look_at(self, events: Sequence[object], settings: Settings) -> None:
        """Look at one of the events of a request, another one each time."""
        if not events:
            return
        mapping = settings.policy.mapping
        with self._lock:
            count = self._by_source.get(settings.source)
            if count is None or count.mapping is not mapping or self._clock() >= count.next_at:
                count = self._by_source[settings.source] = _Count(mapping)
            if count.events == EVENTS:
                return
            with suppress(Exception):  # the event is delivered or stored, and a bug of ours must not have it sent again
                count.add(use_of_rows(events[count.events % len(events)], mapping))
            if count.events < EVENTS:
                return
            count.next_at = self._clock() + PAUSE_SECONDS
        self._report(settings.source, count.events, count.silent_rows, count.unread)


class _Count:
    """What the events under one mapping have found so far."""

    def __init__(self, mapping: EventMapping) -> None:
        self.mapping = mapping
        self.next_at = math.inf  # when it is over, the time of the next one
        self.events = 0
        self.unread = 0
        self._mapped: Counter[str] = Counter()
        self._empty: Counter[Row] = Counter()

    def add(self, use: RowUse | None) -> None:
        self.events += 1
        if use is None:
            return
        self.unread += use.is_unread
        for rules, empty in use.empty:
            if rules.parameter:  # most default rows find nothing
                name = str(rules)
                self._mapped[name] += 1
                self._empty.update((name, rule.source.text, rule.destination) for rule in empty)

    @property
    def silent_rows(self) -> list[str]:
        """The rows of own mappings that found nothing in any event that has their mapping."""
        return [
            f"{mapped_by}: {source} → {destination}"
            for (mapped_by, source, destination), times in self._empty.items()
            if times == self._mapped[mapped_by] >= LEAST_EVENTS
        ]
