"""Results to an HTTP reply. The status is Segment's retry policy.

Segment retries 408, 423, 429 and 5xx except 501 for about four hours and drops the request on any other 4xx:
https://segment.com/docs/connections/destinations/#retries-between-segment-and-destinations
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handler.api.api_gateway import Reply
from handler.delivery.dispatcher import Fate, Result
from handler.model.batch_summary import Tally
from handler.model.errors import MethodNotAllowed, RequestRefused

RETRY_AFTER_SECONDS = 10

_NOTHING = Tally([]).fates


def reply_to(results: Sequence[Result], tally: Tally, *, is_batch: bool) -> Reply:
    """The reply to a request whose events each have a result, and are stored where they were not delivered."""
    rejected = [result for result in results if result.failure and result.fate is Fate.REJECTED]
    body: dict[str, Any] = {**tally.fates}
    if message := _message(tally):
        body["message"] = message
    if rejected:
        body["errors"] = [{"messageId": result.message_id, "reason": _reason(result)} for result in rejected]
    return Reply(_status(tally, rejected, is_batch), body)


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


def _status(tally: Tally, rejected: Sequence[Result], is_batch: bool) -> int:
    if tally.fates[Fate.QUEUED]:
        return 202
    if rejected and len(rejected) == tally.events:
        unknown_type = any(result.failure and result.failure.code == "unknown_type" for result in rejected)
        return 501 if unknown_type and not is_batch else 400
    return 200


def _message(tally: Tally) -> str:
    told = ((Fate.QUEUED, "stored for a later retry"), (Fate.REJECTED, "rejected for good"))
    return "; ".join(f"{count} of {tally.events} events {what}" for fate, what in told if (count := tally.fates[fate]))


def _reason(result: Result) -> str:
    return result.failure.reason if result.failure else ""
