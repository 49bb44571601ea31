"""Which event has set an attribute last, so that no older event overwrites it.

The times are items in the table of idempotency records, those of customers and orders under hashes of their ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.errors import AttributeTimesUnknown
from handler.storage.idempotency import is_refused_by_condition
from handler.storage.items import hashed_key, sortable
from mapping import Attributes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Longer than an event waits: 14 days in the retry queue, and 14 in the dead-letter queue.
KEPT_SECONDS = 30 * 24 * 60 * 60

# A condition has up to 300 operators and 4 KB:
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Limits.html#limits-expression-parameters
_NAMES_PER_WRITE = 40


class AttributeTimes:
    """The times of attributes of one project's customers and orders. Thread-safe."""

    def __init__(self, client: Callable[[], DynamoDBClient], table: str, project_id: str) -> None:
        self._client = client
        self._table = table
        self._project_id = project_id

    def note(self, attributes: Attributes, at: datetime) -> list[str]:
        """Note that an event of this time sets attributes. Return those that a newer event has set: they stay noted.

        Raises AttributeTimesUnknown.
        """
        stale: list[str] = []
        for start in range(0, len(attributes.names), _NAMES_PER_WRITE):
            stale += self._note(attributes, list(attributes.names[start : start + _NAMES_PER_WRITE]), sortable(at))
        return stale

    def _note(self, attributes: Attributes, names: list[str], at: str) -> list[str]:
        stale: list[str] = []
        while names:
            newer = self._write(attributes, names, at)
            if newer is None:
                break
            stale += newer
            names = [name for name in names if name not in newer]
        return stale

    def _write(self, attributes: Attributes, names: Sequence[str], at: str) -> list[str] | None:
        """Write the time of all these attributes, or return those with a newer one."""
        placeholders = {f"#{number}": f"at:{name}" for number, name in enumerate(names)}
        try:
            self._client().update_item(
                TableName=self._table,
                Key=self._key(attributes),
                UpdateExpression=f"SET expiration = :expiration, {', '.join(f'{name} = :at' for name in placeholders)}",
                ConditionExpression=" AND ".join(
                    f"(attribute_not_exists({name}) OR {name} <= :at)" for name in placeholders
                ),
                ExpressionAttributeNames=placeholders,
                ExpressionAttributeValues={
                    ":at": {"S": at},
                    ":expiration": {"N": str(round(time.time() + KEPT_SECONDS))},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except (BotoCoreError, ClientError) as error:
            if not is_refused_by_condition(error):
                raise AttributeTimesUnknown from error
            found: Any = error.response.get("Item", {})  # type: ignore[union-attr] # it is a ClientError
            newer = [name for name in names if found.get(f"at:{name}", {}).get("S", "") > at]
            if not newer:
                raise AttributeTimesUnknown from error
            return newer
        return None

    def _key(self, attributes: Attributes) -> Any:
        return hashed_key("times", id=attributes.id, kind=attributes.kind, project=self._project_id)
