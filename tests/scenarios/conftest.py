"""The function and what can fail around it: AWS behind a proxy, sandboxes that can be killed, the worker's queue."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from local.stack.cold import start_cold
from tests.function import Function
from tests.scenarios.aws_proxy import AwsProxy, aws_proxy
from tests.scenarios.sandbox import ProcessSandbox, process_sandbox
from tests.worker import Worker


@pytest.fixture
def worker(function: Function) -> Worker:
    start_cold()
    return Worker(function.aws)


@pytest.fixture
def proxy(function: Function, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    """AWS as the function sees it; the test's own clients go to moto directly."""
    with aws_proxy(function.aws.url) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running
    start_cold()


@pytest.fixture
def intake_process(proxy: AwsProxy) -> Iterator[ProcessSandbox]:
    with process_sandbox("app", os.environ) as sandbox:
        yield sandbox
