"""The one place that turns an answer of Voucherify, or a missing one, into a failure and its action.

https://docs.voucherify.io/reference/errors and https://docs.voucherify.io/docs/limits
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from handler.model.failure import Action, Failure, Severity, Stage
from handler.model.policy import AmbiguousTrack
from handler.model.reason_codes import ReasonCode
from handler.voucherify.client import Answer, NoAnswer, VoucherifyError
from mapping import InvalidEvent, Operation, Request

_KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")


class _Meaning(NamedTuple):
    """The meaning of an answer. Without a code of its own it has `voucherify_<status>`."""

    action: Action
    code: str = ""
    severity: Severity = Severity.WARNING


_RETRY = _Meaning(Action.RETRY)
_REJECT = _Meaning(Action.DEAD_LETTER)
_MISSING_PERMISSION = _Meaning(Action.DEAD_LETTER, ReasonCode.MISSING_PERMISSION, Severity.ERROR)
_MISSING_FEATURE = _Meaning(Action.DEAD_LETTER, ReasonCode.MISSING_FEATURE, Severity.ERROR)
_CREDENTIALS = _Meaning(Action.STOP_BATCH, ReasonCode.CREDENTIALS_REFUSED, Severity.ERROR)
_WRONG_API_URL = _Meaning(Action.STOP_BATCH, ReasonCode.WRONG_API_URL, Severity.ERROR)
_RATE_LIMITED = _Meaning(Action.WAIT_FOR_QUOTA, ReasonCode.RATE_LIMITED)
_PLAN_USED_UP = _Meaning(Action.WAIT_FOR_QUOTA, ReasonCode.PLAN_USED_UP, Severity.ERROR)

# The error keys of a 403 that concern the credentials and so every call. Voucherify publishes no list of its keys.
_KEYS_OF_CREDENTIALS = (
    "application_disabled",
    "authentication_failed",
    "forbidden",
    "invalid_api_key",
    "invalid_credentials",
    "invalid_token",
    "unauthenticated",
    "unauthorized",
)

# The error keys of a 400 that may concern metadata that does not fit the project's schema. The first one is published
# for validations and publications: https://docs.voucherify.io/api-reference/vouchers/validate-voucher
# The reference has no such example for customers and events. So the general keys count as well, where metadata was
# sent: https://docs.voucherify.io/api-reference/errors
_METADATA_VALIDATION_FAILED = "metadata_validation_failed"
_GENERAL_KEYS = ("invalid_customer", "invalid_payload", "")

# What a person has to change in Voucherify, by the code of the failure.
_ADVICE = {
    ReasonCode.MISSING_PERMISSION: "the credentials lack the permission to {operation}: add it to the API key",
    ReasonCode.MISSING_FEATURE: "the plan does not include the feature to {operation}",
}
_OPERATIONS = {
    Operation.UPSERT_CUSTOMER: "create and update customers",
    Operation.TRACK_EVENT: "create custom events",
    Operation.UPSERT_ORDER: "create and update orders",
    Operation.DELETE_CUSTOMER: "delete customers permanently",
    Operation.READ_METADATA_SCHEMAS: "read metadata schemas",
}

# The second part of a row's key: the `key` of Voucherify's error object, any such object, or an answer without one,
# which does not come from Voucherify's API.
_ANY_KEY = "*"
_NO_ERROR = ""

_MEANINGS: Mapping[tuple[int, str], _Meaning] = {
    (401, _ANY_KEY): _CREDENTIALS,
    (401, _NO_ERROR): _RETRY,  # of a proxy: it harms no other event
    (401, "missing_required_permission"): _MISSING_PERMISSION,
    (402, _ANY_KEY): _PLAN_USED_UP,
    (402, _NO_ERROR): _PLAN_USED_UP,
    (402, "missing_required_feature"): _MISSING_FEATURE,
    (403, _ANY_KEY): _RETRY,
    (403, _NO_ERROR): _RETRY,  # of a firewall that dislikes one payload
    (403, "missing_required_feature"): _MISSING_FEATURE,
    (403, "missing_required_permission"): _MISSING_PERMISSION,
    **{(403, key): _CREDENTIALS for key in _KEYS_OF_CREDENTIALS},
    (404, _NO_ERROR): _WRONG_API_URL,
    (405, _NO_ERROR): _WRONG_API_URL,
    (408, _ANY_KEY): _RETRY,
    (408, _NO_ERROR): _RETRY,
    (423, _ANY_KEY): _RETRY,
    (423, _NO_ERROR): _RETRY,
    (425, _ANY_KEY): _RETRY,
    (425, _NO_ERROR): _RETRY,
    (429, _ANY_KEY): _RATE_LIMITED,
    (429, _NO_ERROR): _RATE_LIMITED,
}
# All others, by the first digit of the status. Redirects are never followed.
_MEANINGS_BY_CLASS = {3: _WRONG_API_URL, 4: _REJECT}

# The kind of limit that a 429 names for the calls of a billing cycle.
_CYCLE = "api_calls_cycle"


def failure_of(answer: Answer | NoAnswer, request: Request, ambiguous_track: AmbiguousTrack) -> Failure | None:
    """Return the failure that the end of a call means for its event; None where the event is delivered."""
    if isinstance(answer, NoAnswer):
        return failure_of_no_answer(answer, request, ambiguous_track)
    return failure_of_answer(answer, request)


def failure_of_answer(answer: Answer, request: Request) -> Failure | None:
    """Return the failure that an answer means for its event; None where the event is delivered."""
    meaning = _meaning_of(answer, request)
    if meaning is None:
        return None
    reason = f"Voucherify answered {_name(answer.status, answer.error)}"
    if advice := _ADVICE.get(ReasonCode(meaning.code)) if meaning.code else None:
        reason += f"; {advice.format(operation=_OPERATIONS[request.operation])}"
    return Failure(
        Stage.DELIVER,
        meaning.code or ReasonCode.of_status(answer.status),
        reason,
        _detail(answer.error) or answer.problem,
        meaning.action,
        meaning.severity,
        attempted=meaning.action is not Action.WAIT_FOR_QUOTA,
    )


def may_concern_metadata(answer: Answer, request: Request) -> bool:
    """Whether an answer may refuse the request because its metadata does not fit the project's schema."""
    if answer.status != 400 or not answer.error:
        return False
    if answer.error.key == _METADATA_VALIDATION_FAILED:
        return True
    body = request.body or {}
    has_metadata = body.get("metadata") or body.get("customer", {}).get("metadata")
    return bool(has_metadata) and answer.error.key in _GENERAL_KEYS


