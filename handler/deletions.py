"""Who was deleted, and when: so that nothing that was queued before brings a person back.

Kept beside the ledger of tracks, by Powertools Idempotency in DynamoDB: a hash of the customer, never the id itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.deduplication import new_ledger
from handler.lazy import Lazy

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# An event may rest for 14 days in each queue, and again after each redrive.
KEPT_SECONDS = 90 * 24 * 60 * 60


class DeletionsUnknown(Exception):
    """DynamoDB cannot be asked, or cannot be told."""


class Deletions:
    """The deleted customers of one source. Thread-safe."""

    def __init__(self, client: Callable[[], DynamoDBClient], table: str, source: str) -> None:
        self._source = source
        self._records = Lazy(lambda: new_ledger(client(), table, "deleted", KEPT_SECONDS))

    def note(self, customer: str, at: datetime) -> None:
        """A customer is deleted: what was there before `at` is not to be delivered. Raises DeletionsUnknown."""
        latest = max(filter(None, (self._deleted_at(customer), at)))
        try:
            self._records().save_success(self._key(customer), {"deletedAt": latest.isoformat()})
        except (BotoCoreError, ClientError) as error:
            raise DeletionsUnknown from error

    def is_deleted_since(self, customer: str, at: datetime) -> bool:
        """Whether a customer was deleted at that time or later. Raises DeletionsUnknown."""
        deleted_at = self._deleted_at(customer)
        return deleted_at is not None and at <= deleted_at

    def _deleted_at(self, customer: str) -> datetime | None:
        from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyItemNotFoundError

        try:
            record = self._records().get_record(self._key(customer))
        except IdempotencyItemNotFoundError:
            return None
        except (BotoCoreError, ClientError) as error:
            raise DeletionsUnknown from error
        return datetime.fromisoformat(json.loads(record.response_data)["deletedAt"]) if record else None

    def _key(self, customer: str) -> dict[str, Any]:
        return {"source": self._source, "customer": customer}
