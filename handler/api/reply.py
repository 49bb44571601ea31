"""Results to an HTTP reply. The status is Segment's retry policy.

Segment retries 408, 423, 429 and 5xx except 501 for about four hours and drops the request on any other 4xx:
https://segment.com/docs/connections/destinations/#retries-between-segment-and-destinations
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handler.api.api_gateway import Reply
from handler.delivery.dispatcher import DeliveryStatus, Outcome
from handler.model.batch_summary import BatchSummary
from handler.model.errors import MethodNotAllowed, RequestRefused

RETRY_AFTER_SECONDS = 10

_NOTHING = BatchSummary([]).by_status


def reply_to(results: Sequence[Outcome], summary: BatchSummary, *, is_batch: bool) -> Reply:
    """The reply to a request whose events each have a result, and are stored where they were not delivered."""
    rejected = [result for result in results if result.failure and result.status is DeliveryStatus.REJECTED]
    body: dict[str, Any] = {**summary.by_status}
    if message := _message(summary):
        body["message"] = message
    if rejected:
        body["errors"] = [{"messageId": result.message_id, "reason": _reason(result)} for result in rejected]
    return Reply(_status(summary, rejected, is_batch), body)


def tracking_reply(reply: Reply, code: str = "") -> Reply:
    """A reply as Segment's libraries understand it: 200 for whatever is accepted, be it stored or rejected for good,
    and `code` where the request as a whole is not.

    https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#errors
    """
    if code:
        return reply._replace(body={"success": False, "code": code, **reply.body})
    return reply._replace(status=200, body={"success": True, **reply.body})


def reply_to_refused(error: RequestRefused) -> Reply:
    headers = {"Allow": "POST"} if isinstance(error, MethodNotAllowed) else {}
    return Reply(error.status, {**_NOTHING, "message": error.message}, headers)


def reply_to_unavailable() -> Reply:
    """503: nothing is promised, Segment tries again. Why is for the log."""
    message = "not accepted, try again later"
    return Reply(503, {**_NOTHING, "message": message}, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _status(summary: BatchSummary, rejected: Sequence[Outcome], is_batch: bool) -> int:
    if summary.by_status[DeliveryStatus.QUEUED]:
        return 202
    if rejected and len(rejected) == summary.events:
        unknown_type = any(result.failure and result.failure.code == "unknown_type" for result in rejected)
        return 501 if unknown_type and not is_batch else 400
    return 200


def _message(summary: BatchSummary) -> str:
    told = ((DeliveryStatus.QUEUED, "stored for a later retry"), (DeliveryStatus.REJECTED, "rejected for good"))
    return "; ".join(
        f"{count} of {summary.events} events {what}" for status, what in told if (count := summary.by_status[status])
    )


def _reason(result: Outcome) -> str:
    return result.failure.reason if result.failure else ""
