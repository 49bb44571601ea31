"""What a command works on: the deployed stack, by its outputs, or the local system of `make serve`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandFailed, Exit

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

# As local.stack.aws and `make serve` have them.
LOCAL_REGION = "eu-west-1"
LOCAL_SETTINGS_PATH = "/voucherify-destination"
LOCAL_PORT = 8080


@dataclass(frozen=True)
class Target:
    """AWS as a command sees it. What a stack's outputs and parameters say is read with the first need.

    `endpoint_url` is empty for AWS itself.
    """

    name: str
    session: boto3.Session
    endpoint_url: str = ""
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_stack(cls, name: str, region: str | None, profile: str | None) -> Target:
        """A stack, with the caller's own credentials. Raises CommandFailed where there is no such profile."""
        try:
            return cls(name, boto3.Session(region_name=region, profile_name=profile))
        except BotoCoreError as error:
            raise CommandFailed(
                str(error), "aws configure list-profiles names the ones there are", Exit.USAGE
            ) from error

    @classmethod
    def local(cls, port: int) -> Target:
        """The local system of `make serve PORT=port`."""
        session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name=LOCAL_REGION)
        queues = f"http://127.0.0.1:{port + 1}/123456789012"
        return cls(
            "local",
            session,
            f"http://127.0.0.1:{port + 1}",
            {
                "EventsUrl": f"http://127.0.0.1:{port}/events",
                "TrackingApiUrl": f"http://127.0.0.1:{port}",
                "SettingsPath": LOCAL_SETTINGS_PATH,
                "RetryQueueUrl": f"{queues}/RetryQueue",
                "DeadLetterQueueUrl": f"{queues}/DeadLetterQueue",
                "DeduplicationTableName": "DeduplicationTable",
            },
        )

    @property
    def is_local(self) -> bool:
        return self.name == "local"

    @property
    def region(self) -> str:
        """Raises CommandFailed where none is set."""
        region = self.session.region_name
        if not region:
            raise CommandFailed("no AWS region is set", "give --region, or set AWS_REGION", Exit.USAGE)
        return str(region)

    def value(self, name: str) -> str:
        """An output or a parameter of the stack. Raises CommandFailed."""
        values = self.known or self._of_stack
        if name not in values:
            raise CommandFailed(f"{self.name} has no {name}", "is it a stack of this version? make deploy brings it up")
        return values[name]

    @property
    def settings_path(self) -> str:
        return self.value("SettingsPath")

    @cached_property
    def _of_stack(self) -> dict[str, str]:
        try:
            (stack,) = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                advice = "deploy it first (make deploy), or name yours: --stack NAME, or --local for make serve"
                raise CommandFailed(f"there is no stack {self.name} in {self.region}", advice, Exit.USAGE) from error
            raise
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        parameters = {item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", [])}
        return {**parameters, **outputs}

    @cached_property
    def cloudformation(self) -> CloudFormationClient:
        client: CloudFormationClient = self._client("cloudformation")
        return client

    @cached_property
    def ssm(self) -> SSMClient:
        client: SSMClient = self._client("ssm")
        return client

    @cached_property
    def sqs(self) -> SQSClient:
        client: SQSClient = self._client("sqs")
        return client

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        client: DynamoDBClient = self._client("dynamodb")
        return client

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        client: CloudWatchClient = self._client("cloudwatch")
        return client

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        client: CloudWatchLogsClient = self._client("logs")
        return client

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self._client("s3")
        return client

    def _client(self, service: str) -> Any:
        config = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})
        new_client: Any = self.session.client
        return new_client(service, config=config, endpoint_url=self.endpoint_url or None, region_name=self.region)
