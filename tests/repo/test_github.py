"""The files for contributors: workflows and hooks name commands and files that exist."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return [step for job in jobs.values() for step in job["steps"]]


def test_ci_runs_the_tests_and_the_build() -> None:
    runs = {step.get("run") for step in steps(ROOT / ".github/workflows/ci.yml")}
    assert {"make test", "make build"} <= runs


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_reads_only_by_default_and_pins_its_actions_and_runs_targets_that_exist(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text("utf-8"))["permissions"] == {"contents": "read"}
    for step in steps(workflow):
        assert re.fullmatch(r"(?:aws-)?actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v5")), step
        assert set(re.findall(r"^make ([a-z-]+)", step.get("run", ""), re.MULTILINE)) <= TARGETS, step


@pytest.mark.parametrize("stage", ["default", "prod"])
def test_the_deployment_knows_the_stack_of_each_stage(stage: str) -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text("utf-8"))
    samconfig = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
    # YAML reads the key `on` as true.
    assert stage in workflow[True]["workflow_dispatch"]["inputs"]["stage"]["options"]
    name = workflow["env"]["STACK"].replace("${{ inputs.stage == 'prod' && '-prod' || '' }}", STACK_ENDINGS[stage])
    assert name == samconfig[stage]["deploy"]["parameters"]["stack_name"]
    assert [job["steps"][-1]["run"] for job in workflow["jobs"].values()] == ["make deploy YES=1", "make smoke"]


STACK_ENDINGS = {"default": "", "prod": "-prod"}


def test_every_folder_and_file_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`((?:[\w.-]+/)*[\w.-]+(?:\.(?:py|md|yaml|json|toml)|/))`", text))
    assert len(named) > 20
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_hooks_run_the_tools_that_the_project_pins() -> None:
    configuration = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    (repository,) = configuration["repos"]
    assert repository["repo"] == "local", "a remote hook would pin its tool a second time"
    for hook in repository["hooks"]:
        assert hook["entry"].startswith(".venv/bin/python -m ruff ")
