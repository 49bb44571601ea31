"""AWS behind a proxy, execution environments that can be killed, and the worker behind its queue."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local.stack.cold import start_cold
from tests.function import Function
from tests.scenarios.aws_proxy import AwsProxy, aws_proxy
from tests.scenarios.execution_environment import ExecutionEnvironment, execution_environment
from tests.worker import Worker


@pytest.fixture
def worker(function: Function) -> Worker:
    start_cold()
    return Worker(function.aws)


@pytest.fixture
def proxy(function: Function, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    """Put a proxy between the function and moto. The clients of the test call moto directly."""
    with aws_proxy(function.aws.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running
    start_cold()


@pytest.fixture
def deliver_process(proxy: AwsProxy) -> Iterator[ExecutionEnvironment]:
    with execution_environment("app", os.environ) as process:
        yield process
