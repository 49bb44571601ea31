"""Settles the events of a window: each when all of its requests are done, so that it counts once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from cli.replay.checkpoint import Checkpoint
from cli.replay.source import Entry
from handler.model.failure import Failure
from handler.model.job import DeliveryStatus

# The outcome of an event whose every try failed.
FAILED = "failed"

# An event has the outcome of the request that comes first here, as in a delivery.
_BY_WEIGHT = (
    DeliveryStatus.REJECTED,
    FAILED,
    DeliveryStatus.DELIVERED,
    DeliveryStatus.DUPLICATE,
    DeliveryStatus.SKIPPED,
)


class Result(NamedTuple):
    """The outcome of one request; `detail` is its reason."""

    outcome: str
    detail: str = ""
    failure: Failure | None = None

    @classmethod
    def of(cls, failure: Failure | None) -> Result:
        """Return the result of a request that is rejected with a failure, or delivered."""
        if failure is None:
            return cls(DeliveryStatus.DELIVERED)
        return cls(DeliveryStatus.REJECTED, failure.code, failure)


class Settlement:
    """Records the results of a window's requests. `entries` has the event of each request.

    Thread-safe for different events; the requests of one event end one after the other.
    """

    def __init__(self, checkpoint: Checkpoint, entries: Iterable[Entry]) -> None:
        self._checkpoint = checkpoint
        self._requests = Counter(entry.number for entry in entries)
        self._results: defaultdict[int, list[Result]] = defaultdict(list)

    def record(self, entry: Entry, result: Result) -> None:
        """Record the result of a request, and settle its event if it is the last one."""
        results = self._results[entry.number]
        results.append(result)
        if len(results) == self._requests[entry.number]:
            self._checkpoint.settle(entry, *min(results, key=lambda one: _BY_WEIGHT.index(one.outcome)))

    def record_import(self, entry: Entry, failure: Failure | None) -> None:
        """Record that an order was imported or, with a failure, refused: it is not imported again."""
        self.record(entry, Result.of(failure))
        if len(self._results[entry.number]) < self._requests[entry.number]:
            self._checkpoint.keep_import(entry, failure)
