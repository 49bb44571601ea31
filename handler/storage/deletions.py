"""Deletion records: which customer was deleted, and when, so that no event stored before creates the customer again.

They are items in the table of idempotency records, under a hash of the customer's id.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.errors import DeletionsUnknown
from handler.storage.idempotency import is_refused_by_condition
from handler.storage.items import hashed_key, sortable

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# SQS keeps an event for 14 days in each queue, and again after each redrive.
KEPT_SECONDS = 90 * 24 * 60 * 60


class Deletions:
    """The deletion records of one Voucherify project. Thread-safe."""

    def __init__(self, client: Callable[[], DynamoDBClient], table: str, project_id: str) -> None:
        self._client = client
        self._table = table
        self._project_id = project_id

    def note(self, customer: str, at: datetime) -> None:
        """Record that a customer is deleted: no event stored before `at` is delivered. Raises DeletionsUnknown."""
        try:
            self._client().update_item(
                TableName=self._table,
                Key=self._key(customer),
                UpdateExpression="SET deleted_at = :at, expiration = :expiration",
                # A deletion that was queued may be recorded after a newer one.
                ConditionExpression="attribute_not_exists(deleted_at) OR deleted_at < :at",
                ExpressionAttributeValues={
                    ":at": {"S": sortable(at)},
                    ":expiration": {"N": str(round(time.time() + KEPT_SECONDS))},
                },
            )
        except (BotoCoreError, ClientError) as error:
            if not is_refused_by_condition(error):
                raise DeletionsUnknown from error

    def is_deleted_since(self, customer: str, at: datetime) -> bool:
        """Return whether a customer was deleted at that time or later. Raises DeletionsUnknown."""
        try:
            found = self._client().get_item(TableName=self._table, Key=self._key(customer), ConsistentRead=True)
        except (BotoCoreError, ClientError) as error:
            raise DeletionsUnknown from error
        deleted_at = found.get("Item", {}).get("deleted_at")
        return deleted_at is not None and sortable(at) <= deleted_at["S"]

    def _key(self, customer: str) -> Any:
        return hashed_key("deleted", customer=customer, project=self._project_id)
