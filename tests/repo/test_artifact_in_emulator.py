"""The built functions in Lambda's runtime interface emulator, with Lambda's own packages and no others.

https://docs.aws.amazon.com/lambda/latest/dg/python-image.html#python-image-clients
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from local.stack.emulator import Emulator, emulator, is_possible, link_lambdas_own
from local.stack.poller import sqs_event
from local.stack.samples import SAMPLES, Sample
from local.stack.system import LocalSystem
from local.voucherify_stub.stub import Fault
from tests.limits import GENEROUS, INVOCATION_SECONDS
from tests.outputs import show

ANSWERED = [sample for sample in SAMPLES if not sample.voucherify_is_down]
(STORED,) = (sample for sample in SAMPLES if sample.voucherify_is_down)

Invoke = Callable[[str, dict[str, Any]], Any]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not is_possible(),
        reason=f"Lambda's runtime interface emulator does not run on {platform.system()} {platform.machine()}",
    ),
]


@pytest.fixture(scope="module")
def lambdas_own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the packages that Lambda brings along."""
    packages = tmp_path_factory.mktemp("lambdas_own")
    link_lambdas_own(packages)
    return packages


@pytest.fixture(scope="module")
def running(build_dir: Path, lambdas_own: Path, running_system: LocalSystem) -> Iterator[dict[str, Emulator]]:
    """Start the functions that were built, by their names."""
    template = yaml.safe_load((build_dir / "template.yaml").read_text())

    def start(name: str) -> AbstractContextManager[Emulator]:
        function = {**template["Globals"]["Function"], **template["Resources"][name]["Properties"]}
        task = build_dir / function["CodeUri"]
        variables = {
            **{name: value for name, value in os.environ.items() if name.startswith("AWS_")},
            **running_system.aws.environment,
            **GENEROUS,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{function['Runtime']}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": f"{INVOCATION_SECONDS:.0f}",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_LAMBDA_LOG_LEVEL": "INFO",
            "PYTHONPATH": f"{task}{os.pathsep}{lambdas_own}",
        }
        return emulator(function["Handler"], task, variables)

    with start("DeliverFunction") as deliver, start("RedeliverFunction") as redeliver:
        yield {"DeliverFunction": deliver, "RedeliverFunction": redeliver}


@pytest.fixture
def invoke(running: dict[str, Emulator]) -> Invoke:
    """Return a call that invokes a function by its name and returns its answer."""
    for name, function in running.items():
        show(name, function.output)
    # urllib3 waits for 3 seconds unless told otherwise.
    return lambda name, event: urllib3.request(
        "POST", running[name].url, json=event, retries=False, timeout=INVOCATION_SECONDS
    ).json()


@pytest.mark.parametrize("sample", ANSWERED, ids=[Path(sample.file).stem for sample in ANSWERED])
def test_request_is_answered(system: LocalSystem, invoke: Invoke, sample: Sample) -> None:
    answer = invoke("DeliverFunction", sample.payload)

    counts = json.loads(answer["body"])
    assert answer["statusCode"] == sample.status
    assert {name: count for name, count in counts.items() if type(count) is int and count} == sample.counts
    assert len(system.voucherify.calls) == sample.requests


def test_track_is_delivered_once(system: LocalSystem, invoke: Invoke) -> None:
    (track,) = (sample for sample in SAMPLES if sample.file == "track.json")

    answers = [invoke("DeliverFunction", track.payload) for _ in range(2)]

    assert [json.loads(answer["body"])["duplicate"] for answer in answers] == [0, 1]
    assert len(system.voucherify.events) == 1


@pytest.fixture
def stored(system: LocalSystem, invoke: Invoke) -> Iterator[dict[str, Any]]:
    """Return the event that Lambda invokes the worker with after Voucherify was down for one event."""
    system.voucherify.next(Fault(503))
    assert invoke("DeliverFunction", STORED.payload)["statusCode"] == 202
    queue_url = system.aws.environment["RETRY_QUEUE_URL"]
    received = system.aws.sqs.receive_message(QueueUrl=queue_url, AttributeNames=["All"], MessageAttributeNames=["All"])
    yield sqs_event([dict(message) for message in received["Messages"]])
    for message in received["Messages"]:
        system.aws.sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])


def test_sqs_message_is_delivered(system: LocalSystem, invoke: Invoke, stored: dict[str, Any]) -> None:
    assert invoke("RedeliverFunction", stored) == {"batchItemFailures": []}
    assert list(system.voucherify.customers) == ["cust_9032_re_3234"]


def test_sqs_message_that_fails_again_stays(system: LocalSystem, invoke: Invoke, stored: dict[str, Any]) -> None:
    system.voucherify.next(Fault(503))

    (record,) = stored["Records"]

    assert invoke("RedeliverFunction", stored) == {"batchItemFailures": [{"itemIdentifier": record["messageId"]}]}
