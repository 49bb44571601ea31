"""The function's environment variables, read once and checked. Nothing else reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from handler.model.errors import FaultyEnvironment

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Environment:
    """The names are those of the variables; times are in the unit that the name says.

    Without a `deduplication_table` there is no deduplication. `connect_timeout_seconds` is for each new connection, the
    other time-outs for each answer of that service; both hold for one try.
    """

    service_name: str
    metrics_namespace: str
    log_level: str
    settings_path: str
    retry_queue_url: str
    dead_letter_queue_url: str
    deduplication_table: str
    response_budget_seconds: float
    settings_ttl_seconds: float
    voucherify_concurrency: int
    retry_hours: float
    connect_timeout_seconds: float
    ssm_timeout_seconds: float
    sqs_timeout_seconds: float
    dynamodb_timeout_seconds: float

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Environment:
        """Return the environment. Raises FaultyEnvironment with every fault at once."""
        faults: list[str] = []

        def required(name: str) -> str:
            value = variables.get(name, "").strip()
            if not value:
                faults.append(f"{name} is not set")
            return value

        def number(name: str, default: T, least: T) -> T:
            try:
                value = type(default)(variables.get(name) or default)
            except ValueError:
                value = type(default)(-1)
            if not least <= value < float("inf"):
                faults.append(f"{name} must be a number, {least} or more")
            return value

        def log_level() -> str:
            level = (variables.get("POWERTOOLS_LOG_LEVEL") or "INFO").strip().upper()
            if level not in LEVELS:
                faults.append(f"POWERTOOLS_LOG_LEVEL must be one of {', '.join(LEVELS)}")
            return level

        environment = cls(
            service_name=variables.get("POWERTOOLS_SERVICE_NAME") or "voucherify-destination",
            metrics_namespace=variables.get("POWERTOOLS_METRICS_NAMESPACE") or "VoucherifyDestination",
            log_level=log_level(),
            settings_path="/" + (variables.get("SETTINGS_PATH") or "voucherify-destination").strip("/ "),
            retry_queue_url=required("RETRY_QUEUE_URL"),
            dead_letter_queue_url=required("DEAD_LETTER_QUEUE_URL"),
            deduplication_table=variables.get("DEDUPLICATION_TABLE", "").strip(),
            response_budget_seconds=number("RESPONSE_BUDGET_SECONDS", default=3.0, least=0.1),
            settings_ttl_seconds=number("SETTINGS_TTL_SECONDS", default=60.0, least=0.0),
            voucherify_concurrency=number("VOUCHERIFY_CONCURRENCY", default=16, least=1),
            retry_hours=number("RETRY_HOURS", default=24.0, least=0.0),
            # AWS answers within milliseconds, and a new connection takes less than 0.1 s. After a second another try is
            # more likely to succeed, and two tries fit into the 5 seconds that Segment waits.
            connect_timeout_seconds=number("CONNECT_TIMEOUT_SECONDS", default=1.0, least=0.01),
            ssm_timeout_seconds=number("SSM_TIMEOUT_SECONDS", default=1.0, least=0.01),
            sqs_timeout_seconds=number("SQS_TIMEOUT_SECONDS", default=1.0, least=0.01),
            dynamodb_timeout_seconds=number("DYNAMODB_TIMEOUT_SECONDS", default=1.0, least=0.01),
        )
        if faults:
            raise FaultyEnvironment(faults)
        return environment
