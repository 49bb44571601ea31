"""What one sandbox of a function works with, made with the first need and kept for the sandbox's life: wiring only."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from handler.delivery.dispatcher import Delivery
from handler.delivery.rate_limiter import RateLimiter
from handler.lazy import Lazy
from handler.model.deadline import Deadline
from handler.model.errors import SettingsUnavailable, UnknownSource
from handler.observability import Telemetry
from handler.settings.environment import Environment
from handler.settings.settings import Settings
from handler.settings.sources import Parameters, Sources, read_parameters
from handler.storage.deletions import Deletions
from handler.storage.idempotency import IdempotencyStore
from handler.storage.queues import Queues
from handler.threads import Threads
from handler.voucherify.client import Answer, Call, VoucherifyClient
from mapping import Request

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True, slots=True)
class KeptProject:
    """A Voucherify project with its kept connections and what is known of its limits."""

    client: VoucherifyClient
    rate_limiter: RateLimiter
    threads: Threads

    def send(self, request: Request, deadline: Deadline, call: Call) -> Answer:
        return self.client.send(request, deadline, call)


class Runtime:
    """The collaborators of one function under one environment."""

    def __init__(self, environment: Environment) -> None:
        # botocore says at INFO where it found its credentials: nothing that an operator needs.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        self.environment = environment
        self.telemetry = Telemetry(environment.service_name, environment.log_level, environment.metrics_namespace)
        self._threads = Threads(environment.voucherify_concurrency)
        self._ssm: Lazy[SSMClient] = Lazy(lambda: self._client("ssm", environment.ssm_timeout_seconds, tries=2))
        sqs: Lazy[SQSClient] = Lazy(lambda: self._client("sqs", environment.sqs_timeout_seconds, tries=2))
        # It tries by itself, as long as there is time.
        self._dynamodb: Lazy[DynamoDBClient] = Lazy(
            lambda: self._client("dynamodb", environment.dynamodb_timeout_seconds, tries=1)
        )
        self.sources = Sources(
            read=self._read_parameters,
            ttl_seconds=environment.settings_ttl_seconds,
            clock=time.monotonic,
            telemetry=self.telemetry,
        )
        self.queues = Queues(sqs, environment.retry_queue_url, environment.dead_letter_queue_url, self._threads)
        self._records = cache(self._new_records)
        # The keys make a project: new ones start with fresh connections and without the old ones' limits.
        self._project = cache(self._new_project)
        self._making_project = threading.Lock()

    def delivery(self, settings: Settings, deadline: Deadline, *, wait_for_quota: bool) -> Delivery:
        """Return a delivery under these settings."""
        project = self.project(settings)

        def reload() -> KeptProject | None:
            try:
                other = self.project(self.sources.reload(settings.source, deadline))
            except UnknownSource:
                return None
            return None if other is project else other

        store, deletions = self._records(settings.source)
        return Delivery(settings.policy, project, reload, store, deletions, wait_for_quota=wait_for_quota)

    def project(self, settings: Settings) -> KeptProject:
        with self._making_project:  # made twice, it would have its limits twice
            return self._project(settings.api_url, settings.api_key, settings.api_token)

    def _new_project(self, api_url: str, api_key: str, api_token: str) -> KeptProject:
        # Threads of its own: while one project waits for its window, another goes on.
        size = self.environment.voucherify_concurrency
        client = VoucherifyClient(api_url, api_key, api_token, connections=size)
        return KeptProject(client, RateLimiter(time.time), Threads(size))

    def _new_records(self, source: str) -> tuple[IdempotencyStore | None, Deletions | None]:
        """What is known of a source's tracks and of its deleted customers."""
        table = self.environment.deduplication_table
        if not table:
            return None, None
        store = IdempotencyStore(self._dynamodb, table, source, try_seconds=self.environment.dynamodb_timeout_seconds)
        return store, Deletions(self._dynamodb, table, source)

    def _read_parameters(self, deadline: Deadline) -> Mapping[str, Parameters]:
        """Raise SettingsUnavailable."""
        path = self.environment.settings_path
        (parameters,) = self._threads.run([lambda: read_parameters(self._ssm(), path)], deadline)
        if parameters is None:
            raise SettingsUnavailable("SSM has not answered in time")
        return parameters

    def _client(self, service: Any, answer_seconds: float, tries: int) -> Any:
        """Return a client of AWS's whose time-outs suit an answer that Segment waits 5 seconds for."""
        config = Config(
            connect_timeout=self.environment.connect_timeout_seconds,
            read_timeout=answer_seconds,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=self.environment.voucherify_concurrency,
        )
        return boto3.client(service, config=config)
