"""The command line as a person calls it: typer's runner, against moto's server and the stub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.target import Target
from local.stack.system import LocalSystem


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
    """Stands still, but for what is slept."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


Run = Callable[..., Ended]


@pytest.fixture
def run(system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the local system of the tests, whose ports are free ones; `stdin` is what a person types."""

    known = {"EventsUrl": f"{system.url}/events", "TrackingApiUrl": system.url, **_names(system)}
    target = Target("local", Target.local(port=0).session, system.aws.url, known)
    monkeypatch.setattr(Target, "local", lambda port: target)
    # The function runs in this process: its lines would stand among the command's.
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "CRITICAL")
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")

    def run(*arguments: str, stdin: str | None = None) -> Ended:
        result = CliRunner().invoke(app, ["--local", *arguments], input=stdin, catch_exceptions=False)
        return Ended(result.exit_code, result.stdout, result.stderr)

    return run


def _names(system: LocalSystem) -> dict[str, str]:
    variables = system.aws.environment
    return {
        "SettingsPath": variables["SETTINGS_PATH"],
        "RetryQueueUrl": variables["RETRY_QUEUE_URL"],
        "DeadLetterQueueUrl": variables["DEAD_LETTER_QUEUE_URL"],
        "DeduplicationTableName": variables["DEDUPLICATION_TABLE"],
    }
