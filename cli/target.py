"""The system that a command works on: a deployed stack, or the local system of `make serve`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cli.errors import CommandFailed, Exit
from cli.local_system import local_system

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_logs import CloudWatchLogsClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

# The same as in local.stack.aws and in `make serve`.
LOCAL_REGION = "eu-west-1"
LOCAL_SETTINGS_PATH = "/voucherify-destination"
LOCAL_SETTINGS_TTL_SECONDS = "60"
LOCAL_RETRY_HOURS = 24

# The namespace of the functions' metrics, as in template.yaml.
NAMESPACE = "VoucherifyDestination"

_CONFIG = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 4})


@dataclass(frozen=True)
class Target:
    """Access to AWS, and to the outputs and parameters of a stack, which are read when one is first needed.

    `endpoint_url` is empty for AWS itself. `known` replaces the stack's outputs and parameters.
    """

    name: str
    session: boto3.Session
    endpoint_url: str = ""
    known: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_stack(cls, name: str, region: str | None, profile: str | None) -> Target:
        """Return a stack, with the caller's own credentials. Raises CommandFailed where the profile does not exist."""
        try:
            return cls(name, boto3.Session(region_name=region, profile_name=profile))
        except BotoCoreError as error:
            raise CommandFailed(str(error), "list your profiles: aws configure list-profiles", Exit.USAGE) from error

    @classmethod
    def local(cls, port: int | None = None) -> Target:
        """Return the local system of `make serve PORT=port`; without a port, the one that runs."""
        system = local_system(port)
        return cls.local_at(system.url, system.aws_url)

    @classmethod
    def local_at(cls, url: str, endpoint_url: str) -> Target:
        """Return a local system by the URLs of its API and of its AWS."""
        session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name=LOCAL_REGION)
        queues = f"{endpoint_url}/123456789012"
        return cls(
            "local",
            session,
            endpoint_url,
            {
                "EventsUrl": f"{url}/events",
                "TrackingApiUrl": url,
                "SettingsPath": LOCAL_SETTINGS_PATH,
                "SettingsTtlSeconds": LOCAL_SETTINGS_TTL_SECONDS,
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
        """The AWS region. Raises CommandFailed where none is set."""
        if not self.session.region_name:
            raise CommandFailed("no AWS region is set", "give --region, or set AWS_REGION", Exit.USAGE)
        return str(self.session.region_name)

    def value(self, name: str) -> str:
        """Return an output or a parameter of the stack. Raises CommandFailed."""
        values = self.known or self._of_stack
        if name not in values:
            problem = f"stack {self.name} has no output or parameter {name}"
            raise CommandFailed(problem, "deploy the current version of the stack (make deploy)")
        return values[name]

    @property
    def settings_path(self) -> str:
        return self.value("SettingsPath")

    @property
    def retry_hours(self) -> int:
        return LOCAL_RETRY_HOURS if self.is_local else int(self.value("RetryHours"))

    @cached_property
    def _of_stack(self) -> dict[str, str]:
        try:
            (stack,) = self.session.client("cloudformation", **self.client_options).describe_stacks(
                StackName=self.name
            )["Stacks"]
        except ClientError as error:
            if error.response["Error"]["Code"] == "ValidationError":
                advice = "deploy it (make deploy), give --stack NAME, or use --local for make serve"
                raise CommandFailed(f"there is no stack {self.name} in {self.region}", advice, Exit.USAGE) from error
            raise
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        parameters = {item["ParameterKey"]: item["ParameterValue"] for item in stack.get("Parameters", [])}
        return {**parameters, **outputs}

    def resource(self, logical_name: str) -> str:
        """Return the physical name of one of the stack's resources, such as a function's."""
        cloudformation = self.session.client("cloudformation", **self.client_options)
        answer = cloudformation.describe_stack_resource(StackName=self.name, LogicalResourceId=logical_name)
        return answer["StackResourceDetail"]["PhysicalResourceId"]

    @property
    def client_options(self) -> dict[str, Any]:
        """The arguments of `session.client`, besides the service."""
        return {"config": _CONFIG, "endpoint_url": self.endpoint_url or None, "region_name": self.region}

    @cached_property
    def cloudwatch(self) -> CloudWatchClient:
        return self.session.client("cloudwatch", **self.client_options)

    @cached_property
    def dynamodb(self) -> DynamoDBClient:
        return self.session.client("dynamodb", **self.client_options)

    @cached_property
    def lambda_(self) -> LambdaClient:
        return self.session.client("lambda", **self.client_options)

    @cached_property
    def logs(self) -> CloudWatchLogsClient:
        return self.session.client("logs", **self.client_options)

    @cached_property
    def s3(self) -> S3Client:
        return self.session.client("s3", **self.client_options)

    @cached_property
    def sqs(self) -> SQSClient:
        return self.session.client("sqs", **self.client_options)

    @cached_property
    def ssm(self) -> SSMClient:
        return self.session.client("ssm", **self.client_options)
