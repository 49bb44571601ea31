"""Idempotency records in DynamoDB: each track event is delivered once, by its messageId.

A custom event can grant points, and Voucherify has no idempotency key. A delivery claims the record before its call,
and marks it completed or releases it afterwards. The records are those of Powertools Idempotency with a token added:
the token tells the delivery that wrote a record from every other one, so that a write that is repeated, or takes effect
late, changes only its own record. https://docs.aws.amazon.com/powertools/python/latest/utilities/idempotency/
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain, repeat
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.deadline import Deadline
from handler.threads import GivenUp

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef

    Item = dict[str, AttributeValueTypeDef]

# Longer than SQS keeps a message, 14 days.
KEPT_SECONDS = 15 * 24 * 60 * 60

# A claim ends this long after the deadline of its delivery, which has this time to mark the record completed or to
# release it. The claim of a delivery that died ends then too. No call is sent after its deadline.
MARGIN_SECONDS = 5.0

# The longest waits between tries, in seconds; further tries wait as long as the last one.
_PAUSES = (0.05, 0.1, 0.2, 0.4)

# The result of a call is written even when nobody waits for it any more, so it needs a limit of its own.
_SETTLING_TRIES = 3

# https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
_RANDOM = SystemRandom()

_COMPLETED, _IN_PROGRESS = "COMPLETED", "INPROGRESS"

# DynamoDB's errors with a status under 500 that may pass within seconds.
# https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html
_TRANSIENT = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
        "TransactionConflictException",
    }
)

_IS_FREE = (
    "attribute_not_exists(id) OR expiration < :now OR (#status = :in_progress AND in_progress_expiration < :now_ms)"
)
_IS_OURS = "#token = :token"
_IS_OUR_CLAIM = "#token = :token AND #status = :in_progress"
_COMPLETE = "SET #status = :completed, #token = :token, expiration = :expiration REMOVE in_progress_expiration"

# Both are reserved words of DynamoDB's.
_STATUS, _TOKEN = {"#status": "status"}, {"#token": "token"}


class ClaimState(Enum):
    """DynamoDB's answer to a claim."""

    HELD = "deliver the event"
    COMPLETED = "the event has been delivered"
    HELD_BY_ANOTHER = "another delivery of the event is in progress"
    UNKNOWN = "DynamoDB did not answer"


@dataclass(frozen=True, slots=True)
class Claim:
    """One delivery's hold on the record of its event: the record's `id`, and a token that no other delivery has."""

    key: str
    token: str
    state: ClaimState = ClaimState.UNKNOWN