def _meaning_of(answer: Answer, request: Request) -> _Meaning | None:
    status, error = answer.status, answer.error
    if 200 <= status < 300:
        return None
    if status == 404 and error and request.operation is Operation.DELETE_CUSTOMER:
        return None  # the customer is gone already
    if status == 409 and request.is_idempotent:
        return _RETRY  # another upsert of this customer at the same time
    if status == 429 and answer.headers.get("x-rate-limit-type") == _CYCLE:
        return _PLAN_USED_UP
    return (
        (error and error.key and _MEANINGS.get((status, error.key)))
        or _MEANINGS.get((status, _ANY_KEY if error else _NO_ERROR))
        or _MEANINGS_BY_CLASS.get(status // 100, _RETRY)
    )


def failure_of_no_answer(error: NoAnswer, request: Request, ambiguous_track: AmbiguousTrack) -> Failure:
    """Return the failure of an event without an answer; `ambiguous_track` decides on a track that may be applied."""
    reason = f"no answer from Voucherify: {error.problem}"
    action = Action.RETRY
    if error.sent and not request.is_idempotent:
        reason += "; the event may have been applied"
        action = Action.DEAD_LETTER if ambiguous_track is AmbiguousTrack.DEAD_LETTER else Action.RETRY
    return Failure(Stage.DELIVER, error.code, reason, action=action, attempted=True)


def failure_of_invalid_event(error: InvalidEvent) -> Failure:
    return Failure(error.stage, error.code, str(error), action=Action.DEAD_LETTER)


def _name(status: int, error: VoucherifyError | None) -> str:
    """Return the status, with Voucherify's key where that is a plain word: it goes into answers and logs."""
    return f"{status} {error.key}" if error and _KEY.fullmatch(error.key) else str(status)


def _detail(error: VoucherifyError | None) -> str:
    if error is None:
        return ""
    request_id = f"(request_id {error.request_id})" if error.request_id else ""
    return " ".join(filter(None, (error.message, error.details, request_id)))
