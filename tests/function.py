"""The function as deployed, with moto for AWS, the stub for Voucherify and events as API Gateway sends them."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config

from handler.app import lambda_handler
from local.stack.aws import LocalAws
from local.stack.front import LambdaContext, proxy_event
from local.stack.samples import sign
from local.stack.system import API_KEY, API_TOKEN, LocalSystem
from local.voucherify_stub.stub import VoucherifyStub
from tests.limits import INVOCATION_SECONDS

ACCESS_TOKEN = "access-token-1"

# By which API Gateway passes a body as it is. One without a content type is in base64.
JSON = {"Content-Type": "application/json"}

WARM_UP = {"type": "track", "userId": "u-0", "event": "Warm Up"}


def aws_client_at(service: str, port: int) -> Any:
    """Return a client of AWS that calls a port of this machine and does not retry."""
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
    """The answer of the function, with its JSON body decoded."""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass(frozen=True)
class Function:
    """The function, with settings in SSM that a test may change."""

    system: LocalSystem
    log: Log

    @property
    def logs(self) -> Log:
        """Read the log as written so far."""
        return self.log.read()

    @property
    def aws(self) -> LocalAws:
        return self.system.aws

    @property
    def voucherify(self) -> VoucherifyStub:
        return self.system.voucherify

    def put(self, **settings: str) -> None:
        self.aws.put_settings(settings)

    def start_anew(self, **settings: str) -> None:
        """Replace all settings by these, with the credentials and the address of the stub."""
        self.aws.delete_settings()
        self.put(apiKey=API_KEY, apiToken=API_TOKEN, apiUrl=self.voucherify.url, **settings)

    def put_source(self, source: str, **settings: str) -> None:
        """Store settings of one source."""
        self.put(**{f"{source}/{name}": value for name, value in settings.items()})

    def post(self, payload: object, headers: Mapping[str, str] | None = None, **parts: Any) -> Answer:
        """Post a value as JSON, signed as a whole unless there are `headers`."""
        if isinstance(payload, bytes):
            return self.send(payload, {"X-Signature": sign(payload)} if headers is None else headers, **parts)
        body = json.dumps(payload).encode()
        return self.send(body, {**JSON, **({"X-Signature": sign(body)} if headers is None else headers)}, **parts)

    def warm_up(self) -> None:
        """Post until the function has its clients: from then on a request is quick."""
        attempts = itertools.count()
        while not self.post({**WARM_UP, "messageId": f"warm-up-{next(attempts)}"}).body.get("delivered"):
            pass
        self.voucherify.reset()

    def post_batch(self, events: list[Any], seconds: float = INVOCATION_SECONDS) -> Answer:
        """Post an array that is signed over its first element, as Segment does."""
        first, *others = [json.dumps(event).encode() for event in events]
        body = b"[" + b",".join([first, *others]) + b"]"
        return self.send(body, {**JSON, "X-Signature": sign(first)}, seconds=seconds)

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
        """Return the failure records in the retry queue."""
        return [json.loads(message["Body"]) for message in self.aws.messages("RETRY_QUEUE_URL")]

    @property
    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the failure records in the dead-letter queue."""
        return [json.loads(message["Body"]) for message in self.aws.messages("DEAD_LETTER_QUEUE_URL")]

    @property
    def sent(self) -> list[tuple[str, str, Any]]:
        """Return method, path and JSON body of each call that reached Voucherify."""
        return [(call.method, call.path, call.json) for call in self.voucherify.calls]


@pytest.fixture
def function(system: LocalSystem, logs: Log, monkeypatch: pytest.MonkeyPatch) -> Function:
    """Return a function that starts cold and reads its settings at every request."""
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "0")
    return Function(system, logs)


class Log(list[dict[str, Any]]):
    """The lines of Logger. `metrics` has those of Metrics: dimensions except the service, and figures. `text` has all
    output as written, with standard error.
    """

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__()
        self._capsys = capsys
        self.metrics: list[dict[str, Any]] = []
        self.text = ""

    def read(self) -> Log:
        """Add the output since the last call."""
        written, errors = self._capsys.readouterr()
        self.text += written + errors
        for line in map(json.loads, written.splitlines()):
            if "_aws" in line:
                self.metrics.append(figures_of(line))
            else:
                self.append(line)
        return self


def figures_of(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return dimensions and figures of a line in CloudWatch's embedded metric format: a count, or a list of values."""
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    (dimensions,) = directive["Dimensions"]
    assert directive["Namespace"] == "VoucherifyDestination"
    assert line["service"] == "voucherify-destination"
    units = {metric["Name"]: metric["Unit"] for metric in directive["Metrics"]}
    assert line.keys() == {"_aws", *dimensions, *units}
    return {
        **{name: line[name] for name in dimensions if name != "service"},
        **{name: sum(line[name]) if unit == "Count" else line[name] for name, unit in units.items()},
    }


@pytest.fixture
def logs(capsys: pytest.CaptureFixture[str]) -> Iterator[Log]:
    """Return the log of the function, which is in the report of a test that fails."""
    log = Log(capsys)
    yield log
    sys.stdout.write(log.text)
