"""The function's environment: defaults, and every fault at once."""

from __future__ import annotations

import pytest

from handler.model.errors import FaultyEnvironment
from handler.settings.environment import Environment

QUEUES = {"RETRY_QUEUE_URL": "https://sqs.example/r", "DEAD_LETTER_QUEUE_URL": "https://sqs.example/d"}


def test_only_the_queues_have_no_default() -> None:
    assert Environment.read(QUEUES) == Environment(
        service_name="voucherify-destination",
        metrics_namespace="VoucherifyDestination",
        log_level="INFO",
        settings_path="/voucherify-destination",
        retry_queue_url="https://sqs.example/r",
        dead_letter_queue_url="https://sqs.example/d",
        deduplication_table="",
        response_budget_seconds=3.0,
        settings_ttl_seconds=60.0,
        voucherify_concurrency=16,
        retry_hours=24.0,
        connect_timeout_seconds=1.0,
        ssm_timeout_seconds=1.0,
        sqs_timeout_seconds=1.0,
        dynamodb_timeout_seconds=1.0,
    )


def test_every_variable_is_read() -> None:
    environment = Environment.read(
        {
            **QUEUES,
            "POWERTOOLS_SERVICE_NAME": "shop",
            "POWERTOOLS_METRICS_NAMESPACE": "Shop",
            "POWERTOOLS_LOG_LEVEL": "debug",
            "DEDUPLICATION_TABLE": "ledger",
            "RETRY_HOURS": "48",
            "SETTINGS_PATH": "/shop/segment/",
            "RESPONSE_BUDGET_SECONDS": "2.5",
            "SETTINGS_TTL_SECONDS": "0",
            "VOUCHERIFY_CONCURRENCY": "4",
            "CONNECT_TIMEOUT_SECONDS": "0.25",
            "SSM_TIMEOUT_SECONDS": "2",
            "SQS_TIMEOUT_SECONDS": "3",
            "DYNAMODB_TIMEOUT_SECONDS": "4.5",
        }
    )
    assert environment.service_name == "shop"
    assert environment.metrics_namespace == "Shop"
    assert environment.log_level == "DEBUG"
    assert environment.deduplication_table == "ledger"
    assert environment.retry_hours == 48.0
    assert environment.settings_path == "/shop/segment"
    assert environment.response_budget_seconds == 2.5
    assert environment.settings_ttl_seconds == 0.0
    assert environment.voucherify_concurrency == 4
    assert environment.connect_timeout_seconds == 0.25
    assert environment.ssm_timeout_seconds == 2.0
    assert environment.sqs_timeout_seconds == 3.0
    assert environment.dynamodb_timeout_seconds == 4.5


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(FaultyEnvironment) as raised:
        Environment.read(
            {
                "RETRY_QUEUE_URL": " ",
                "RESPONSE_BUDGET_SECONDS": "soon",
                "SETTINGS_TTL_SECONDS": "inf",
                "VOUCHERIFY_CONCURRENCY": "0",
                "POWERTOOLS_LOG_LEVEL": "LOUD",
            }
        )
    assert raised.value.faults == (
        "POWERTOOLS_LOG_LEVEL must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
        "RETRY_QUEUE_URL is not set",
        "DEAD_LETTER_QUEUE_URL is not set",
        "RESPONSE_BUDGET_SECONDS must be a number, 0.1 or more",
        "SETTINGS_TTL_SECONDS must be a number, 0.0 or more",
        "VOUCHERIFY_CONCURRENCY must be a number, 1 or more",
    )
