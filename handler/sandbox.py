"""What one sandbox of a function works with, made with the first need and kept for the sandbox's life: wiring only."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.session import get_session

from handler.deduplication import Deduplication
from handler.deletions import Deletions
from handler.delivery import Delivery
from handler.environment import Environment
from handler.errors import UnknownSource
from handler.lazy import Lazy
from handler.pace import Pace
from handler.pool import Pool
from handler.queues import Queues
from handler.settings import Settings
from handler.sources import Sources, read_parameters
from handler.telemetry import Telemetry
from handler.voucherify import Answer, VoucherifyClient
from mapping import Request

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_ssm import SSMClient


@dataclass(frozen=True, slots=True)
class KeptProject:
    """A Voucherify project with its kept connections and what is known of its limits."""

    client: VoucherifyClient
    pace: Pace
    pool: Pool

    def send(self, request: Request, timeout_seconds: float) -> Answer:
        return self.client.send(request, timeout_seconds)


class Sandbox:
    """The collaborators of one function under one environment."""

    def __init__(self, environment: Environment) -> None:
        # botocore says at INFO where it found its credentials: nothing that an operator needs.
        logging.getLogger("botocore").setLevel(logging.WARNING)
        self.environment = environment
        self._pool = Pool(environment.voucherify_concurrency)
        self.telemetry = Telemetry(environment.service_name, environment.log_level, environment.metrics_namespace)
        self._session = Lazy(get_session)
        ssm: Lazy[SSMClient] = Lazy(lambda: self._client("ssm", read_seconds=1.0, tries=2))
        sqs: Lazy[SQSClient] = Lazy(lambda: self._client("sqs", read_seconds=1.0, tries=2))
        # It stands before and after each track's call, and an event is delivered without it too.
        self._dynamodb: Lazy[DynamoDBClient] = Lazy(lambda: self._client("dynamodb", read_seconds=0.8, tries=1))
        self.sources = Sources(
            read=lambda: read_parameters(ssm(), environment.settings_path),
            ttl_seconds=environment.settings_ttl_seconds,
            clock=time.monotonic,
            telemetry=self.telemetry,
        )
        self.queues = Queues(sqs, environment.retry_queue_url, environment.dead_letter_queue_url, self._pool)
        self._books = cache(self._new_books)
        # The keys make a project: new ones start with fresh connections and without the old ones' limits.
        self._project = cache(self._new_project)

    def delivery(self, settings: Settings, *, patient: bool) -> Delivery:
        """A delivery under these settings."""
        project = self.project(settings)

        def reload() -> KeptProject | None:
            try:
                other = self.project(self.sources.reload(settings.source))
            except UnknownSource:
                return None
            return None if other is project else other

        ledger, deletions = self._books(settings.source)
        return Delivery(settings.policy, project, reload, ledger, deletions, project.pool, patient=patient)

    def project(self, settings: Settings) -> KeptProject:
        return self._project(settings.api_url, settings.api_key, settings.api_token)

    def _new_project(self, api_url: str, api_key: str, api_token: str) -> KeptProject:
        # A pool of its own: while one project waits for its window, another goes on.
        pool = Pool(self.environment.voucherify_concurrency)
        client = VoucherifyClient(api_url, api_key, api_token)
        return KeptProject(client, Pace(time.time), pool)

    def _new_books(self, source: str) -> tuple[Deduplication | None, Deletions | None]:
        """What is known of a source's tracks and of its deleted customers."""
        table = self.environment.deduplication_table
        if not table:
            return None, None
        return Deduplication(self._dynamodb, table, source), Deletions(self._dynamodb, table, source)

    def _client(self, service: str, read_seconds: float, tries: int) -> Any:
        """What `boto3.client` makes; boto3 itself brings S3's transfers along, which a cold start would pay for.

        Segment waits 5 seconds for an answer: AWS's own defaults of 60 seconds and four tries are not for us.
        """
        config = Config(
            connect_timeout=0.5,
            read_timeout=read_seconds,
            retries={"mode": "standard", "total_max_attempts": tries},
            max_pool_connections=self._pool.size,
        )
        return self._session().create_client(service, config=config)
