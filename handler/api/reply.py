"""The HTTP reply for the outcomes of a request. Its status decides whether Segment tries again.

Segment retries 408, 423, 429 and 5xx except 501 for about four hours and drops the request on any other 4xx:
https://segment.com/docs/connections/destinations/#retries-between-segment-and-destinations
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handler.api.api_gateway import Reply
from handler.model.batch_summary import BatchSummary
from handler.model.errors import MethodNotAllowed, RequestRefused
from handler.model.job import DeliveryStatus, Outcome

RETRY_AFTER_SECONDS = 10

# A batch that is wrong altogether repeats its reason.
MAX_ERRORS = 100

_NOTHING = BatchSummary([]).by_status


def reply_to(outcomes: Sequence[Outcome], summary: BatchSummary, *, is_batch: bool) -> Reply:
    """Return the reply to a request whose events are all delivered or stored."""
    rejected = [outcome for outcome in outcomes if outcome.status is DeliveryStatus.REJECTED]
    body: dict[str, Any] = {**summary.by_status}
    if message := _message(summary):
        body["message"] = message
    if rejected:
        shown = rejected[:MAX_ERRORS]
        body["errors"] = [{"messageId": outcome.message_id, "reason": _reason(outcome)} for outcome in shown]
        if len(rejected) > MAX_ERRORS:
            body["message"] += f"; errors has the first {MAX_ERRORS} of them"
    return Reply(_status(summary, rejected, is_batch), body)


def tracking_reply(reply: Reply, code: str = "") -> Reply:
    """Return a reply as Segment's libraries understand it: 200 for each accepted request, even where its events were
    stored or rejected; `code` is that of a request that was refused as a whole.

    https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#errors
    """
    if code:
        return reply._replace(body={"success": False, "code": code, **reply.body})
    return reply._replace(status=200, body={"success": True, **reply.body})


def reply_to_refused(error: RequestRefused) -> Reply:
    """Return the reply to a request that is refused as a whole."""
    headers = {"Allow": error.allowed} if isinstance(error, MethodNotAllowed) else {}
    return Reply(error.status, {**_NOTHING, "message": error.message}, headers)


def reply_to_unavailable() -> Reply:
    """Return 503, so that Segment tries again. The reason is in the log only."""
    message = "not accepted, try again later"
    return Reply(503, {**_NOTHING, "message": message}, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _status(summary: BatchSummary, rejected: Sequence[Outcome], is_batch: bool) -> int:
    if summary.by_status[DeliveryStatus.QUEUED]:
        return 202
    if rejected and len(rejected) == summary.events:
        unknown_type = any(outcome.failure and outcome.failure.code == "unknown_type" for outcome in rejected)
        return 501 if unknown_type and not is_batch else 400
    return 200


def _message(summary: BatchSummary) -> str:
    told = ((DeliveryStatus.QUEUED, "stored for a later retry"), (DeliveryStatus.REJECTED, "rejected for good"))
    return "; ".join(
        f"{count} of {summary.events} events {what}" for status, what in told if (count := summary.by_status[status])
    )


def _reason(outcome: Outcome) -> str:
    return outcome.failure.reason if outcome.failure else ""
