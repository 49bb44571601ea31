"""A message of a queue as a command shows it: its failure record, with personal data masked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from handler.model.errors import UnreadableRecord
from handler.model.failure_record import FailureRecord
from mapping import InvalidEvent, UnknownType, message_id_of, normalise

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef

UNREADABLE_RECORD = "unreadable_record"
UNKNOWN = "unknown"
MASK = "•••"

# The fields of an event that are shown: they say what it is and when it happened, but not to whom.
_SHOWN = frozenset({"type", "event", "messageId", "timestamp", "originalTimestamp", "sentAt", "receivedAt", "version"})
_LONGEST_SHOWN = 300

# Text between quotation marks, an e-mail address, a number of at least four digits with what belongs to it.
_LIKE_PERSONAL_DATA = r"""\"[^\"]*\"|[^\s:,;'"]+@[^\s:,;'"]+|\+?\d[\d \-./]{2,}\d"""
_LONGEST_COMMON_WORD = 3


@dataclass(frozen=True)
class QueueMessage:
    """One message of a queue. `record` is None where its body is not a failure record."""

    sqs_id: str
    receipt: str
    body: str
    attributes: dict[str, Any]
    sent_at: datetime
    record: FailureRecord | None

    @classmethod
    def of_message(cls, message: MessageTypeDef) -> QueueMessage:
        """Read a message that was received with its attribute SentTimestamp and all message attributes."""
        try:
            record = FailureRecord.from_message(message["Body"])
        except UnreadableRecord:
            record = None
        return cls(
            sqs_id=message["MessageId"],
            receipt=message["ReceiptHandle"],
            body=message["Body"],
            attributes=dict(message.get("MessageAttributes", {})),
            sent_at=datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC),
            record=record,
        )

    @property
    def code(self) -> str:
        return self.record.failure.code if self.record else UNREADABLE_RECORD

    @property
    def source(self) -> str:
        return self.record.source if self.record else UNKNOWN

    @property
    def type(self) -> str:
        """The event's type as the mapping reads it; where the event is invalid, as it is."""
        if not self.record:
            return UNKNOWN
        event = self.record.event
        try:
            return normalise(event).type
        except UnknownType:
            return UNKNOWN
        except InvalidEvent:
            type_ = event.get("type") if isinstance(event, dict) else None
            return type_.strip().lower() if isinstance(type_, str) and type_.strip() else UNKNOWN

    @property
    def message_id(self) -> str | None:
        """The event's own messageId."""
        return message_id_of(self.record.event) if self.record else None

    @property
    def reason(self) -> str:
        """Why the event was not delivered, without Voucherify's own message, which may quote the event."""
        return self.record.failure.message.partition(": ")[0] if self.record else "not a failure record"

    @property
    def masked_message(self) -> str:
        """Why the event was not delivered, with Voucherify's own message, in which the event's values are masked."""
        if not self.record:
            return self.reason
        own_words, request_id, rest = self.record.failure.message[len(self.reason) :].partition("(request_id ")
        return self.reason + _without_values(own_words, self.record.event) + request_id + rest

    def to_json(self, *, is_masked: bool) -> dict[str, Any]:
        return {
            "sqsMessageId": self.sqs_id,
            "sentAt": self.sent_at.isoformat(),
            "record": self._record(is_masked=is_masked),
        }

    def _record(self, *, is_masked: bool) -> Any:
        if not self.record:
            return MASK if is_masked else self.body
        record: dict[str, Any] = json.loads(self.body)
        if not is_masked:
            return record
        failure = {"stage": self.record.failure.stage, "code": self.code, "message": self.masked_message}
        return {
            "event": masked_event(self.record.event),
            "source": self.record.source,
            "attempts": self.record.attempts,
            "firstFailedAt": self.record.first_failed_at.isoformat(),
            "failure": failure,
        }


def masked_event(event: Any) -> Any:
    """Return an event with all its keys, and with only those values that are not personal data."""
    if not isinstance(event, dict):
        return MASK
    return {
        key: value
        if key in _SHOWN and (isinstance(value, int) or (isinstance(value, str) and len(value) <= _LONGEST_SHOWN))
        else _masked(value)
        for key, value in event.items()
    }


def _without_values(text: str, event: Any) -> str:
    """Return Voucherify's words without what they quote: the event's values, e-mail addresses and long numbers."""
    hidden = {key: value for key, value in event.items() if key not in _SHOWN} if isinstance(event, dict) else event
    values = sorted({value for value in _texts(hidden) if len(value) > 1}, key=len, reverse=True)
    quoted = "|".join([*map(re.escape, values), _LIKE_PERSONAL_DATA])
    return re.sub(quoted, MASK, text, flags=re.IGNORECASE)


def _texts(value: Any) -> Iterator[str]:
    """Yield each value, and the longer words of a text."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif value is not None and not isinstance(value, bool):
        yield str(value)
        yield from (word for word in str(value).split() if len(word) > _LONGEST_COMMON_WORD)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _masked(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_masked(inner) for inner in value]
    return value if value is None else MASK
