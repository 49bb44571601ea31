"""Results to an HTTP reply. The status is Segment's retry policy.

Segment retries 408, 423, 429 and 5xx except 501 for about four hours and drops the request on any other 4xx:
https://segment.com/docs/connections/destinations/#retries-between-segment-and-destinations
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from handler.api_gateway import Reply
from handler.delivery import Fate, Result
from handler.errors import MethodNotAllowed, RequestRefused

RETRY_AFTER_SECONDS = 10


def reply_to(results: Sequence[Result], *, is_batch: bool) -> Reply:
    """The reply to a request whose events each have a result, and are stored where they were not delivered."""
    fates = Counter(result.fate for result in results)
    rejected = [result for result in results if result.failure and result.fate is Fate.REJECTED]
    body = {
        **_counts(fates),
        "message": _message(fates, len(results)),
        "errors": [{"messageId": result.message_id, "reason": _reason(result)} for result in rejected],
    }
    return Reply(
        _status(fates, rejected, is_batch), {name: value for name, value in body.items() if value not in ("", [])}
    )


def tracking_reply(reply: Reply, code: str = "") -> Reply:
    """A reply as Segment's libraries understand it: 200 for whatever is accepted, be it stored or rejected for good,
    and `code` where the request as a whole is not.

    https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#errors
    """
    if code:
        return replace(reply, body={"success": False, "code": code, **reply.body})
    return replace(reply, status=200, body={"success": True, **reply.body})


def reply_to_refused(error: RequestRefused) -> Reply:
    headers = {"Allow": "POST"} if isinstance(error, MethodNotAllowed) else {}
    return Reply(error.status, {**_counts(Counter()), "message": error.message}, headers)


def reply_to_unavailable() -> Reply:
    """503: nothing is promised, Segment tries again. Why is for the log."""
    message = "not accepted, try again later"
    return Reply(503, {**_counts(Counter()), "message": message}, {"Retry-After": str(RETRY_AFTER_SECONDS)})


def _counts(fates: Counter[Fate]) -> dict[str, int]:
    return {fate.value: fates[fate] for fate in Fate}


def _status(fates: Counter[Fate], rejected: Sequence[Result], is_batch: bool) -> int:
    if fates[Fate.QUEUED]:
        return 202
    if rejected and len(rejected) == fates.total():
        unknown_type = any(result.failure and result.failure.code == "unknown_type" for result in rejected)
        return 501 if unknown_type and not is_batch else 400
    return 200


def _message(fates: Counter[Fate], total: int) -> str:
    parts: Iterable[str] = (
        f"{fates[Fate.QUEUED]} of {total} events stored for a later retry" if fates[Fate.QUEUED] else "",
        f"{fates[Fate.REJECTED]} of {total} events rejected for good" if fates[Fate.REJECTED] else "",
    )
    return "; ".join(filter(None, parts))


def _reason(result: Result) -> str:
    return result.failure.reason if result.failure else ""
