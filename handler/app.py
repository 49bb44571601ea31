"""The function behind `POST /events`: wiring only. What it wires is made at the first request and then kept."""

from __future__ import annotations

import os
import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools.logging import Logger
from botocore.config import Config

from handler.delivery import Send
from handler.environment import Environment
from handler.intake import Intake
from handler.queues import Queues
from handler.settings import Settings, SettingsCache, read_parameters
from handler.telemetry import Telemetry
from handler.voucherify import VoucherifyClient

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient

# Segment waits 5 seconds for an answer: AWS's own defaults of 60 seconds and four tries are not for us.
_AWS = Config(connect_timeout=0.5, read_timeout=1.0, retries={"mode": "standard", "total_max_attempts": 2})


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API, payload format 2.0."""
    intake = intake_in(Environment.read(os.environ))
    return intake.handle(event, context.get_remaining_time_in_millis() / 1000).to_proxy()


@lru_cache(maxsize=1)
def intake_in(environment: Environment) -> Intake:
    """Kept for the life of the sandbox, whose environment does not change."""
    telemetry = Telemetry(Logger(service=environment.service_name))

    @cache
    def ssm() -> SSMClient:
        return boto3.client("ssm", config=_AWS)

    @cache
    def sqs() -> SQSClient:
        return boto3.client("sqs", config=_AWS)

    @lru_cache(maxsize=1)
    def client(api_url: str, api_key: str, api_token: str) -> VoucherifyClient:
        return VoucherifyClient(api_url, api_key, api_token, connections=environment.voucherify_concurrency)

    def send(settings: Settings) -> Send:
        return client(settings.api_url, settings.api_key, settings.api_token).send

    settings = SettingsCache(
        read=lambda: read_parameters(ssm(), environment.settings_path),
        ttl_seconds=environment.settings_ttl_seconds,
        clock=time.monotonic,
        telemetry=telemetry,
    )
    return Intake(
        settings=settings.get,
        send=send,
        queues=Queues(sqs, environment.retry_queue_url, environment.dead_letter_queue_url),
        telemetry=telemetry,
        budget_seconds=environment.response_budget_seconds,
        clock=time.monotonic,
    )
