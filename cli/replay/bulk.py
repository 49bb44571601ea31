"""Updates customers by the hundred: Voucherify's bulk endpoint, and the asynchronous action that it answers with.

Like the single call, it creates a customer that does not exist. One call takes up to 10 MB:
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
from handler.model.failure import Failure
from handler.model.policy import AmbiguousTrack
from handler.voucherify.answers import failure_of_answer, failure_of_no_answer
from handler.voucherify.client import Answer, NoAnswer, VoucherifyClient
from mapping import Operation, Request

PATH = "/v1/customers/bulk/async"

MOST_ROWS = 100
MOST_BYTES = 9 * 1024 * 1024  # below 10 MB, whether that counts in 1000s or in 1024s

# A result names each row that failed, with the reason.
_MAX_RESULT_BYTES = 16 * 1024 * 1024

# Voucherify processes one bulk call after the other, each in about a second.
FIRST_POLL_SECONDS = 0.5
LONGEST_POLL_SECONDS = 5.0
GIVE_UP_SECONDS = 60 * 60.0

# An answer to a bulk call means the same as an answer to the update of one customer.
_UPSERT = Request(Operation.UPSERT_CUSTOMER, "POST", PATH, None, "")


@dataclass
class Batch:
    """The rows of one call. `refused` are the rows that have to be sent one by one."""

    rows: list[Row]
    body: bytes
    action_id: str = ""
    is_done: bool = False
    refused: list[Row] = field(default_factory=list)

    def finish(self, refused: Iterable[Row]) -> None:
        self.is_done = True
        self.refused = list(refused)


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
        *,
        bulk_limiter: CappedRateLimiter,
        poll_limiter: CappedRateLimiter,
    ) -> None:
        self._client = client
        self._retry_loop = retry_loop
        self._threads = threads
        self._bulk_limiter = bulk_limiter
        self._poll_limiter = poll_limiter

    def send(self, rows: Sequence[Row], on_updated: Callable[[Row], None]) -> list[Row]:
        """Update customers and return the rows that were refused. Call `on_updated` for each of the others.

        Raises CommandFailed where Voucherify keeps failing.
        """
        batches = list(batches_of(rows))
        self._run(batches, self._post, self._bulk_limiter)
        seconds, waited = FIRST_POLL_SECONDS, 0.0
        while pending := [batch for batch in batches if not batch.is_done]:
            self._retry_loop.wait(seconds)
            waited += seconds
            seconds = min(seconds * 2, LONGEST_POLL_SECONDS)
            self._poll(pending)
            if waited > GIVE_UP_SECONDS:
                problem = f"Voucherify has not finished its asynchronous action {pending[0].action_id} in an hour"
                raise CommandFailed(problem, "run the same command: it sends these customers again", Exit.UNREACHABLE)
        refused = [row for batch in batches for row in batch.refused]
        refused_customers = {row.customer for row in refused}
        for row in rows:
            if row.customer not in refused_customers:
                on_updated(row)
        return refused

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
        failure, document = self._call(self._bulk_limiter, "POST", PATH, batch.body)
        if failure and not failure.is_permanent:
            return failure
        match document:
            case {"async_action_id": str(action_id)} if not failure:
                batch.action_id = action_id
            case _:
                batch.finish(refused=batch.rows)
        return None

    def _get_action(self, batch: Batch) -> Failure | None:
        path = f"/v1/async-actions/{quote(batch.action_id, safe='')}"
        failure, document = self._call(self._poll_limiter, "GET", path, None)
        if failure and not failure.is_permanent:
            return failure
        match document:
            case {"status": "ENQUEUED" | "IN_PROGRESS"}:
                pass
            case {"status": "DONE", "result": dict(result)} if document.get("operation_status") != "FAILED":
                batch.finish(refused=_failed_rows(batch.rows, result))
            case _:  # it failed as a whole, or the answer is not one that Voucherify documents
                batch.finish(refused=batch.rows)
        return None

    def _call(
        self, limiter: CappedRateLimiter, method: str, path: str, body: bytes | None
    ) -> tuple[Failure | None, Any]:
        """Return the failure of a call, or None, and the JSON of its answer."""
        if closed := limiter.acquire(self._retry_loop.deadline(), wait_for_quota=True):
            return closed, None
        answer: Answer | None = None
        failure: Failure | None = None
        document: Any = None
        try:
            deadline = Deadline.after(CALL_SECONDS)
            response = self._client.exchange(
                method, path, body, deadline, is_idempotent=True, most_bytes=_MAX_RESULT_BYTES
            )
            answer, document = self._client.answer_in(response), _parse(response.body)
            failure = failure_of_answer(answer, _UPSERT)
        except NoAnswer as error:
            failure = failure_of_no_answer(error, _UPSERT, AmbiguousTrack.RETRY)
        finally:
            limiter.release(answer, failure)
        return failure, document


def batches_of(rows: Iterable[Row]) -> Iterator[Batch]:
    """Split rows into calls, by Voucherify's limits of rows and of bytes."""
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
    """Return the rows that a result names as failed, or all of them where it counts more than it names."""
    errors = result.get("errors")
    named = (
        {error.get("source_id") for error in errors if isinstance(error, dict)} if isinstance(errors, list) else set()
    )
    failed = [row for row in rows if row.customer in named]
    count = result.get("failed_count")
    return failed if len(failed) >= (count if isinstance(count, int) else 0) else list(rows)


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
