"""The function as it runs: moto's server for AWS, the stand-in for Voucherify, and API Gateway's events."""

from __future__ import annotations

import io
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.config import Config

import handler.log
from handler.app import lambda_handler
from local.aws import LocalAws
from local.front import LambdaContext, proxy_event
from local.samples import sign
from local.system import API_KEY, API_TOKEN, LocalSystem
from local.voucherify import VoucherifyStandIn
from tests.limits import INVOCATION_SECONDS

ACCESS_TOKEN = "access-token-1"

WARM_UP = {"type": "track", "userId": "u-0", "event": "Warm Up"}


def aws_client_at(service: str, port: int) -> Any:
    """A client of an AWS service that is, or is not, at a port of this machine; it tries once."""
    return boto3.client(
        service,  # type: ignore[call-overload] # which service it is the caller knows
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        endpoint_url=f"http://127.0.0.1:{port}",
        config=Config(retries={"total_max_attempts": 1}),
    )


@dataclass(frozen=True)
class Answer:
    """The function's answer, its JSON body decoded."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Function:
    """The deployed function, with settings in SSM that a test may change."""

    system: LocalSystem
    logs: Log

    @property
    def aws(self) -> LocalAws:
        return self.system.aws

    @property
    def voucherify(self) -> VoucherifyStandIn:
        return self.system.voucherify

    def put(self, **settings: str) -> None:
        self.aws.put_settings(settings)

    def start_anew(self, **settings: str) -> None:
        """These settings, with the stand-in's keys and address, in the place of all that are there."""
        self.aws.delete_settings()
        self.put(apiKey=API_KEY, apiToken=API_TOKEN, apiUrl=self.voucherify.url, **settings)

    def put_source(self, source: str, **settings: str) -> None:
        """Settings of a source's own, over the common ones."""
        self.put(**{f"{source}/{name}": value for name, value in settings.items()})

    def post(self, payload: object, headers: Mapping[str, str] | None = None, **parts: Any) -> Answer:
        """Post a value as JSON, signed as a whole unless `headers` say otherwise."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.send(body, {"X-Signature": sign(body)} if headers is None else headers, **parts)

    def warm_up(self) -> None:
        """Have it make its clients, in as many requests as its budget needs: from then on a request is quick."""
        attempts = itertools.count()
        while not self.post({**WARM_UP, "messageId": f"warm-up-{next(attempts)}"}).body.get("delivered"):
            pass
        self.voucherify.reset()

    def post_batch(self, events: list[Any], seconds: float = INVOCATION_SECONDS) -> Answer:
        """Post an array, signed over its first element as Segment does."""
        first, *others = [json.dumps(event).encode() for event in events]
        body = b"[" + b",".join([first, *others]) + b"]"
        return self.send(body, {"X-Signature": sign(first)}, seconds=seconds)

    def send(
        self,
        body: bytes,
        headers: Mapping[str, str],
        method: str = "POST",
        path: str = "/events",
        seconds: float = INVOCATION_SECONDS,
    ) -> Answer:
        return self.invoke(proxy_event(method, path, headers, body), seconds)

    def invoke(self, event: dict[str, Any], seconds: float = INVOCATION_SECONDS) -> Answer:
        answer = lambda_handler(event, LambdaContext(seconds))
        return Answer(answer["statusCode"], answer["headers"], json.loads(answer["body"]))

    @property
    def retries(self) -> list[dict[str, Any]]:
        """The failure records in the retry queue."""
        return [json.loads(message["Body"]) for message in self.aws.messages("RETRY_QUEUE_URL")]

    @property
    def dead_letters(self) -> list[dict[str, Any]]:
        """The failure records in the dead-letter queue."""
        return [json.loads(message["Body"]) for message in self.aws.messages("DEAD_LETTER_QUEUE_URL")]

    @property
    def sent(self) -> list[tuple[str, str, Any]]:
        """Method, path and JSON body of each call that reached Voucherify."""
        return [(call.method, call.path, call.json) for call in self.voucherify.calls]


@pytest.fixture
def function(system: LocalSystem, logs: Log, monkeypatch: pytest.MonkeyPatch) -> Function:
    """A cold function that reads its settings at every request."""
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "0")
    return Function(system, logs)


class Log(list[dict[str, Any]]):
    """The function's lines without the metrics in them, which are in `metrics`: of each line that has some, its
    dimensions beside the service, and its figures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[dict[str, Any]] = []


class _Stdout(io.StringIO):
    """Reads the lines as they are written, and passes them on."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = Log()

    def write(self, text: str) -> int:
        assert text.endswith("}\n"), "a line is written in one piece, so that threads do not mix theirs"
        line = json.loads(text)
        for directive in line.pop("_aws", {}).get("CloudWatchMetrics", []):
            (dimensions,) = directive["Dimensions"]
            assert directive["Namespace"] == "VoucherifyDestination"
            assert dimensions[0] == "service"
            figures = {metric["Name"]: line.pop(metric["Name"]) for metric in directive["Metrics"]}
            self.lines.metrics.append({**{name: line[name] for name in dimensions[1:]}, **figures})
        self.lines.append(line)
        return sys.stdout.write(text)


@pytest.fixture
def logs(monkeypatch: pytest.MonkeyPatch) -> Log:
    """What the function writes."""
    stdout = _Stdout()
    # Of this module alone: pytest has a standard output of its own for each phase of a test.
    monkeypatch.setattr(handler.log, "sys", SimpleNamespace(stdout=stdout))
    return stdout.lines
