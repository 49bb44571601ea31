"""Sends many rows in a call, customers or orders, and waits for the asynchronous actions that Voucherify answers with.

An import of orders fires no earning rules, distributions or webhooks of orders:
https://docs.voucherify.io/api-reference/orders/import-orders
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from cli.errors import CommandFailed, Exit
from cli.replay.plan import Row
from cli.replay.retry_loop import CALL_SECONDS, CappedRateLimiter, RetryLoop
from handler.model.deadline import Deadline
from handler.model.failure import Action, Failure, Stage
from handler.model.policy import AmbiguousTrack
from handler.voucherify.answers import failure_of_answer, failure_of_no_answer
from handler.voucherify.bulk import (
    ORDERS,
    REFUSALS_OF_ROWS,
    ActionResult,
    Endpoint,
    in_calls,
    read_action,
    start_action,
)
from handler.voucherify.client import Answer, NoAnswer, VoucherifyClient

# Voucherify processes one call after the other, each in about a second.
FIRST_POLL_SECONDS = 0.5
LONGEST_POLL_SECONDS = 5.0
GIVE_UP_SECONDS = 60 * 60.0


Refused = tuple[Row, Failure]

T = TypeVar("T")


def _not_imported(detail: str) -> Failure:
    """Return the failure of a row. Nobody reads that of a customer, who is sent alone and gets another one."""
    reason = "Voucherify did not import the order"
    return Failure(Stage.DELIVER, "order_not_imported", reason, detail, Action.DEAD_LETTER, attempted=True)


@dataclass
class Batch:
    """The rows of one call. `is_halved`: each half of them has to be sent again."""

    rows: list[Row]
    bodies: list[bytes]
    action_id: str = ""
    is_done: bool = False
    is_halved: bool = False
    refused: list[Refused] = field(default_factory=list)

    def finish(self, refused: Iterable[Refused]) -> None:
        self.is_done = True
        self.refused = list(refused)

    def refuse(self, failure: Failure) -> None:
        self.finish((row, failure) for row in self.rows)

    def halve(self) -> None:
        self.is_done = self.is_halved = True


class BulkUpdate:
    """Sends rows, and waits until Voucherify has processed them.

    Voucherify may count bulk calls apart from others, so they have a rate limiter of their own; polling has the one of
    all other calls: https://docs.voucherify.io/docs/limits
    """

    def __init__(
        self,
        client: VoucherifyClient,
        retry_loop: RetryLoop,
        threads: Executor,
        endpoint: Endpoint,
        *,
        bulk_limiter: CappedRateLimiter,
        poll_limiter: CappedRateLimiter,
    ) -> None:
        self._client = client
        self._retry_loop = retry_loop
        self._threads = threads
        self._endpoint = endpoint
        self._bulk_limiter = bulk_limiter
        self._poll_limiter = poll_limiter

    def send(self, rows: Sequence[Row], on_updated: Callable[[Row], None]) -> list[Refused]:
        """Send rows and return the ones that were refused. Call `on_updated` for each of the others.

        Raises CommandFailed where Voucherify keeps failing.
        """
        refused: list[Refused] = []
        batches = list(batches_of(rows, self._endpoint))
        while batches:
            self._process(batches)
            refused += [one for batch in batches for one in batch.refused]
            halves = [half for batch in batches if batch.is_halved for half in _halves(batch.rows)]
            batches = [batch for half in halves for batch in batches_of(half, self._endpoint)]
        refused_keys = {row.key for row, _ in refused}
        for row in rows:
            if row.key not in refused_keys:
                on_updated(row)
        return refused

    def _process(self, batches: Sequence[Batch]) -> None:
        """Make calls and wait until their actions have ended."""
        self._run(batches, self._post, self._bulk_limiter)
        seconds, waited = FIRST_POLL_SECONDS, 0.0
        while pending := [batch for batch in batches if not batch.is_done]:
            self._retry_loop.wait(seconds)
            waited += seconds
            seconds = min(seconds * 2, LONGEST_POLL_SECONDS)
            self._poll(pending)
            if waited > GIVE_UP_SECONDS:
                problem = f"Voucherify has not finished its asynchronous action {pending[0].action_id} in an hour"
                rows = "orders" if self._endpoint is ORDERS else "customers"
                advice = f"run the same command: it sends these {rows} again"
                raise CommandFailed(problem, advice, Exit.UNREACHABLE)

    def _poll(self, pending: Sequence[Batch]) -> None:
        """Ask for the last action, and for the others once it has ended: Voucherify processes them in this order."""
        last = pending[-1]
        self._run([last], self._get_action, self._poll_limiter)
        if last.is_done:
            self._run(pending[:-1], self._get_action, self._poll_limiter)

    def _run(
        self, batches: Sequence[Batch], call: Callable[[Batch], Failure | None], limiter: CappedRateLimiter
    ) -> None:
        def attempt(left: Sequence[Batch]) -> list[tuple[Batch, Failure]]:
            failures = list(self._threads.map(call, left))
            return [(batch, failure) for batch, failure in zip(left, failures, strict=True) if failure]

        for _, failure in self._retry_loop.run(batches, attempt, limiter):
            raise CommandFailed(failure.reason, "run the same command later: it continues", Exit.UNREACHABLE)

    def _post(self, batch: Batch) -> Failure | None:
        def start(deadline: Deadline) -> tuple[Answer, str]:
            return start_action(self._client, self._endpoint, batch.bodies, deadline)

        failure, action_id = self._call(self._bulk_limiter, start)
        if failure and not failure.is_permanent:
            return failure
        if failure:
            self._refuse(batch, failure, may_be_of_a_row=failure.code in REFUSALS_OF_ROWS)
        elif action_id:
            batch.action_id = action_id
        else:
            batch.refuse(_not_imported("the answer names no asynchronous action"))
        return None

    def _get_action(self, batch: Batch) -> Failure | None:
        def read(deadline: Deadline) -> tuple[Answer, ActionResult]:
            return read_action(self._client, self._endpoint, batch.action_id, deadline)

        failure, result = self._call(self._poll_limiter, read)
        if failure and not failure.is_permanent:
            return failure
        if failure:
            batch.refuse(failure)
        elif result and result.problem:
            self._refuse(batch, _not_imported(result.problem), may_be_of_a_row=result.is_of_rows)
        elif result and result.is_done:
            refused = result.refused
            batch.finish((row, _not_imported(refused[row.key])) for row in batch.rows if row.key in refused)
        return None

    def _refuse(self, batch: Batch, failure: Failure, *, may_be_of_a_row: bool) -> None:
        """Refuse all rows of a call, unless halves of them are to find out which of them has the fault.

        Refused customers are sent one by one, so that each of them finds out by itself.
        """
        if self._endpoint is ORDERS and may_be_of_a_row and len(batch.rows) > 1:
            batch.halve()
        else:
            batch.refuse(failure)

    def _call(
        self, limiter: CappedRateLimiter, call: Callable[[Deadline], tuple[Answer, T]]
    ) -> tuple[Failure | None, T | None]:
        """Return the failure of a call, or None, and what was read from its answer."""
        if closed := limiter.acquire(self._retry_loop.deadline(), wait_for_quota=True):
            return closed, None
        answer: Answer | None = None
        failure: Failure | None = None
        content: T | None = None
        try:
            answer, content = call(Deadline.after(CALL_SECONDS))
            failure = failure_of_answer(answer, self._endpoint.request)
        except NoAnswer as error:
            failure = failure_of_no_answer(error, self._endpoint.request, AmbiguousTrack.RETRY)
        finally:
            limiter.release(answer, failure)
        return failure, content


def batches_of(rows: Iterable[Row], endpoint: Endpoint) -> Iterator[Batch]:
    """Split rows into calls."""
    for batch in in_calls(((row, row.body()) for row in rows), endpoint):
        yield Batch([row for row, _ in batch], [body for _, body in batch])


def _halves(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]
