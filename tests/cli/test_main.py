"""What every command has: its options anywhere on the line, and its exit codes."""

from __future__ import annotations

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
