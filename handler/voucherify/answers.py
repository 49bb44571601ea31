"""The one place where an answer, or none, becomes delivered, retry or rejected.

Sources: https://docs.voucherify.io/reference/errors and https://docs.voucherify.io/docs/limits
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from handler.voucherify.client import Answer, NoAnswer, VoucherifyError
from mapping import InvalidEvent, Operation, Request

CREDENTIALS_REFUSED = "credentials_refused"
PLAN_USED_UP = "plan_used_up"

_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")


class AmbiguousTrack(StrEnum):
    """The setting `ambiguousTrack`: what becomes of a track that may have been applied."""

    RETRY = "retry"
    DEAD_LETTER = "deadLetter"


class UnguardedTrack(StrEnum):
    """The setting `unguardedTrack`: what becomes of a track where nobody can say whether it was delivered before."""

    QUEUE = "queue"
    DELIVER = "deliver"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an event was not delivered.

    `stage`, `code` and `message` are those of the failure record. `reason` may be answered and logged: it holds
    nothing of the event; `detail` is what Voucherify said and may quote it. `permanent`: no retry can help. `loud`:
    only the operator can mend it. `halts`: every other call of the request would fail the same way. `waits`: until the
    plan allows it again, which costs no attempt. `called`: an attempt was made.
    """

    stage: str
    code: str
    reason: str
    detail: str = ""
    permanent: bool = False
    loud: bool = False
    halts: bool = False
    waits: bool = False
    called: bool = False

    @property
    def message(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


def failure_of_answer(answer: Answer, request: Request) -> Failure | None:
    """What an answer means for the event; None is delivered, whatever the body says."""
    status, error = answer.status, answer.error
    is_gone = request.operation is Operation.DELETE_CUSTOMER and status == 404 and error is not None
    if 200 <= status < 300 or is_gone:
        return None
    reason = f"Voucherify answered {_name(status, error)}"

    def failure(code: str, **consequence: bool) -> Failure:
        return Failure("deliver", code, reason, _detail(error), called="waits" not in consequence, **consequence)

    if 300 <= status < 400 or (status in {404, 405} and error is None):
        return failure("wrong_api_url", loud=True, halts=True)
    if status in {401, 403}:
        return failure(CREDENTIALS_REFUSED, loud=True, halts=True)
    if status == 402 or (status == 429 and answer.headers.get("x-rate-limit-type") == "api_calls_cycle"):
        return failure(PLAN_USED_UP, loud=True, waits=True)
    if status == 429:
        return failure("rate_limited", waits=True)
    # A customer is an upsert: a conflict is another upsert at the same time.
    may_succeed = status in {408, 423, 425} or (status == 409 and request.is_idempotent)
    return failure(f"voucherify_{status}", permanent=400 <= status < 500 and not may_succeed)


def failure_of_no_answer(error: NoAnswer, request: Request, ambiguous_track: AmbiguousTrack) -> Failure:
    """What a missing answer means: a retry; or what the shop wants where a track may have been applied."""
    reason = f"no answer from Voucherify: {error.problem}"
    if not error.sent or request.is_idempotent:
        return Failure("deliver", error.code, reason, called=True)
    reason += "; the event may have been applied"
    return Failure("deliver", error.code, reason, called=True, permanent=ambiguous_track is AmbiguousTrack.DEAD_LETTER)


def failure_of_invalid_event(error: InvalidEvent) -> Failure:
    return Failure(error.stage, error.code, str(error), permanent=True)


def failure_of_bug(error: Exception) -> Failure:
    """A fault of ours must cost its own event a delay, not its neighbours their delivery.

    Says what and where, and not the error's own text, which may quote the event.
    """
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace else ""
    return Failure("deliver", "internal_error", f"unexpected {type(error).__name__}{place}", loud=True)


EVENT_TOO_LARGE = Failure(
    "decode", "event_too_large", "the event is larger than an SQS message, or nested too deeply", permanent=True
)

DELETE_NOT_TAKEN = Failure(
    "decode", "delete_not_taken", "Segment's Tracking API has no delete: send it to /events", permanent=True
)

OUT_OF_TIME = Failure("deliver", "out_of_time", "the time to answer in was used up before the event's turn")


WINDOW_USED_UP = Failure("deliver", "rate_limited", "the calls of this window are used up", waits=True)

IN_PROGRESS = Failure("deduplicate", "in_progress", "another delivery of the same messageId is under way")


DELIVERIES_UNKNOWN = Failure(
    "deduplicate", "deliveries_unknown", "DynamoDB could not say whether it was delivered before"
)

DELETIONS_UNKNOWN = Failure("deduplicate", "deletions_unknown", "it cannot be asked or noted who was deleted")


def failure_while_halted(cause: Failure) -> Failure:
    """The event was not tried, because `cause` said that every call would fail now."""
    return Failure("deliver", cause.code, f"not tried, since {cause.reason}", loud=cause.loud, waits=cause.waits)


def _name(status: int, error: VoucherifyError | None) -> str:
    """The status, with Voucherify's key where it is one: it comes from outside and goes into answers and logs."""
    return f"{status} {error.key}" if error and _KEY.fullmatch(error.key) else str(status)


def _detail(error: VoucherifyError | None) -> str:
    if error is None:
        return ""
    request_id = f"(request_id {error.request_id})" if error.request_id else ""
    return " ".join(filter(None, (error.message, error.details, request_id)))
