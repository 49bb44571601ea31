"""Each track event once: the ledger of message ids, kept by Powertools Idempotency in DynamoDB.

A custom event can grant points, and Voucherify has no idempotency key. An id is claimed before the call, and kept or
released after it: https://docs.powertools.aws.dev/lambda/python/latest/utilities/idempotency/
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from handler.lazy import Lazy

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer
    from mypy_boto3_dynamodb import DynamoDBClient

# Longer than a message can rest in the dead-letter queue, 14 days.
KEPT_SECONDS = 15 * 24 * 60 * 60


# To claim is tried once, since an event is delivered without the ledger too; what became of it is worth another try.
_WRITES = 2


class Claim(Enum):
    """What the ledger says of an event that is about to be delivered."""

    OURS = "deliver it, and keep or release it then"
    UNGUARDED = "deliver it, the ledger cannot be reached"
    DELIVERED = "it has been delivered"
    IN_PROGRESS = "another delivery of it is under way"


class Deduplication:
    """The ledger of one source. Thread-safe."""

    def __init__(self, client: Callable[[], DynamoDBClient], table: str, source: str) -> None:
        self._source = source
        self._ledger = Lazy(lambda: new_ledger(client(), table, "track", KEPT_SECONDS))

    def claim(self, message_id: str, seconds: float) -> Claim:
        """Claim an event for `seconds`, after which a claim that was neither kept nor released is void."""
        from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyItemAlreadyExistsError

        try:
            self._ledger().save_inprogress(self._key(message_id), remaining_time_in_millis=round(seconds * 1000))
        except IdempotencyItemAlreadyExistsError as error:
            record = error.old_data_record
            return Claim.DELIVERED if record and record.status == "COMPLETED" else Claim.IN_PROGRESS
        except (BotoCoreError, ClientError):
            return Claim.UNGUARDED
        return Claim.OURS

    def keep(self, message_id: str) -> bool:
        """The event is delivered, for good. False where that could not be written down."""
        return self._settle(lambda: self._ledger().save_success(self._key(message_id), {}))

    def release(self, message_id: str) -> bool:
        """The event was not delivered and may be tried again. False where that could not be written down."""
        return self._settle(lambda: self._ledger().delete_record(self._key(message_id), NotDelivered()))

    def _settle(self, write: Callable[[], None]) -> bool:
        for _ in range(_WRITES):
            with suppress(Exception):  # whatever it is, it changes nothing of what became of the event
                write()
                return True
        return False

    def _key(self, message_id: str) -> dict[str, Any]:
        return {"source": self._source, "messageId": message_id}


def new_ledger(client: DynamoDBClient, table: str, prefix: str, kept_seconds: int) -> DynamoDBPersistenceLayer:
    """Records under one prefix, the same for every function, so that they share them."""
    # Imported with the first track event: an identify needs no ledger.
    from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig

    ledger = DynamoDBPersistenceLayer(table, boto3_client=client)
    ledger.configure(IdempotencyConfig(expires_after_seconds=kept_seconds), key_prefix=prefix)
    return ledger


class NotDelivered(Exception):
    """Why a claim is released, in Powertools' words an exception of the guarded function."""
