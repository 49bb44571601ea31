"""The reason why an event was not delivered, and the action that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from handler.model.reason_codes import ReasonCode


class Stage(StrEnum):
    """The part of the way at which an event failed. `normalise` and `map` are the mapping's."""

    DECODE = "decode"
    DEDUPLICATE = "deduplicate"
    DELIVER = "deliver"


class Action(Enum):
    """The one action that follows from a failure."""

    RETRY = "store the event, and try again later"
    WAIT_FOR_QUOTA = "store the event until Voucherify allows more calls; this is no attempt"
    STOP_BATCH = "store the event and the rest of its batch: each call would fail the same way"
    DEAD_LETTER = "move the event to the dead-letter queue: no retry can help"


class Severity(Enum):
    """The level of the failure's log line. An error is one that only the operator can fix."""

    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why an event was not delivered.

    `stage`, `code` and `message` go into the failure record. `reason` may be answered and logged: it holds nothing of
    the event. `detail` holds Voucherify's own words, which may quote the event. `attempted`: Voucherify was called.
    """

    stage: str
    code: str
    reason: str
    detail: str = ""
    action: Action = Action.RETRY
    severity: Severity = Severity.WARNING
    attempted: bool = False

    @property
    def message(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason

    @property
    def is_permanent(self) -> bool:
        return self.action is Action.DEAD_LETTER

    @property
    def waits_for_quota(self) -> bool:
        return self.action is Action.WAIT_FOR_QUOTA

    def for_events_not_tried(self) -> Failure:
        """Return the failure of another event, which was not tried because of this one."""
        action = Action.WAIT_FOR_QUOTA if self.waits_for_quota else Action.RETRY
        return Failure(
            Stage.DELIVER, self.code, f"not tried, since {self.reason}", action=action, severity=self.severity
        )


EVENT_TOO_LARGE = Failure(
    Stage.DECODE,
    ReasonCode.EVENT_TOO_LARGE,
    "the event is larger than an SQS message, or nested too deeply",
    action=Action.DEAD_LETTER,
)

DELETE_NOT_SIGNED = Failure(
    Stage.DECODE,
    ReasonCode.DELETE_NOT_SIGNED,
    "Segment signs the first event of a batch only: send a delete alone, or set an accessToken",
    action=Action.DEAD_LETTER,
)

DELETE_NOT_TAKEN = Failure(
    Stage.DECODE,
    ReasonCode.DELETE_NOT_TAKEN,
    "Segment's Tracking API has no delete: send it to /events",
    action=Action.DEAD_LETTER,
)

UNREADABLE_RECORD = Failure(
    Stage.DECODE,
    ReasonCode.UNREADABLE_RECORD,
    "the message's body is not a failure record",
    action=Action.DEAD_LETTER,
)

IN_PROGRESS = Failure(
    Stage.DEDUPLICATE, ReasonCode.IN_PROGRESS, "another delivery of the same messageId is in progress"
)

DELIVERIES_UNKNOWN = Failure(
    Stage.DEDUPLICATE,
    ReasonCode.DELIVERIES_UNKNOWN,
    "DynamoDB did not say whether the event was delivered before",
)

DELETIONS_UNKNOWN = Failure(
    Stage.DEDUPLICATE,
    ReasonCode.DELETIONS_UNKNOWN,
    "DynamoDB did not say, or did not store, that a customer was deleted",
)

OUT_OF_TIME = Failure(Stage.DELIVER, ReasonCode.OUT_OF_TIME, "the time to answer was used up before the event was sent")

BULK_NOT_DONE = Failure(
    Stage.DELIVER, ReasonCode.OUT_OF_TIME, "Voucherify has not ended the asynchronous action of a bulk call in time"
)

WINDOW_USED_UP = Failure(
    Stage.DELIVER, ReasonCode.RATE_LIMITED, "the calls of this window are used up", action=Action.WAIT_FOR_QUOTA
)

PLAN_USED_UP = Failure(
    Stage.DELIVER,
    ReasonCode.PLAN_USED_UP,
    "the calls of Voucherify's plan are used up",
    action=Action.WAIT_FOR_QUOTA,
    severity=Severity.ERROR,
)

CALLS_PER_DAY_USED_UP = Failure(
    Stage.DELIVER,
    ReasonCode.CALLS_PER_DAY_USED_UP,
    "the calls of this day (UTC) are used up: see callsPerDay",
    action=Action.WAIT_FOR_QUOTA,
    severity=Severity.ERROR,
)


def failure_of_bug(error: Exception) -> Failure:
    """Return the failure of an event that met a bug of ours: its neighbours are delivered all the same.

    It names the error's type and place, and not the error's text, which may quote the event.
    """
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    place = f" in {trace.tb_frame.f_code.co_name}, line {trace.tb_lineno}" if trace else ""
    reason = f"unexpected {type(error).__name__}{place}"
    return Failure(Stage.DELIVER, ReasonCode.INTERNAL_ERROR, reason, severity=Severity.ERROR)
