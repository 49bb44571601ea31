"""The reason codes: short names of reasons, in failure records, log lines and metrics.

`docs/runbook.md` explains each of them; a test compares the two. The mapping has its own codes.
"""

from __future__ import annotations

from enum import StrEnum


class ReasonCode(StrEnum):
    """The reasons why an event was not delivered. Other answers of Voucherify have `voucherify_<status>`."""

    # decode
    DELETE_NOT_SIGNED = "delete_not_signed"
    DELETE_NOT_TAKEN = "delete_not_taken"
    EVENT_TOO_LARGE = "event_too_large"
    UNREADABLE_RECORD = "unreadable_record"
    # deduplicate
    DELETIONS_UNKNOWN = "deletions_unknown"
    DELIVERIES_UNKNOWN = "deliveries_unknown"
    IN_PROGRESS = "in_progress"
    # deliver
    CALLS_PER_DAY_USED_UP = "calls_per_day_used_up"
    CREDENTIALS_REFUSED = "credentials_refused"
    INTERNAL_ERROR = "internal_error"
    MISSING_FEATURE = "missing_feature"
    MISSING_PERMISSION = "missing_permission"
    OUT_OF_TIME = "out_of_time"
    PLAN_USED_UP = "plan_used_up"
    RATE_LIMITED = "rate_limited"
    VOUCHERIFY_CONNECTION_LOST = "voucherify_connection_lost"
    VOUCHERIFY_TIMEOUT = "voucherify_timeout"
    VOUCHERIFY_UNREACHABLE = "voucherify_unreachable"
    WRONG_API_URL = "wrong_api_url"

    @staticmethod
    def of_status(status: int | str) -> str:
        """Return the code of an answer of Voucherify that has no code of its own."""
        return f"voucherify_{status}"

    @staticmethod
    def is_wait(code: str) -> bool:
        """Return whether an event with this code has not failed: it waits for calls of the plan, or for time."""
        return code in _WAITS


_WAITS = frozenset(
    {
        ReasonCode.CALLS_PER_DAY_USED_UP,
        ReasonCode.OUT_OF_TIME,
        ReasonCode.PLAN_USED_UP,
        ReasonCode.RATE_LIMITED,
    }
)


class RefusalCause(StrEnum):
    """The reasons why a whole request was refused, or the settings of a source cannot be used."""

    # 400
    BAD_ENCODING = "bad_encoding"
    NO_EVENTS = "no_events"
    NOT_JSON = "not_json"
    UNKNOWN_SHAPE = "unknown_shape"
    # 401
    MISSING_SIGNATURE = "missing_signature"
    MISSING_TOKEN = "missing_token"
    NO_SECRET_SET = "no_secret_set"
    WRONG_SIGNATURE = "wrong_signature"
    WRONG_TOKEN = "wrong_token"
    # 404 and 405
    TRACKING_API_DISABLED = "tracking_api_disabled"
    UNKNOWN_PATH = "unknown_path"
    UNKNOWN_SOURCE = "unknown_source"
    WRONG_METHOD = "wrong_method"
    # 413
    BODY_TOO_LARGE = "body_too_large"
    EVENT_TOO_LARGE = "event_too_large"
    TOO_MANY_EVENTS = "too_many_events"
    # 500
    UNSUPPORTED_EVENT = "unsupported_event"
    # 503
    FAULTY_SETTINGS = "faulty_settings"
    NOT_STORED = "not_stored"
    SETTINGS_UNAVAILABLE = "settings_unavailable"


class SkipReason(StrEnum):
    """The reason for skipping an event after it was mapped. The mapping has the others."""

    CUSTOMER_DELETED = "customer_deleted"
    SUPERSEDED = "superseded"
