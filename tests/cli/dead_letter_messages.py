"""Dead letters as the function writes them, for the commands that read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from handler.storage.queues import FailureRecord
from handler.voucherify.answers import Failure
from local.stack.aws import LocalAws
from tests.worker import Queue

DEAD: Queue = "DEAD_LETTER_QUEUE_URL"
RETRY: Queue = "RETRY_QUEUE_URL"
CANARY = "canary.person@example.com"


def event(message_id: str, type_: str = "track") -> dict[str, Any]:
    """An event that is full of someone's data."""
    traits = {"email": CANARY, "address": {"street": CANARY}, "friends": [CANARY]}
    return {
        "type": type_,
        "messageId": message_id,
        "userId": CANARY,
        "event": "Order Completed",
        "properties": {"email": CANARY, "total": 42},
        "traits": traits,
        "context": {"traits": traits, "ip": CANARY},
    }


def put_letter(
    aws: LocalAws,
    message_id: str,
    *,
    code: str = "voucherify_400",
    type_: str = "track",
    source: str = "default",
    queue: Queue = DEAD,
) -> None:
    """One failure record, whose message quotes the event as Voucherify does."""
    failure = Failure("deliver", code, "Voucherify answered 400", detail=f"{CANARY} is not valid", permanent=True)
    body, attributes = FailureRecord(event(message_id, type_), source, 1, datetime.now(UTC), failure).to_message()
    aws.sqs.send_message(QueueUrl=aws.environment[queue], MessageBody=body, MessageAttributes=attributes)
