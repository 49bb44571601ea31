"""Customers of the retry queue in bulk: a backlog of upserts takes few calls of the plan instead of one for each event.

A row is sent once more where its result is not known: an upsert can be repeated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

from handler.delivery.dispatcher import GRACE_SECONDS
from handler.delivery.project import Exchange, Project
from handler.model.deadline import Deadline
from handler.model.failure import BULK_NOT_DONE, OUT_OF_TIME, Failure
from handler.model.policy import AmbiguousTrack
from handler.voucherify.answers import failure_of_answer, failure_of_no_answer
from handler.voucherify.bulk import BULK_UPDATE, MAX_BYTES, ActionResult, read_action, row_of, start_update
from handler.voucherify.client import NoAnswer

# A bulk call takes two more calls at least, which poll for its result. For fewer customers, single calls are no more.
FEWEST_ROWS = 5

# Voucherify publishes no limit of rows. A call that is refused is repeated in halves.
MOST_ROWS = 1_000

# Voucherify processes one action after the other, each in about a second.
FIRST_POLL_SECONDS = 1.0
LONGEST_POLL_SECONDS = 8.0

T = TypeVar("T")


@dataclass
class Row(Generic[T]):
    """The upserts of one customer, in their order: the sum of their bodies, and whose they are."""

    customer: str
    body: dict[str, Any] = field(default_factory=dict)
    owners: list[T] = field(default_factory=list)

    def add(self, body: dict[str, Any], owner: T) -> None:
        """Add an upsert: its fields replace earlier ones, metadata key by key."""
        metadata = {**self.body.get("metadata", {}), **body.get("metadata", {})}
        self.body = {**self.body, **body, **({"metadata": metadata} if metadata else {})}
        self.owners.append(owner)


class Updated(NamedTuple, Generic[T]):
    """What became of a row: delivered, failed, or refused, so that each of its events has to be sent by itself."""

    row: Row[T]
    failure: Failure | None = None
    is_refused: bool = False


class BulkUpdate:
    """Updates customers of one project in bulk, before a deadline."""

    def __init__(self, project: Project, sleep: Callable[[float], None] = time.sleep) -> None:
        self._project = project
        self._sleep = sleep

    def send(self, rows: Sequence[Row[T]], deadline: Deadline) -> Iterator[Updated[T]]:
        """Yield what became of each row."""
        for batch in _batches(rows):
            yield from self._send(batch, deadline)

    def _send(self, rows: Sequence[Row[T]], deadline: Deadline) -> Iterator[Updated[T]]:
        started = self._call(partial(self._start, rows, deadline), deadline)
        if started.failure and not started.failure.is_permanent:
            yield from (Updated(row, started.failure) for row in rows)
        elif started.failure or not started.content:
            yield from self._in_halves(rows, deadline)
        else:
            result = self._wait_for(started.content, deadline)
            if isinstance(result, Failure):
                yield from (Updated(row, result) for row in rows)
            else:
                refused = result.refused
                yield from (Updated(row, None, result.refuses_all or row.customer in refused) for row in rows)

    def _in_halves(self, rows: Sequence[Row[T]], deadline: Deadline) -> Iterator[Updated[T]]:
        """Send a call that was refused in halves; few rows are refused each."""
        if len(rows) < 2 * FEWEST_ROWS:
            yield from (Updated(row, is_refused=True) for row in rows)
            return
        middle = len(rows) // 2
        yield from self._send(rows[:middle], deadline)
        yield from self._send(rows[middle:], deadline)

    def _wait_for(self, action_id: str, deadline: Deadline) -> ActionResult | Failure:
        """Poll an action to its end. A failure: nobody knows yet what became of its rows."""
        seconds = FIRST_POLL_SECONDS
        while deadline.seconds_left > seconds:
            self._sleep(seconds)
            polled = self._call(partial(self._read, action_id, deadline), deadline)
            if polled.failure and not polled.failure.is_permanent:
                return polled.failure
            if polled.failure or polled.content is None:
                return ActionResult(is_done=True, refuses_all=True)
            if polled.content.is_done:
                return polled.content
            seconds = min(2 * seconds, LONGEST_POLL_SECONDS)
        return BULK_NOT_DONE

    def _call(self, call: Callable[[], Exchange[T]], deadline: Deadline) -> Exchange[T]:
        """Make one call, and stop waiting for it at the deadline, whatever the other side does."""
        limited = partial(self._project.limited, call, deadline, wait_for_quota=True)
        (exchange,) = self._project.threads.run([limited], deadline.later(GRACE_SECONDS))
        return exchange or Exchange(None, OUT_OF_TIME)

    def _start(self, rows: Sequence[Row[T]], deadline: Deadline) -> Exchange[str]:
        try:
            answer, action_id = start_update(self._project.client, [row_of(row.body) for row in rows], deadline)
        except NoAnswer as error:
            return Exchange(None, failure_of_no_answer(error, BULK_UPDATE, AmbiguousTrack.RETRY))
        return Exchange(answer, failure_of_answer(answer, BULK_UPDATE), action_id)

    def _read(self, action_id: str, deadline: Deadline) -> Exchange[ActionResult]:
        try:
            answer, result = read_action(self._project.client, action_id, deadline)
        except NoAnswer as error:
            return Exchange(None, failure_of_no_answer(error, BULK_UPDATE, AmbiguousTrack.RETRY))
        return Exchange(answer, failure_of_answer(answer, BULK_UPDATE), result)


def _batches(rows: Sequence[Row[T]]) -> Iterator[list[Row[T]]]:
    """Yield the rows of one call each, by the limits of rows and of bytes."""
    batch: list[Row[T]] = []
    size = 0
    for row in rows:
        bytes_of_row = len(row_of(row.body)) + 1
        if batch and (len(batch) == MOST_ROWS or size + bytes_of_row > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += bytes_of_row
    if batch:
        yield batch
