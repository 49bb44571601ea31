"""What every command has: its options anywhere on the line, and its exit codes."""

from __future__ import annotations

import socket
from importlib.metadata import version
from pathlib import Path

import pytest

from cli.local_system import LocalSystem, announced
from cli.target import Target
from tests.cli.conftest import Run, invoke


def test_without_a_command_there_is_help() -> None:
    ended = invoke()
    assert "Set up, monitor and repair" in ended.out + ended.err


def test_common_options_after_the_command(run: Run) -> None:
    assert run("settings", "show", "--json").code == run("--json", "settings", "show").code == 0


def test_unknown_command_exits_2(run: Run) -> None:
    assert run("settings", "shwo").code == 2


def test_missing_stack_exits_2(run: Run) -> None:
    ended = invoke("settings", "show", "--stack", "nobody", "--region", "eu-west-1")
    assert ended.code == 2
    assert "there is no stack nobody in eu-west-1" in ended.err
    assert "--local" in ended.err


def test_version_and_help() -> None:
    ended = invoke("--version")
    assert (ended.code, ended.out) == (0, f"voucherify-destination {version('voucherify-destination')}\n")
    for command in ((), ("settings",), ("settings", "set"), ("trace",)):
        ended = invoke(*command, "-h")
        assert (ended.code, ended.out) == (0, invoke(*command, "--help").out)


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (("settings", "shwo"), 2, "No such command 'shwo'"),
        (("settings", "set"), 2, "Missing argument 'name'"),
        (("settings", "history", "trackMaping"), 2, "unknown setting 'trackMaping'"),
        (("dead-letters", "show", "nobody"), 1, "message nobody is not in the dead-letter queue"),
    ],
)
def test_each_error_is_json_where_that_is_asked_for(
    run: Run, without_waiting: None, arguments: tuple[str, ...], code: int, problem: str
) -> None:
    ended = run(*arguments, "--json")
    assert (ended.code, ended.err) == (code, "")
    assert ended.json["error"]["problem"].startswith(problem)
    assert ended.json["error"]["exitCode"] == code
    assert ended.json["error"].keys() == {"problem", "advice", "exitCode"}


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.usefixtures("state")
def test_local_finds_the_system_that_runs() -> None:
    stale = LocalSystem("http://127.0.0.1:7", "http://127.0.0.1:8")  # was killed, so that its file is still there
    with socket.create_server(("127.0.0.1", 0)) as aws, announced(stale):
        running = LocalSystem("http://127.0.0.1:5000", f"http://127.0.0.1:{aws.getsockname()[1]}")
        assert Target.local().value("EventsUrl") == "http://127.0.0.1:8080/events"
        with announced(running):
            assert Target.local().endpoint_url == running.aws_url
            assert Target.local().value("EventsUrl") == "http://127.0.0.1:5000/events"
            assert Target.local(5000).endpoint_url == running.aws_url, "its AWS is not at the next port"
            assert Target.local(6000).endpoint_url == "http://127.0.0.1:6001"
        assert Target.local().endpoint_url == "http://127.0.0.1:8081"
