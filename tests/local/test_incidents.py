"""Each incident is found and ended by the commands of the runbook, as a person runs them, and by nothing else."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from local.incidents.incidents import INCIDENTS, Incident
from local.incidents.run import main
from local.incidents.runbook import Alarm, WayOut
from local.incidents.staging import Rehearsal, rehearsal
from local.stack.system import LocalSystem
from tests.cli.conftest import Ended, Run
from tests.function import Log

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

# What the commands for the cause say.
FINDINGS = {
    "voucherify-down": "is failing (503)",
    "keys-refused": "refused the credentials (401)",
    "rate-limited": "rate_limited",
    "plan-used-up": "the plan's calls are used up (402)",
    "bad-mapping": "trackMapping: is not JSON",
    "rejected-events": "required metadata is missing: metadata.order_id",
    "slow-dynamodb": "deliveries_unknown",
}

# The threshold of RetryAgeAlarm, with the default of RetryHours.
OLD_SECONDS = 24_000

MOST_HOURS = 12

EACH = pytest.mark.parametrize("incident", [pytest.param(one, id=one.name) for one in INCIDENTS])
IN_SHORT = ("rejected-events",)  # of the others, the way out is tried with LONG=1
STAGED = [pytest.param(one, id=one.name, marks=() if one.name in IN_SHORT else pytest.mark.long) for one in INCIDENTS]


@pytest.fixture
def impatient(incident: Incident, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the function give up waiting for DynamoDB before it answers, and for nothing else."""
    if incident.dynamodb_seconds:
        monkeypatch.setenv("DYNAMODB_TIMEOUT_SECONDS", "0.2")
        monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "1")


@pytest.fixture
def staged(
    system: LocalSystem, incident: Incident, run: Run, impatient: None, logs: Log, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rehearsal]:
    """The incident in place. The metrics of the function until then are in `logs`."""
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "false")
    with rehearsal(system, incident) as running:
        logs.read()
        monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
        monkeypatch.setenv("DYNAMODB_TIMEOUT_SECONDS", "30")
        yield running


def fires(alarm: str, metrics: list[dict[str, Any]], staged: Rehearsal) -> bool:
    """Return whether the metrics of the function, and the queues, make an alarm of template.yaml go off."""
    codes = {one["code"] for one in metrics if "NotDelivered" in one}
    return {
        "RetryAgeAlarm": any(age > OLD_SECONDS for one in metrics for age in one.get("RetryAge", [])),
        "CredentialsRefusedAlarm": "credentials_refused" in codes,
        "PlanUsedUpAlarm": "plan_used_up" in codes,
        "SettingsUnusableAlarm": any("SettingsUnusable" in one for one in metrics),
        "UndecidedAlarm": "deliveries_unknown" in codes,
        "DeadLettersAlarm": staged.state.dead > 0,
    }[alarm]


def run_all(run: Run, commands: list[list[str]], incident: Incident) -> list[Ended]:
    """Run commands as a person who confirms each change, and types the incident's answer where a value is asked."""
    return [run(*confirmed(run, arguments), stdin=f"{incident.answer}\n") for arguments in commands]


def confirmed(run: Run, arguments: list[str]) -> list[str]:
    """Return a command with `--yes`, if it asks before it changes anything."""
    return [*arguments, "--yes"] if "--yes" in run(*arguments, "--help").out else arguments


@pytest.mark.parametrize("incident", STAGED)
@pytest.mark.usefixtures("without_waiting")
def test_the_runbook_has_the_way_out(incident: Incident, staged: Rehearsal, run: Run, logs: Log) -> None:
    way_out = WayOut.of(incident)
    assert fires(incident.alarm, logs.metrics, staged)

    found = run_all(run, way_out.cause, incident)
    assert FINDINGS[incident.name] in "".join(ended.out + ended.err for ended in found)

    assert [ended.code for ended in run_all(run, way_out.fix, incident)] == [0] * len(way_out.fix)
    for _ in range(MOST_HOURS):
        if not staged.state.is_over:
            staged.let_an_hour_pass()
    assert staged.state.is_over, str(staged.state)
    assert {ended.code for ended in run_all(run, way_out.over, incident)} == {0}


@pytest.mark.long
@pytest.mark.parametrize(
    "incident", [pytest.param(one, id=one.name) for one in INCIDENTS if not one.recovery and not one.plan]
)
def test_without_the_fix_it_does_not_end(incident: Incident, staged: Rehearsal) -> None:
    assert WayOut.of(incident).fix
    before = staged.state
    for _ in range(2):
        staged.let_an_hour_pass()
    assert staged.state == before
    assert not before.is_over


@EACH
def test_each_placeholder_of_its_commands_has_a_value(incident: Incident) -> None:
    way_out = WayOut.of(incident)
    for arguments in way_out.cause + way_out.fix + way_out.over:
        assert not [argument for argument in arguments if re.fullmatch("[A-Z_]+", argument)]


def test_an_alarm_or_a_section_that_is_not_there_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="NoSuchAlarm"):
        Alarm.named("NoSuchAlarm")


def test_without_a_name_the_incidents_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert re.findall(r"^  ([\w-]+) ", capsys.readouterr().out, re.MULTILINE) == [one.name for one in INCIDENTS]


@contextmanager
def started(name: str, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run `make incident`, and kill it at the end."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "local.incidents.run", name],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a person who has keys of a real project, which a rehearsal must not use."""
    keys = {"VOUCHERIFY_API_KEY": "real-id", "VOUCHERIFY_API_TOKEN": "real-token"}
    return {**os.environ, **keys, "XDG_STATE_HOME": str(tmp_path)}


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Return the lines until one that begins with a text. Fail where the process ends before."""
    assert process.stdout
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith(text):
            return lines
    pytest.fail("\n".join(["make incident ended early:", *lines]))


def press_enter(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.long
def test_a_person_ends_it_with_the_commands_that_it_shows(environment: dict[str, str]) -> None:
    with started("keys-refused", environment) as process:
        shown = read_until(process, "Ctrl-C ends")
        (command,) = [line for line in shown if line.startswith("  voucherify-destination settings set")]
        (answer,) = [line.split()[-1] for line in shown if line.startswith("  where it asks")]
        subprocess.run(
            [sys.executable, "-m", "cli", *shlex.split(command)[1:], "--yes"],
            cwd=ROOT,
            env=environment,
            input=answer,
            check=True,
            capture_output=True,
            text=True,
        )
        press_enter(process)
        assert read_until(process, "✓ The incident is over")[-2] == "An hour later: 5 events: 5 in Voucherify"
        press_enter(process)
        assert process.wait() == 0


@pytest.mark.long
def test_ctrl_c_leaves_it(environment: dict[str, str]) -> None:
    with started("bad-mapping", environment) as process:
        read_until(process, "Ctrl-C ends")
        process.send_signal(signal.SIGINT)
        read_until(process, "The incident is not over")
        assert process.wait() == 1
