"""Reads the idempotency record of an event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cli.target import Target
from handler.storage.idempotency import KEPT_SECONDS, record_key


@dataclass(frozen=True)
class IdempotencyRecord:
    """The idempotency record of an event: COMPLETED after its delivery, INPROGRESS before."""

    source: str
    status: str
    at: datetime

    @property
    def is_completed(self) -> bool:
        return self.status == "COMPLETED"


def idempotency_record(target: Target, source: str, message_id: str) -> IdempotencyRecord | None:
    """Return the record of an event, or None where it has none."""
    key = {"id": {"S": record_key(source, message_id)}}
    table = target.value("DeduplicationTableName")
    item = target.dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    if item is None:
        return None
    at = datetime.fromtimestamp(int(item["expiration"]["N"]) - KEPT_SECONDS, UTC)
    return IdempotencyRecord(source, item["status"]["S"], at)
