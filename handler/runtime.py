"""The wiring of one execution environment: its clients, and what stands on them. It decides nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from handler.api.webhook_handler import WebhookHandler
from handler.delivery.delivery import Delivery
from handler.delivery.project import Project, Projects
from handler.delivery.shared_state import SharedState
from handler.delivery.stale_attributes import StaleAttributes
from handler.model.deadline import Deadline
from handler.model.errors import SettingsUnavailable, UnknownSource
from handler.observability import Telemetry
from handler.retry_worker import RetryWorker
from handler.settings.environment import Environment
from handler.settings.settings import Settings
from handler.settings.sources import Parameters, Sources, read_parameters
from handler.storage.attribute_times import AttributeTimes
from handler.storage.deletions import Deletions
from handler.storage.idempotency import IdempotencyStore
from handler.storage.project_state import ProjectState
from handler.storage.queues import Queues
from handler.threads import Threads

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient


class Runtime:
    """Everything that one function works with under one environment. Clients are made with the first need.

    `clock` returns epoch seconds, for what execution environments tell each other.
    """

    def __init__(self, environment: Environment, clock: Callable[[], float] = time.time) -> None:
        # botocore logs at INFO where it found its credentials.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        self._environment = environment
        self._clock = clock
        self._telemetry = Telemetry(environment.service_name, environment.log_level, environment.metrics_namespace)
        self._threads = Threads(environment.voucherify_concurrency)
        self._making_client = threading.Lock()
        self._kept_client = cache(self._new_client)
        self._making_shared = threading.Lock()
        self._kept_state = cache(self._new_state)
        self._kept_stale_attributes = cache(self._new_stale_attributes)
        self._sources = Sources(
            self._read_parameters, environment.settings_ttl_seconds, time.monotonic, self._telemetry
        )
        self._queues = Queues(self._sqs, environment.retry_queue_url, environment.dead_letter_queue_url, self._threads)
        self._projects = Projects(environment.voucherify_concurrency, self._state_of)

    def webhook_handler(self) -> WebhookHandler:
        new_delivery = partial(self._new_delivery, wait_for_quota=False)
        budget = self._environment.response_budget_seconds
        return WebhookHandler(budget, self._sources, self._projects, new_delivery, self._queues, self._telemetry)

    def retry_worker(self) -> RetryWorker:
        new_delivery = partial(self._new_delivery, wait_for_quota=True)
        hours = self._environment.retry_hours
        return RetryWorker(hours, self._sources, self._projects, new_delivery, self._queues, self._telemetry)

    def _new_delivery(self, settings: Settings, deadline: Deadline, *, wait_for_quota: bool) -> Delivery:
        project = self._projects.of(settings)

        def reload() -> Project | None:
            try:
                other = self._projects.of(self._sources.reload(settings.source, deadline))
            except UnknownSource:
                return None
            return None if other is project else other

        store, deletions = self._records_of(settings)
        return Delivery(
            settings.policy,
            project,
            reload,
            store,
            deletions,
            wait_for_quota=wait_for_quota,
            state=self._state_of(settings.project_id),
            stale=self._stale_attributes_of(settings.project_id),
        )

    def _records_of(self, settings: Settings) -> tuple[IdempotencyStore | None, Deletions | None]:
        """Return a source's idempotency records and its project's deletion records; None where there is no table."""
        table, try_seconds = self._environment.deduplication_table, self._environment.dynamodb_timeout_seconds
        if not table:
            return None, None
        store = IdempotencyStore(self._dynamodb, table, settings.source, try_seconds=try_seconds)
        return store, Deletions(self._dynamodb, table, settings.project_id)

    def _state_of(self, project_id: str) -> SharedState | None:
        with self._making_shared:  # two of one project would not know what the other has learned
            return self._kept_state(project_id)

    def _new_state(self, project_id: str) -> SharedState | None:
        table = self._environment.deduplication_table
        if not table:
            return None
        return SharedState(ProjectState(self._dynamodb, table, project_id, self._clock), self._threads, self._clock)

    def _stale_attributes_of(self, project_id: str) -> StaleAttributes | None:
        with self._making_shared:
            return self._kept_stale_attributes(project_id)

    def _new_stale_attributes(self, project_id: str) -> StaleAttributes | None:
        state = self._kept_state(project_id)
        if state is None:
            return None
        times = AttributeTimes(self._dynamodb, self._environment.deduplication_table, project_id)
        return StaleAttributes(times, state, self._threads, self._clock)

    def _read_parameters(self, deadline: Deadline) -> Mapping[str, Parameters]:
        """Read all settings. Raises SettingsUnavailable."""
        path = self._environment.settings_path
        (parameters,) = self._threads.run([lambda: read_parameters(self._ssm(), path, deadline)], deadline)
        if parameters is None:
            raise SettingsUnavailable("SSM did not answer in time")
        return parameters

    def _ssm(self) -> SSMClient:
        client: SSMClient = self._client("ssm", self._environment.ssm_timeout_seconds, tries=2)
        return client

    def _sqs(self) -> SQSClient:
        client: SQSClient = self._client("sqs", self._environment.sqs_timeout_seconds, tries=2)
        return client

    def _dynamodb(self) -> DynamoDBClient:
        # IdempotencyStore tries again by itself, as long as there is time.
        client: DynamoDBClient = self._client("dynamodb", self._environment.dynamodb_timeout_seconds, tries=1)
        return client

    def _client(self, service: str, answer_seconds: float, *, tries: int) -> Any:
        # The session that makes the clients is not thread-safe. The clients themselves are.
        # https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients
        with self._making_client:
            return self._kept_client(service, answer_seconds, tries)

    def _new_client(self, service: Any, answer_seconds: float, tries: int) -> Any:
        """Return an AWS client with time-outs that suit a sender who waits 5 seconds."""
        config = Config(
            connect_timeout=self._environment.connect_timeout_seconds,
            read_timeout=answer_seconds,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=self._environment.voucherify_concurrency,
        )
        return boto3.client(service, config=config)