class IdempotencyStore:
    """The idempotency records of one source. Thread-safe.

    `try_seconds` is the longest time that one try may take: the time-out of the client.
    """

    def __init__(
        self,
        client: Callable[[], DynamoDBClient],
        table: str,
        source: str,
        *,
        try_seconds: float,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._source = source
        self._try_seconds = try_seconds
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def claim(self, message_id: str, deadline: Deadline, reserve_seconds: float) -> Iterator[Claim]:
        """Claim the record of an event until the deadline; release it where the call is given up.

        Tries again while one more try, and `reserve_seconds` after it, fit in before the deadline.
        """
        claim = self.acquire(message_id, deadline, reserve_seconds)
        try:
            yield claim
        except GivenUp:
            self.release(claim)
            raise

    def acquire(self, message_id: str, deadline: Deadline, reserve_seconds: float) -> Claim:
        """Claim the record of an event, as `claim` does, for as long as nobody releases it."""
        claim = Claim(record_key(self._source, message_id), uuid.uuid4().hex)
        now = self._clock()
        until = now + max(0.0, deadline.seconds_left) + MARGIN_SECONDS
        item: Item = {
            "id": {"S": claim.key},
            "status": {"S": _IN_PROGRESS},
            "token": {"S": claim.token},
            "expiration": _number(now + KEPT_SECONDS),
            "in_progress_expiration": _number(until * 1000),
        }
        latest = deadline.later(-reserve_seconds - self._try_seconds)
        for pause in chain(_PAUSES, repeat(_PAUSES[-1])):
            try:
                return replace(claim, state=self._put(item))
            except (BotoCoreError, ClientError) as error:
                wait = _RANDOM.uniform(0, pause)
                if not _may_pass(error) or latest.seconds_left < wait:
                    break
                self._sleep(wait)
        return claim

    def mark_completed(self, claim: Claim) -> bool:
        """Record for good that the event is delivered. Return whether every later delivery will know.

        A claim that has ended is marked completed all the same; only a delivery that has claimed the event since then
        does not know.
        """
        return self._settle(lambda: self._complete(claim, _IS_OURS) or not self._complete(claim, condition=None))

    def release(self, claim: Claim) -> bool:
        """Record that the event was not delivered and may be tried again. Return whether that could be written.

        It deletes nothing but this claim, however late it takes effect.
        """
        return self._settle(lambda: self._delete(claim))

    def _settle(self, write: Callable[[], bool]) -> bool:
        for pause in _PAUSES[:_SETTLING_TRIES]:
            try:
                return write()
            except (BotoCoreError, ClientError) as error:
                if not _may_pass(error):
                    break
                self._sleep(_RANDOM.uniform(0, pause))
        return False

    def _put(self, item: Item) -> ClaimState:
        now = self._clock()
        try:
            self._client().put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=_IS_FREE,
                ExpressionAttributeNames=_STATUS,
                ExpressionAttributeValues={
                    ":now": _number(now),
                    ":now_ms": _number(now * 1000),
                    ":in_progress": {"S": _IN_PROGRESS},
                },
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except ClientError as error:
            if not is_refused_by_condition(error):
                raise
            found: Any = error.response.get("Item", {})
            if found.get("status") == {"S": _COMPLETED}:
                return ClaimState.COMPLETED
            # A try before this one has arrived, though its answer has not.
            return ClaimState.HELD if found.get("token") == item["token"] else ClaimState.HELD_BY_ANOTHER
        return ClaimState.HELD

    def _complete(self, claim: Claim, condition: str | None) -> bool:
        """Return whether the condition allowed it."""
        conditions: Any = {"ConditionExpression": condition} if condition else {}
        return _is_allowed(
            lambda: self._client().update_item(
                TableName=self._table,
                Key={"id": {"S": claim.key}},
                UpdateExpression=_COMPLETE,
                ExpressionAttributeNames=_STATUS | _TOKEN,
                ExpressionAttributeValues={
                    ":token": {"S": claim.token},
                    ":completed": {"S": _COMPLETED},
                    ":expiration": _number(self._clock() + KEPT_SECONDS),
                },
                **conditions,
            )
        )

    def _delete(self, claim: Claim) -> bool:
        """Return True: where the condition does not allow it there is nothing of this claim to delete."""
        _is_allowed(
            lambda: self._client().delete_item(
                TableName=self._table,
                Key={"id": {"S": claim.key}},
                ConditionExpression=_IS_OUR_CLAIM,
                ExpressionAttributeNames=_STATUS | _TOKEN,
                ExpressionAttributeValues={":token": {"S": claim.token}, ":in_progress": {"S": _IN_PROGRESS}},
            )
        )
        return True


def record_key(source: str, message_id: str) -> str:
    """Return the `id` of an event's record, as Powertools Idempotency makes it."""
    data = json.dumps({"messageId": message_id, "source": source})
    return f"track#{hashlib.md5(data.encode(), usedforsecurity=False).hexdigest()}"


def _is_allowed(write: Callable[[], object]) -> bool:
    try:
        write()
    except ClientError as error:
        if not is_refused_by_condition(error):
            raise
        return False
    return True


def is_refused_by_condition(error: BotoCoreError | ClientError) -> bool:
    """Return whether DynamoDB did not write because of the write's own condition."""
    return isinstance(error, ClientError) and error.response["Error"]["Code"] == "ConditionalCheckFailedException"


def _may_pass(error: BotoCoreError | ClientError) -> bool:
    """Return whether another try within seconds may fare better."""
    if not isinstance(error, ClientError):  # a time-out, a connection that failed, an answer that is none of AWS's
        return True
    return error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500 or error.response["Error"]["Code"] in _TRANSIENT


def _number(value: float) -> AttributeValueTypeDef:
    return {"N": str(round(value))}
