"""The failure record: the body of a message in the retry queue and in the dead-letter queue.

It is the same in both queues, so that an SQS redrive from the dead-letter queue works as it is. Limits:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from handler.model.errors import UnreadableRecord
from handler.model.failure import Failure
from handler.model.strict_json import DECODER

MAX_MESSAGE_BYTES = 1024 * 1024

# The record and its attributes add this much to the event at most: a failure message takes up to 12 bytes a character.
MAX_FAILURE_CHARACTERS = 1000
MAX_EVENT_BYTES = MAX_MESSAGE_BYTES - 16 * 1024

# ASCII-escaped JSON takes up to 12 bytes a character.
_MAX_TEXT_CHARACTERS = MAX_EVENT_BYTES // 12


class RecordedFailure(NamedTuple):
    """The part of a failure that is recorded. The action of the failure decided which queue holds the record."""

    stage: str
    code: str
    message: str

    @classmethod
    def of(cls, failure: Failure) -> RecordedFailure:
        return cls(failure.stage, failure.code, failure.message)


@dataclass(frozen=True, slots=True)
class FailureRecord:
    """An event that was not delivered, and the reason.

    `first_failed_at` is in UTC; `attempts` counts calls of Voucherify.
    """

    event: Any
    source: str
    attempts: int
    first_failed_at: datetime
    failure: RecordedFailure

    @classmethod
    def from_message(cls, body: str) -> FailureRecord:
        """Return the record in a message's body. Raises UnreadableRecord."""
        try:
            record = DECODER.decode(body)
            failure = record["failure"]
            return cls(
                event=record["event"],
                source=str(record["source"]),
                attempts=int(record["attempts"]),
                first_failed_at=_in_utc(datetime.fromisoformat(record["firstFailedAt"])),
                failure=RecordedFailure(_word(failure["stage"]), _word(failure["code"]), str(failure["message"])),
            )
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise UnreadableRecord(type(error).__name__) from error

    def to_message(self) -> tuple[str, dict[str, Any]]:
        """Return the body, ASCII-escaped JSON, and the attributes of the SQS message."""
        record = {
            "event": self.event,
            "source": self.source,
            "attempts": self.attempts,
            "firstFailedAt": self.first_failed_at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "failure": {
                "stage": self.failure.stage,
                "code": self.failure.code,
                "message": self.failure.message[:MAX_FAILURE_CHARACTERS],
            },
        }
        attributes = {
            "code": {"DataType": "String", "StringValue": self.failure.code},
            "stage": {"DataType": "String", "StringValue": self.failure.stage},
        }
        return self._body(record), attributes

    def _body(self, record: dict[str, Any]) -> str:
        with suppress(RecursionError):
            body = _to_json(record)
            if len(body) <= MAX_EVENT_BYTES or is_storable(self.event):
                return body
        return _to_json({**record, "event": _without_payload(self.event)})


def is_storable(event: object) -> bool:
    """Return whether an SQS message can hold the record of an event: by its size, and by how deeply it is nested."""
    try:
        return len(_to_json(event)) <= MAX_EVENT_BYTES
    except RecursionError:
        return False


def _word(value: object) -> str:
    """Return a stage or a code, which message attributes and metrics can hold. Raises ValueError."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    raise ValueError("not a stage or a code")


_WORD = re.compile(r"[A-Za-z0-9_.-]{1,256}")


def _in_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _without_payload(event: object) -> dict[str, str] | str:
    """Return the ids of an event that no message can hold, without its type, so that nothing delivers it."""
    if isinstance(event, str):  # the body of an unreadable message
        return event[:_MAX_TEXT_CHARACTERS]
    if not isinstance(event, dict):
        return {}
    kept = ("messageId", "userId", "anonymousId", "event", "timestamp")
    return {name: event[name] for name in kept if isinstance(event.get(name), str) and len(event[name]) <= 300}


def _to_json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
