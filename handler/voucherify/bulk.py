"""Calls that take many rows, customers or orders, and the asynchronous action that each of them answers with.

Like the calls for one, they create what does not exist. A call takes up to 10 MB:
https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk,
https://docs.voucherify.io/api-reference/orders/import-orders and
https://docs.voucherify.io/api-reference/async-actions/get-async-action
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from handler.model.deadline import Deadline
from handler.model.reason_codes import ReasonCode
from handler.voucherify.client import Answer, VoucherifyClient
from mapping import Operation, Request

# A bulk call takes two more calls at least, which poll for its result. For fewer customers, single calls are no more.
FEWEST_ROWS = 5

MAX_BYTES = 9 * 1024 * 1024  # below 10 MB, whether that counts in 1000s or in 1024s

# A result names each row that failed, with the reason.
_MAX_RESULT_BYTES = 16 * 1024 * 1024

T = TypeVar("T")


class Endpoint(NamedTuple):
    """A call that takes up to `most_rows` rows.

    `failed` is the field of an action's result that lists the refused rows, `reason` the field of such a row.
    """

    operation: Operation
    path: str
    most_rows: int
    failed: str
    reason: str

    @property
    def request(self) -> Request:
        """The call, without its rows. Its answer means the same as that to an upsert of one."""
        return Request(self.operation, "POST", self.path, None, "")


# Voucherify publishes no limit of customers. A call that is refused is repeated in halves.
CUSTOMERS = Endpoint(Operation.UPSERT_CUSTOMER, "/v1/customers/bulk/async", 1_000, "errors", "message")
ORDERS = Endpoint(Operation.UPSERT_ORDER, "/v1/orders/import", 2_000, "failed", "reason")


# Voucherify refuses a call as a whole, though the fault may be its size or one row's.
REFUSALS_OF_ROWS = (ReasonCode.of_status(400), ReasonCode.of_status(413))


class ActionResult(NamedTuple):
    """An asynchronous action. `refused` has the reason of each refused row by its `source_id`.

    `problem` says why nobody knows which rows were refused, and is empty where that is known; `is_of_rows`: one faulty
    row may be the cause.
    """

    is_done: bool
    refused: Mapping[str, str] = {}
    problem: str = ""
    is_of_rows: bool = False


def merged(earlier: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row for two: later fields replace earlier ones, metadata and an order's customer key by key."""
    row = {**earlier, **later}
    for name, merge in (("metadata", dict.__or__), ("customer", merged)):
        before, after = earlier.get(name), later.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            row[name] = merge(before, after)
    return row


def in_calls(rows: Iterable[tuple[T, Mapping[str, Any]]], endpoint: Endpoint) -> Iterator[list[tuple[T, bytes]]]:
    """Yield the rows of one call each, encoded, by the limits of rows and of bytes. A row is its owner and its body."""
    batch: list[tuple[T, bytes]] = []
    size = 0
    for owner, body in rows:
        encoded = _encoded(body)
        if batch and (len(batch) == endpoint.most_rows or size + len(encoded) > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append((owner, encoded))
        size += len(encoded) + 1
    if batch:
        yield batch


def start_action(
    client: VoucherifyClient, endpoint: Endpoint, rows: Sequence[bytes], deadline: Deadline
) -> tuple[Answer, str]:
    """Return the answer to a call with these rows, and the id of its action, empty without one. Raises NoAnswer."""
    body = b"[" + b",".join(rows) + b"]"
    response = client.exchange("POST", endpoint.path, body, deadline, is_idempotent=True)
    document = _parse(response.body)
    action_id = document.get("async_action_id") if isinstance(document, dict) else None
    return client.answer_in(response), action_id if isinstance(action_id, str) else ""


def read_action(
    client: VoucherifyClient, endpoint: Endpoint, action_id: str, deadline: Deadline
) -> tuple[Answer, ActionResult]:
    """Return the answer that says how an action stands, and its result. Raises NoAnswer."""
    path = f"/v1/async-actions/{quote(action_id, safe='')}"
    response = client.exchange("GET", path, None, deadline, is_idempotent=True, most_bytes=_MAX_RESULT_BYTES)
    return client.answer_in(response), _result_in(_parse(response.body), action_id, endpoint)


def _result_in(document: Any, action_id: str, endpoint: Endpoint) -> ActionResult:
    match document:
        case {"status": "ENQUEUED" | "IN_PROGRESS"}:
            return ActionResult(is_done=False)
        case {"status": "DONE", "result": dict(result)} if document.get("operation_status") != "FAILED":
            refused, count = _refused_rows(result, endpoint), result.get("failed_count")
            if isinstance(count, int) and count > len(refused):
                problem = f"the asynchronous action {action_id} does not name all rows that failed"
                return ActionResult(True, problem=problem, is_of_rows=True)
            return ActionResult(True, refused)
        case {"status": "FAILED"} | {"operation_status": "FAILED"}:
            return ActionResult(True, problem=f"the asynchronous action {action_id} failed", is_of_rows=True)
    return ActionResult(True, problem=f"the asynchronous action {action_id} has no documented state")


def _refused_rows(result: dict[str, Any], endpoint: Endpoint) -> dict[str, str]:
    listed = result.get(endpoint.failed)
    return {
        failed["source_id"]: str(failed.get(endpoint.reason) or "")
        for failed in (listed if isinstance(listed, list) else [listed])  # published for orders as an object, too
        if isinstance(failed, dict) and isinstance(failed.get("source_id"), str)
    }


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
