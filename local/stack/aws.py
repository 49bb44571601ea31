"""AWS on this machine: moto's server in a process of its own, with the resources of the template."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from local.stack.moto import Moto, StoredMessage

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

SETTINGS_PATH = "/voucherify-destination"

# moto accepts any credentials, and boto3 requires some. https://docs.getmoto.org/en/latest/docs/server_mode.html
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_SESSION_TOKEN": "local",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_REGION": "eu-west-1",
}

_SECRETS = frozenset(
    {"apiKey", "apiToken", "sharedSecret", "sharedSecretPrevious", "accessToken", "accessTokenPrevious"}
)


@dataclass(frozen=True)
class LocalAws:
    """A running moto server: its address, its clients, and the function's environment variables."""

    moto: Moto
    url: str
    ssm: SSMClient
    sqs: SQSClient
    dynamodb: DynamoDBClient
    environment: dict[str, str]

    def put_settings(self, settings: Mapping[str, str]) -> None:
        """Store settings under SETTINGS_PATH in their documented types. `app/…` is a setting of the source `app`."""
        for name, value in settings.items():
            self.ssm.put_parameter(
                Name=f"{SETTINGS_PATH}/{name}",
                Value=value,
                Type="SecureString" if name.rpartition("/")[2] in _SECRETS else "String",
                Overwrite=True,
            )

    def delete_settings(self) -> None:
        """Remove every setting."""
        while found := self.ssm.get_parameters_by_path(Path=SETTINGS_PATH, Recursive=True)["Parameters"]:
            self.ssm.delete_parameters(Names=[parameter["Name"] for parameter in found])

    def messages(self, queue: str) -> list[dict[str, Any]]:
        """Return the visible messages of `RETRY_QUEUE_URL` or `DEAD_LETTER_QUEUE_URL`, and leave them there."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.environment[queue],
                MaxNumberOfMessages=10,
                MessageAttributeNames=["All"],
                VisibilityTimeout=30,
            )
            if "Messages" not in answer:
                break
            found += answer["Messages"]  # type: ignore[arg-type] # TypedDicts, read as plain ones
        for message in found:
            self.sqs.change_message_visibility(
                QueueUrl=self.environment[queue], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        return found

    def empty_queues(self) -> None:
        """Delete all messages, the hidden ones too."""
        for queue in ("RetryQueue", "DeadLetterQueue"):
            self.moto.empty(queue)

    def empty_table(self) -> None:
        """Delete all idempotency records."""
        self.moto.empty_table(self.environment["DEDUPLICATION_TABLE"])

    def stored(self, queue: str) -> list[StoredMessage]:
        """Return the messages of a queue, the hidden ones too, without receiving them."""
        return self.moto.messages(self._name(queue))

    def advance(self, queue: str, seconds: float) -> None:
        """Make each message of a queue visible that much sooner."""
        self.moto.advance(self._name(queue), seconds)

    def set_age(self, queue: str, seconds: float) -> None:
        """Make each message of a queue that old."""
        self.moto.set_age(self._name(queue), seconds)

    def let_time_pass(self, seconds: float) -> None:
        """Make every message older and visible sooner, and let records and waits in the table end sooner."""
        for queue in ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"):
            self.advance(queue, seconds)
            self.moto.age(self._name(queue), seconds)
        self.moto.advance_table(self.environment["DEDUPLICATION_TABLE"], seconds)

    def _name(self, queue: str) -> str:
        return self.environment[queue].rpartition("/")[2]

    def delayed(self, queue: str) -> int:
        """Return the number of messages whose first delay has not passed."""
        answer = self.sqs.get_queue_attributes(
            QueueUrl=self.environment[queue], AttributeNames=["ApproximateNumberOfMessagesDelayed"]
        )
        return int(answer["Attributes"]["ApproximateNumberOfMessagesDelayed"])


@contextmanager
def local_aws(port: int = 0, host: str = "127.0.0.1") -> Iterator[LocalAws]:
    """Run moto in a `with`, with its address and the function's variables in `os.environ`. Raises MotoFailed."""
    before = dict(os.environ)
    with closing(Moto(host, port)) as moto:
        url = f"http://127.0.0.1:{moto.port}"
        try:
            os.environ.update({**_CREDENTIALS, "AWS_ENDPOINT_URL": url})
            ssm, sqs, dynamodb = boto3.client("ssm"), boto3.client("sqs"), boto3.client("dynamodb")
            environment = {
                "SETTINGS_PATH": SETTINGS_PATH,
                **_create_queues(sqs),
                "DEDUPLICATION_TABLE": _create_table(dynamodb),
            }
            os.environ.update(environment)
            yield LocalAws(moto, url, ssm, sqs, dynamodb, environment)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _create_queues(sqs: SQSClient) -> dict[str, str]:
    return {
        "DEAD_LETTER_QUEUE_URL": sqs.create_queue(QueueName="DeadLetterQueue")["QueueUrl"],
        "RETRY_QUEUE_URL": sqs.create_queue(QueueName="RetryQueue")["QueueUrl"],
    }


def _create_table(dynamodb: DynamoDBClient) -> str:
    table = dynamodb.create_table(
        TableName="DeduplicationTable",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    return table["TableDescription"]["TableName"]
