"""What all execution environments know of one project: whether events wait, and the calls that may be made.

The state is one item in the table of idempotency records; the calls of a day are another.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.errors import ProjectStateUnknown
from handler.storage.idempotency import is_refused_by_condition
from handler.storage.items import hashed_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Longer than an event waits: 14 days in the retry queue, and 14 in the dead-letter queue.
KEPT_SECONDS = 30 * 24 * 60 * 60

# Execution environments read the end of one window from different answers, and differ by so many seconds.
SAME_END_SECONDS = 1.0

_NAMES = {"#since": "waitingSince", "#until": "waitingUntil", "#closed": "closedUntil", "#calls": "calls"}


class Closing(NamedTuple):
    """No call is allowed until a time in epoch seconds, for the reason `code`.

    It holds for those who may use up to `share` percent of each window, which has `limit` calls in `window_seconds`;
    `limit` is 0 where no answer has said it.
    """

    until: float
    code: str
    share: int
    limit: float
    window_seconds: float


class State(NamedTuple):
    """`waiting_since`: events wait in the retry queue since then, in epoch seconds; None where none do."""

    waiting_since: float | None = None
    closing: Closing | None = None


class Taken(NamedTuple):
    """How many calls were taken, and the newest closing, which may have ended."""

    calls: int
    closing: Closing | None = None


class _Written(NamedTuple):
    """Whether the condition of a write allowed it, and the item afterwards."""

    is_allowed: bool
    item: Mapping[str, Any]


class ProjectState:
    """The state of one project. Thread-safe. Every method raises ProjectStateUnknown where DynamoDB cannot say.

    `clock` returns epoch seconds.
    """

    def __init__(
        self,
        client: Callable[[], DynamoDBClient],
        table: str,
        project_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._table = table
        self._project_id = project_id
        self._clock = clock
        self._key: Any = hashed_key("state", project=project_id)

    def read(self) -> State:
        try:
            found = self._client().get_item(TableName=self._table, Key=self._key, ConsistentRead=True)
        except (BotoCoreError, ClientError) as error:
            raise ProjectStateUnknown from error
        item: Any = found.get("Item", {})
        since = float(item["waitingSince"]["N"]) if _is_waiting(item, self._clock()) else None
        return State(since, _closing_in(item))

    def extend_waiting(self, seconds: float) -> None:
        """Record that events wait in the retry queue, for so many seconds from now on."""
        now = self._clock()
        values = {":now": _number(now), ":until": _number(now + seconds)}
        written = self._write(self._key, "SET #until = :until", "#until BETWEEN :now AND :until", values)
        if not written.is_allowed and not _is_waiting(written.item, now):
            self._write(self._key, "SET #until = :until, #since = :now", "", values)

    def close(self, closing: Closing) -> Closing:
        """Record that no call is allowed, and return the closing that holds: another one may be longer."""
        written = self._write(
            self._key,
            "SET #closed = :until, closedBy = :code, closedShare = :share, "
            "callLimit = :limit, windowSeconds = :seconds, #calls = :none",
            "attribute_not_exists(#closed) OR #closed < :earlier",
            {
                ":until": _number(closing.until),
                ":earlier": _number(closing.until - SAME_END_SECONDS),
                ":code": {"S": closing.code},
                ":share": _number(closing.share),
                ":limit": _number(closing.limit),
                ":seconds": _number(closing.window_seconds),
                ":none": _number(0),
            },
        )
        return _closing_in(written.item) or closing

    def take_calls_of_window(self, calls: int, most: int) -> Taken:
        """Take calls of the window after the newest closing, of which there are `most`; none while that lasts."""
        return self._take(self._key, "#closed <= :now AND #calls < :most", calls, most, {":now": self._clock()})

    def take_calls_of_day(self, day: str, calls: int, most: int) -> Taken:
        """Take calls of a day, of which there are `most`."""
        key = hashed_key("calls", day=day, project=self._project_id)
        return self._take(key, "attribute_not_exists(#calls) OR #calls < :most", calls, most, {})

    def _take(self, key: Any, condition: str, calls: int, most: int, values: Mapping[str, float]) -> Taken:
        numbers = {name: _number(value) for name, value in {**values, ":calls": calls, ":most": most}.items()}
        written = self._write(key, "ADD #calls :calls", condition, numbers)
        if not written.is_allowed:
            return Taken(0, _closing_in(written.item))
        beyond = float(written.item["calls"]["N"]) - most
        return Taken(calls - max(0, math.ceil(beyond)), _closing_in(written.item))

    def _write(self, key: Any, update: str, condition: str, values: Mapping[str, Any]) -> _Written:
        expiration = "expiration = :expiration"
        update = f"{update}, {expiration}" if update.startswith("SET") else f"SET {expiration} {update}"
        conditions: Any = {"ConditionExpression": condition} if condition else {}
        try:
            written = self._client().update_item(
                TableName=self._table,
                Key=key,
                UpdateExpression=update,
                ExpressionAttributeNames={name: one for name, one in _NAMES.items() if name in update + condition},
                ExpressionAttributeValues={**values, ":expiration": _number(round(self._clock() + KEPT_SECONDS))},
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **conditions,
            )
        except (BotoCoreError, ClientError) as error:
            if not is_refused_by_condition(error):
                raise ProjectStateUnknown from error
            found: Any = error.response  # type: ignore[union-attr] # it is a ClientError
            return _Written(False, found.get("Item", {}))
        return _Written(True, written["Attributes"])


def _is_waiting(item: Mapping[str, Any], now: float) -> bool:
    return "waitingUntil" in item and float(item["waitingUntil"]["N"]) >= now


def _closing_in(item: Mapping[str, Any]) -> Closing | None:
    if "closedUntil" not in item:
        return None
    return Closing(
        until=float(item["closedUntil"]["N"]),
        code=item["closedBy"]["S"],
        share=int(item["closedShare"]["N"]),
        limit=float(item["callLimit"]["N"]),
        window_seconds=float(item["windowSeconds"]["N"]),
    )


def _number(value: float) -> Any:
    return {"N": str(value)}
