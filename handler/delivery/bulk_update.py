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
from handler.voucherify.bulk import (
    CUSTOMERS,
    FEWEST_ROWS,
    REFUSALS_OF_ROWS,
    ActionResult,
    in_calls,
    merged,
    read_action,
    start_action,
)
from handler.voucherify.client import Answer, NoAnswer

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
        """Add an upsert. `null` clears all metadata."""
        self.body = merged(self.body, body)
        self.owners.append(owner)

    def takes(self, body: dict[str, Any]) -> bool:
        """Whether an upsert can join the row. Metadata cannot be cleared and then set in one."""
        return not ("metadata" in self.body and self.body["metadata"] is None and body.get("metadata"))


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
        for batch in in_calls(((row, row.body) for row in rows), CUSTOMERS):
            yield from self._send(batch, deadline)

    def _send(self, batch: Sequence[tuple[Row[T], bytes]], deadline: Deadline) -> Iterator[Updated[T]]:
        rows = [row for row, _ in batch]
        start = partial(start_action, self._project.client, CUSTOMERS, [body for _, body in batch], deadline)
        started = self._call(start, deadline)
        if started.failure and not started.failure.is_permanent:
            yield from (Updated(row, started.failure) for row in rows)
            return
        if started.failure or not started.content:
            if started.failure and started.failure.code in REFUSALS_OF_ROWS:
                yield from self._in_halves(batch, deadline)
            else:
                yield from (Updated(row, is_refused=True) for row in rows)
            return
        result = self._wait_for(started.content, deadline)
        if isinstance(result, Failure):
            yield from (Updated(row, result) for row in rows)
        else:
            refused = result.refused
            yield from (Updated(row, is_refused=bool(result.problem) or row.customer in refused) for row in rows)

    def _in_halves(self, batch: Sequence[tuple[Row[T], bytes]], deadline: Deadline) -> Iterator[Updated[T]]:
        """Send a call that was refused in halves; few rows are refused each."""
        if len(batch) < 2 * FEWEST_ROWS:
            yield from (Updated(row, is_refused=True) for row, _ in batch)
            return
        middle = len(batch) // 2
        yield from self._send(batch[:middle], deadline)
        yield from self._send(batch[middle:], deadline)

    def _wait_for(self, action_id: str, deadline: Deadline) -> ActionResult | Failure:
        """Poll an action to its end. A failure: nobody knows yet what became of its rows."""
        seconds = FIRST_POLL_SECONDS
        while deadline.seconds_left > seconds:
            self._sleep(seconds)
            polled = self._call(partial(read_action, self._project.client, CUSTOMERS, action_id, deadline), deadline)
            if polled.failure and not polled.failure.is_permanent:
                return polled.failure
            if polled.failure or polled.content is None:
                return ActionResult(is_done=True, problem="the asynchronous action cannot be read")
            if polled.content.is_done:
                return polled.content
            seconds = min(2 * seconds, LONGEST_POLL_SECONDS)
        return BULK_NOT_DONE

    def _call(self, call: Callable[[], tuple[Answer, T]], deadline: Deadline) -> Exchange[T]:
        """Make one call, and stop waiting for it at the deadline, whatever the other side does."""

        def exchange() -> Exchange[T]:
            try:
                answer, content = call()
            except NoAnswer as error:
                return Exchange(None, failure_of_no_answer(error, CUSTOMERS.request, AmbiguousTrack.RETRY))
            return Exchange(answer, failure_of_answer(answer, CUSTOMERS.request), content)

        limited = partial(self._project.limited, exchange, deadline, wait_for_quota=True)
        (made,) = self._project.threads.run([limited], deadline.later(GRACE_SECONDS))
        return made or Exchange(None, OUT_OF_TIME)
