"""Run the commands as a person does, against moto's server and the stub of Voucherify."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from cli.dead_letters import reading
from cli.main import app
from cli.output import Output
from cli.target import Target
from handler.model.failure import Failure
from handler.model.failure_record import FailureRecord, RecordedFailure
from local.stack.aws import SETTINGS_PATH, LocalAws
from local.stack.system import LocalSystem
from tests.scenarios.aws_proxy import AwsProxy, aws_proxy
from tests.worker import Queue

COMMAND = get_command(app)  # once: it takes longer than most commands

DEAD: Queue = "DEAD_LETTER_QUEUE_URL"
RETRY: Queue = "RETRY_QUEUE_URL"

PERSON = "canary.person@example.com"  # personal data, which no output may show
SECRET = "canary-"  # every secret that a test makes up begins like this


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Time:
    """A clock that only `sleep` moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Run = Callable[..., Ended]


def invoke(*arguments: str, stdin: str | None = None) -> Ended:
    """Run the command line; `stdin` is what a person types."""
    code: object = 0
    with CliRunner().isolation(input=stdin) as (out, err, _):
        try:
            COMMAND.main(args=list(arguments), prog_name="voucherify-destination")
        except SystemExit as ended:
            code = ended.code
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        written = [copy.getvalue().decode().replace("\r\n", "\n") for copy in (out, err)]
    assert isinstance(code, int)
    return Ended(code, *written)


@pytest.fixture
def run(system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command on the local system of the tests, whose ports are free ones."""
    use_target(monkeypatch, Target.local_at(system.url, system.aws.url))
    # The function runs in this process: its log would be among the command's output.
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "CRITICAL")
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    return lambda *arguments, stdin=None: invoke("--local", *arguments, stdin=stdin)


@pytest.fixture
def watched_run(run: Run, aws: LocalAws) -> Run:
    """`run`, which fails where the output has a secret that is or was in Parameter Store."""

    def watched(*arguments: str, stdin: str | None = None) -> Ended:
        ended = run(*arguments, stdin=stdin)
        for secret in (SECRET, *_secrets(aws)):
            assert secret not in ended.out + ended.err
        return ended

    return watched


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person sits at the terminal."""
    monkeypatch.setattr(Output, "is_interactive", True)


@pytest.fixture
def proxy(run: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    """A proxy between the command and moto, which the command takes for a deployed stack."""
    with aws_proxy(aws.url) as running:
        use_target(monkeypatch, replace(Target.local(0), name="stack", endpoint_url=running.url))
        yield running


@pytest.fixture
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask SQS without its long polling."""
    monkeypatch.setattr(reading, "WAIT_SECONDS", 0)


def use_target(monkeypatch: pytest.MonkeyPatch, target: Target) -> None:
    """Let `--local` mean this target."""
    monkeypatch.setattr(Target, "local", lambda port: target)


def event(message_id: str, type_: str = "track") -> dict[str, Any]:
    """Return an event that is full of a person's data."""
    traits = {"email": PERSON, "address": {"street": PERSON}, "friends": [PERSON]}
    return {
        "type": type_,
        "messageId": message_id,
        "userId": PERSON,
        "event": "Order Completed",
        "properties": {"email": PERSON, "total": 42},
        "traits": traits,
        "context": {"traits": traits, "ip": PERSON},
    }


def put_message(
    aws: LocalAws,
    message_id: str,
    *,
    code: str = "voucherify_400",
    type_: str = "track",
    source: str = "default",
    queue: Queue = DEAD,
) -> None:
    """Send a failure record as the function does; its message quotes the event as Voucherify does."""
    failure = Failure("deliver", code, "Voucherify answered 400", detail=f"{PERSON} is not valid")
    failed_at = datetime(2026, 5, 1, tzinfo=UTC)
    body, attributes = FailureRecord(
        event(message_id, type_), source, 1, failed_at, RecordedFailure.of(failure)
    ).to_message()
    aws.sqs.send_message(QueueUrl=aws.environment[queue], MessageBody=body, MessageAttributes=attributes)


def _secrets(aws: LocalAws) -> Iterator[str]:
    for page in aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=SETTINGS_PATH, Recursive=True):
        for parameter in page["Parameters"]:
            if parameter["Type"] == "SecureString":
                answer = aws.ssm.get_parameter_history(Name=parameter["Name"], WithDecryption=True)
                yield from (version["Value"] for version in answer["Parameters"])
