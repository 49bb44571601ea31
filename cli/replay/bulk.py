"""Sends many rows in a call, customers or orders, and asks for the asynchronous action that Voucherify answers with.

Like the calls for one, they create what does not exist. An import of orders fires no earning rules, distributions or
webhooks of orders. One call takes up to 10 MB:
https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk,
https://docs.voucherify.io/api-reference/orders/import-orders and
https://docs.voucherify.io/api-reference/async-actions/get-async-action
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from cli.errors import CommandFailed, Exit
from cli.replay.plan import Row
from cli.replay.retry_loop import CALL_SECONDS, CappedRateLimiter, RetryLoop
from handler.model.deadline import Deadline
from handler.model.failure import Action, Failure, Stage
from handler.model.policy import AmbiguousTrack
from handler.model.reason_codes import ReasonCode
from handler.voucherify.answers import failure_of_answer, failure_of_no_answer
from handler.voucherify.client import Answer, NoAnswer, VoucherifyClient
from mapping import Operation, Request

MOST_BYTES = 9 * 1024 * 1024  # below 10 MB, whether that counts in 1000s or in 1024s

# A result names each row that failed, with the reason.
_MAX_RESULT_BYTES = 16 * 1024 * 1024

# Voucherify processes one call after the other, each in about a second.
FIRST_POLL_SECONDS = 0.5
LONGEST_POLL_SECONDS = 5.0
GIVE_UP_SECONDS = 60 * 60.0

# Voucherify refuses a call as a whole, though the fault may be one row's.
_REFUSALS_OF_ROWS = (ReasonCode.of_status(400), ReasonCode.of_status(413))


class Endpoint(NamedTuple):
    """A call that takes many rows.

    `failed` is the field of an action's result that lists the failed rows, `reason` the field of such a row. `halves`:
    rows of a call that failed as a whole are sent again, in two calls. The rows of other endpoints can be sent alone.
    """

    rows: str
    operation: Operation
    path: str
    most_rows: int
    failed: str
    reason: str
    halves: bool

    @property
    def request(self) -> Request:
        """The call, without its rows. Its answer means the same as that to an upsert of one."""
        return Request(self.operation, "POST", self.path, None, "")


CUSTOMERS = Endpoint(
    "customers",
    Operation.UPSERT_CUSTOMER,
    "/v1/customers/bulk/async",
    most_rows=100,
    failed="errors",
    reason="message",
    halves=False,
)
ORDERS = Endpoint(
    "orders",
    Operation.UPSERT_ORDER,
    "/v1/orders/import",
    most_rows=2_000,
    failed="failed",
    reason="reason",
    halves=True,
)

Refused = tuple[Row, Failure]


def _not_imported(detail: str) -> Failure:
    """Return the failure of a row. Nobody reads that of a customer, who is sent alone and gets another one."""
    reason = "Voucherify did not import the order"
    return Failure(Stage.DELIVER, "order_not_imported", reason, detail, Action.DEAD_LETTER, attempted=True)


@dataclass
class Batch:
    """The rows of one call. `is_halved`: each half of them has to be sent again."""

    rows: list[Row]
    body: bytes
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
        batches = list(batches_of(rows, self._endpoint.most_rows))
        while batches:
            self._process(batches)
            refused += [one for batch in batches for one in batch.refused]
            halves = [half for batch in batches if batch.is_halved for half in _halves(batch.rows)]
            batches = [batch for half in halves for batch in batches_of(half, self._endpoint.most_rows)]
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
                advice = f"run the same command: it sends these {self._endpoint.rows} again"
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
        failure, document = self._call(self._bulk_limiter, self._endpoint.request, batch.body)
        if failure and not failure.is_permanent:
            return failure
        match document:
            case _ if failure:
                self._refuse(batch, failure, may_be_of_a_row=failure.code in _REFUSALS_OF_ROWS)
            case {"async_action_id": str(action_id)}:
                batch.action_id = action_id
            case _:
                batch.refuse(_not_imported("the answer names no asynchronous action"))
        return None

    def _get_action(self, batch: Batch) -> Failure | None:
        path = f"/v1/async-actions/{quote(batch.action_id, safe='')}"
        request = self._endpoint.request._replace(method="GET", path=path)
        failure, document = self._call(self._poll_limiter, request, None)
        if failure and not failure.is_permanent:
            return failure
        match document:
            case _ if failure:
                batch.refuse(failure)
            case {"status": "ENQUEUED" | "IN_PROGRESS"}:
                pass
            case {"status": "DONE", "result": dict(result)} if document.get("operation_status") != "FAILED":
                self._finish(batch, result)
            case {"status": "FAILED"} | {"operation_status": "FAILED"}:
                failure = _not_imported(f"the asynchronous action {batch.action_id} failed")
                self._refuse(batch, failure, may_be_of_a_row=True)
            case _:
                batch.refuse(_not_imported(f"the asynchronous action {batch.action_id} has no documented state"))
        return None

    def _finish(self, batch: Batch, result: dict[str, Any]) -> None:
        """Refuse the rows that a result names as failed. It may count more than it names."""
        failed = _failed_rows(batch.rows, result, self._endpoint)
        count = result.get("failed_count")
        if len(failed) >= (count if isinstance(count, int) else 0):
            batch.finish(failed)
        else:
            failure = _not_imported(f"the asynchronous action {batch.action_id} does not name all rows that failed")
            self._refuse(batch, failure, may_be_of_a_row=True)

    def _refuse(self, batch: Batch, failure: Failure, *, may_be_of_a_row: bool) -> None:
        """Refuse all rows of a call, unless halves of them are to find out which of them has the fault."""
        if self._endpoint.halves and may_be_of_a_row and len(batch.rows) > 1:
            batch.halve()
        else:
            batch.refuse(failure)

    def _call(self, limiter: CappedRateLimiter, request: Request, body: bytes | None) -> tuple[Failure | None, Any]:
        """Return the failure of a call, or None, and the JSON of its answer."""
        if closed := limiter.acquire(self._retry_loop.deadline(), wait_for_quota=True):
            return closed, None
        answer: Answer | None = None
        failure: Failure | None = None
        document: Any = None
        try:
            deadline = Deadline.after(CALL_SECONDS)
            response = self._client.exchange(
                request.method, request.path, body, deadline, is_idempotent=True, most_bytes=_MAX_RESULT_BYTES
            )
            answer, document = self._client.answer_in(response), _parse(response.body)
            failure = failure_of_answer(answer, request)
        except NoAnswer as error:
            failure = failure_of_no_answer(error, request, AmbiguousTrack.RETRY)
        finally:
            limiter.release(answer, failure)
        return failure, document


def batches_of(rows: Iterable[Row], most_rows: int) -> Iterator[Batch]:
    """Split rows into calls, by Voucherify's limits of rows and of bytes."""
    batch: list[Row] = []
    bodies: list[bytes] = []
    size = 0
    for row in rows:
        body = json.dumps(row.body(), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        encoded = body.encode("utf-8", "replace")
        if batch and (len(batch) == most_rows or size + len(encoded) > MOST_BYTES):
            yield Batch(batch, _array(bodies))
            batch, bodies, size = [], [], 0
        batch.append(row)
        bodies.append(encoded)
        size += len(encoded) + 1
    if batch:
        yield Batch(batch, _array(bodies))


def _array(items: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(items) + b"]"


def _halves(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]


def _failed_rows(rows: Sequence[Row], result: dict[str, Any], endpoint: Endpoint) -> list[Refused]:
    listed = result.get(endpoint.failed)
    named = {
        str(failed.get("source_id")): str(failed.get(endpoint.reason) or "")
        for failed in (listed if isinstance(listed, list) else [listed])  # published for orders as an object, too
        if isinstance(failed, dict)
    }
    return [(row, _not_imported(named[row.key])) for row in rows if row.key in named]


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
