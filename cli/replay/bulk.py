"""Customers by the hundred: Voucherify's bulk endpoint, and the asynchronous action that it answers with.

A customer that is not there is made, as by the single call, and up to 10 MB go in one call:
https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk and
https://docs.voucherify.io/api-reference/async-actions/get-async-action
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from cli.errors import CommandFailed, Exit
from cli.replay.plan import Row
from cli.replay.retry_loop import CALL_SECONDS, CappedRateLimiter, RetryLoop
from handler.model.deadline import Deadline
from handler.voucherify.answers import AmbiguousTrack, Failure, failure_of_answer, failure_of_no_answer
from handler.voucherify.client import Answer, NoAnswer, VoucherifyClient
from mapping import Operation, Request

PATH = "/v1/customers/bulk/async"

MOST_ROWS = 100
MOST_BYTES = 9 * 1024 * 1024  # somewhat less than 10 MB, whichever of the two is meant

# A result names each row that failed, and why.
_MAX_RESULT_BYTES = 16 * 1024 * 1024

# Voucherify works off one bulk call after the other, each in about a second.
FIRST_POLL_SECONDS = 0.5
LONGEST_POLL_SECONDS = 5.0
GIVE_UP_SECONDS = 60 * 60.0

# What a bulk call's answer means for it: what it would for one customer.
_UPSERTS = Request(Operation.UPSERT_CUSTOMER, "POST", PATH, None, "")


@dataclass
class Batch:
    """Rows of one call, and what is known of it. `refused` are the rows that are better sent one by one."""

    rows: list[Row]
    body: bytes
    action_id: str = ""
    is_done: bool = False
    refused: list[Row] = field(default_factory=list)

    def refuse(self, rows: Iterable[Row]) -> None:
        self.is_done = True
        self.refused = list(rows)


class BulkClient:
    """The two calls. Thread-safe."""

    def __init__(self, client: VoucherifyClient) -> None:
        self._client = client

    def update(self, rows: bytes, deadline: Deadline) -> tuple[Answer, Any]:
        """Raises NoAnswer."""
        return self._call("POST", PATH, rows, deadline)

    def action(self, action_id: str, deadline: Deadline) -> tuple[Answer, Any]:
        """Raises NoAnswer."""
        return self._call("GET", f"/v1/async-actions/{quote(action_id, safe='')}", None, deadline)

    def _call(self, method: str, path: str, body: bytes | None, deadline: Deadline) -> tuple[Answer, Any]:
        response = self._client.exchange(method, path, body, deadline, is_idempotent=True, most_bytes=_MAX_RESULT_BYTES)
        return self._client.answer_in(response), _parsed(response.body)


class BulkUpdate:
    """Sends rows, and waits until Voucherify has worked them off.

    `rate_limiter` is that of bulk calls, which Voucherify may count apart from the others, to which questions after an
    action belong: https://docs.voucherify.io/docs/limits
    """

    def __init__(
        self,
        client: BulkClient,
        patience: RetryLoop,
        threads: Executor,
        *,
        rate_limiter: CappedRateLimiter,
        polling_pace: CappedRateLimiter,
    ) -> None:
        self._client = client
        self._patience = patience
        self._threads = threads
        self._pace = rate_limiter
        self._polling_pace = polling_pace

    def send(self, rows: Sequence[Row], on_done: Callable[[Row], None]) -> list[Row]:
        """The rows that were refused; `on_done` is told of each that was not. Raises CommandFailed."""
        batches = list(batches_of(rows))
        self._settle(batches, self._post, self._pace)
        seconds, waited = FIRST_POLL_SECONDS, 0.0
        while waiting := [batch for batch in batches if not batch.is_done]:
            self._patience.wait(seconds)
            waited += seconds
            seconds = min(seconds * 2, LONGEST_POLL_SECONDS)
            self._poll(waiting)
            if waited > GIVE_UP_SECONDS:
                problem = f"Voucherify has not ended its action {waiting[0].action_id} for an hour"
                raise CommandFailed(problem, "the same command sends these customers again", Exit.UNREACHABLE)
        refused = [row for batch in batches for row in batch.refused]
        are_refused = {row.customer for row in refused}
        for row in rows:
            if row.customer not in are_refused:
                on_done(row)
        return refused

    def _poll(self, waiting: Sequence[Batch]) -> None:
        """Ask after the last one, and only when that has ended after the others: they are worked off in turn."""
        last = waiting[-1]
        self._settle([last], self._ask, self._polling_pace)
        if last.is_done:
            self._settle(waiting[:-1], self._ask, self._polling_pace)

    def _settle(
        self, batches: Sequence[Batch], call: Callable[[Batch], Failure | None], rate_limiter: CappedRateLimiter
    ) -> None:
        def attempt(left: Sequence[Batch]) -> list[tuple[Batch, Failure]]:
            failures = list(self._threads.map(call, left))
            return [(batch, failure) for batch, failure in zip(left, failures, strict=True) if failure]

        for _, failure in self._patience.settle(batches, attempt, rate_limiter):
            raise CommandFailed(failure.reason, "the same command goes on where it was", Exit.UNREACHABLE)

    def _post(self, batch: Batch) -> Failure | None:
        failure, document = self._call(self._pace, lambda deadline: self._client.update(batch.body, deadline))
        if failure and not failure.permanent:
            return failure
        match document:
            case {"async_action_id": str(action_id)} if not failure:
                batch.action_id = action_id
            case _:
                batch.refuse(batch.rows)
        return None

    def _ask(self, batch: Batch) -> Failure | None:
        failure, document = self._call(
            self._polling_pace, lambda deadline: self._client.action(batch.action_id, deadline)
        )
        if failure and not failure.permanent:
            return failure
        match document:
            case {"status": "ENQUEUED" | "IN_PROGRESS"}:
                pass
            case {"status": "DONE", "result": dict(result)} if document.get("operation_status") != "FAILED":
                batch.refuse(_failed_rows(batch.rows, result))
            case _:  # it failed as a whole, or nothing that makes sense is known of it
                batch.refuse(batch.rows)
        return None

    def _call(
        self, rate_limiter: CappedRateLimiter, call: Callable[[Deadline], tuple[Answer, Any]]
    ) -> tuple[Failure | None, Any]:
        if closed := rate_limiter.acquire(self._patience.deadline(), wait_for_quota=True):
            return closed, None
        answer: Answer | None = None
        failure: Failure | None = None
        document: Any = None
        try:
            answer, document = call(Deadline.after(CALL_SECONDS))
            failure = failure_of_answer(answer, _UPSERTS)
        except NoAnswer as error:
            failure = failure_of_no_answer(error, _UPSERTS, AmbiguousTrack.RETRY)
        finally:
            rate_limiter.release(answer, failure)
        return failure, document


def batches_of(rows: Iterable[Row]) -> Iterator[Batch]:
    """Rows in calls that Voucherify takes: by number, and by their bytes together."""
    batch: list[Row] = []
    bodies: list[bytes] = []
    size = 0
    for row in rows:
        body = json.dumps(row.body(), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = body.encode("utf-8", "replace")
        if batch and (len(batch) == MOST_ROWS or size + len(encoded) > MOST_BYTES):
            yield Batch(batch, _array(bodies))
            batch, bodies, size = [], [], 0
        batch.append(row)
        bodies.append(encoded)
        size += len(encoded) + 1
    if batch:
        yield Batch(batch, _array(bodies))


def _array(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _failed_rows(rows: Sequence[Row], result: dict[str, Any]) -> list[Row]:
    """The rows that a result names as failed; all of them where it counts more than it names."""
    errors = result.get("errors")
    named = (
        {error.get("source_id") for error in errors if isinstance(error, dict)} if isinstance(errors, list) else set()
    )
    failed = [row for row in rows if row.customer in named]
    count = result.get("failed_count")
    return failed if len(failed) >= (count if isinstance(count, int) else 0) else list(rows)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
