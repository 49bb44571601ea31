"""Who was deleted, and when: so that nothing that was queued before brings a person back.

Kept in the table of idempotency records: a hash of the customer, never the id itself.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.storage.idempotency import is_refused_by_condition

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# An event may rest for 14 days in each queue, and again after each redrive.
KEPT_SECONDS = 90 * 24 * 60 * 60


class DeletionsUnknown(Exception):
    """DynamoDB cannot be asked, or cannot be told."""


class Deletions:
    """The deleted customers of one source. Thread-safe."""

    def __init__(self, client: Callable[[], DynamoDBClient], table: str, source: str) -> None:
        self._client = client
        self._table = table
        self._source = source

    def note(self, customer: str, at: datetime) -> None:
        """A customer is deleted: what was there before `at` is not to be delivered. Raise DeletionsUnknown."""

        try:
            self._client().update_item(
                TableName=self._table,
                Key=self._key(customer),
                UpdateExpression="SET deleted_at = :at, expiration = :expiration",
                # A deletion that was queued comes later than one that was made since.
                ConditionExpression="attribute_not_exists(deleted_at) OR deleted_at < :at",
                ExpressionAttributeValues={
                    ":at": {"S": _sortable(at)},
                    ":expiration": {"N": str(round(time.time() + KEPT_SECONDS))},
                },
            )
        except (BotoCoreError, ClientError) as error:
            if not is_refused_by_condition(error):
                raise DeletionsUnknown from error

    def is_deleted_since(self, customer: str, at: datetime) -> bool:
        """Return whether a customer was deleted at that time or later. Raise DeletionsUnknown."""
        try:
            found = self._client().get_item(TableName=self._table, Key=self._key(customer), ConsistentRead=True)
        except (BotoCoreError, ClientError) as error:
            raise DeletionsUnknown from error
        deleted_at = found.get("Item", {}).get("deleted_at")
        return deleted_at is not None and _sortable(at) <= deleted_at["S"]

    def _key(self, customer: str) -> Any:
        data = json.dumps({"customer": customer, "source": self._source})
        return {"id": {"S": f"deleted#{hashlib.sha256(data.encode()).hexdigest()}"}}


def _sortable(moment: datetime) -> str:
    """Return a text that sorts as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
