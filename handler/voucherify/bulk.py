"""Customers in bulk: one call for many upserts, and the asynchronous action that it answers with.

Like the single call, it creates a customer that does not exist. A call takes up to 10 MB:
https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk and
https://docs.voucherify.io/api-reference/async-actions/get-async-action
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import quote

from handler.model.deadline import Deadline
from handler.voucherify.client import Answer, VoucherifyClient
from mapping import Operation, Request

MAX_BYTES = 9 * 1024 * 1024  # below 10 MB, whether that counts in 1000s or in 1024s

# A result names each row that failed, with the reason.
_MAX_RESULT_BYTES = 16 * 1024 * 1024

# An answer means the same as one to the update of one customer.
BULK_UPDATE = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers/bulk/async", None, "")


class ActionResult(NamedTuple):
    """An asynchronous action: whether it has ended, and which customers it names as refused.

    `refuses_all`: it failed as a whole, or says that more rows failed than it names.
    """

    is_done: bool
    refused: frozenset[str] = frozenset()
    refuses_all: bool = False


def row_of(customer: dict[str, Any]) -> bytes:
    """Return a customer as a row of the call."""
    return json.dumps(customer, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def start_update(client: VoucherifyClient, rows: Iterable[bytes], deadline: Deadline) -> tuple[Answer, str]:
    """Return the answer to the call with these rows, and the id of its action, empty where it has none.

    Raises NoAnswer.
    """
    body = b"[" + b",".join(rows) + b"]"
    response = client.exchange(BULK_UPDATE.method, BULK_UPDATE.path, body, deadline, is_idempotent=True)
    document = _parse(response.body)
    action_id = document.get("async_action_id") if isinstance(document, dict) else None
    return client.answer_in(response), action_id if isinstance(action_id, str) else ""


def read_action(client: VoucherifyClient, action_id: str, deadline: Deadline) -> tuple[Answer, ActionResult]:
    """Return the answer that says how an action stands, and its result. Raises NoAnswer."""
    path = f"/v1/async-actions/{quote(action_id, safe='')}"
    response = client.exchange("GET", path, None, deadline, is_idempotent=True, most_bytes=_MAX_RESULT_BYTES)
    return client.answer_in(response), _result_in(_parse(response.body))


def _result_in(document: Any) -> ActionResult:
    match document:
        case {"status": "ENQUEUED" | "IN_PROGRESS"}:
            return ActionResult(is_done=False)
        case {"status": "DONE", "result": dict(result)} if document.get("operation_status") != "FAILED":
            errors, count = result.get("errors"), result.get("failed_count")
            named = frozenset(
                error["source_id"]
                for error in (errors if isinstance(errors, list) else ())
                if isinstance(error, dict) and isinstance(error.get("source_id"), str)
            )
            return ActionResult(True, named, refuses_all=isinstance(count, int) and count > len(named))
    return ActionResult(True, refuses_all=True)  # it failed as a whole, or the answer is none that is documented


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
