"""The files for contributors: workflows and hooks name commands and files that exist. The role of a deployment."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from samtranslator.yaml_helper import yaml_parse

from tests.repo.stack import as_list

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
STACK_ENDINGS = {"default": "", "prod": "-prod"}
ROLE = yaml_parse((ROOT / ".github/deploy-role.yaml").read_text("utf-8"))["Resources"]["Role"]["Properties"]
ACTION = re.compile(r"`((?:ssm|sqs|dynamodb|cloudformation|lambda):\w+)`")


def read(workflow: Path) -> Any:
    return yaml.safe_load(workflow.read_text("utf-8"))


DEPLOY_STAGE = read(ROOT / ".github/workflows/deploy-stage.yml")


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = read(workflow)["jobs"]
    return [step for job in jobs.values() for step in job.get("steps", [])]


def test_ci_runs_the_tests_and_the_build() -> None:
    runs = {step.get("run") for step in steps(ROOT / ".github/workflows/ci.yml")}
    assert {"make test", "make build"} <= runs


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_reads_only_by_default_and_pins_its_actions_and_runs_targets_that_exist(workflow: Path) -> None:
    assert read(workflow)["permissions"] == {"contents": "read"}
    for step in steps(workflow):
        assert re.fullmatch(r"(?:aws-)?actions/[a-z-]+@v\d+", step.get("uses", "actions/checkout@v5")), step
        assert set(re.findall(r"^make ([a-z-]+)", step.get("run", ""), re.MULTILINE)) <= TARGETS, step


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_no_job_has_a_token_for_aws_and_may_write_to_the_repository(workflow: Path) -> None:
    for job in read(workflow)["jobs"].values():
        permissions = job.get("permissions", {})
        assert permissions.get("contents", "read") == "read" or "id-token" not in permissions
        used = {step.get("uses", "").split("@")[0] for step in job.get("steps", [])}
        if "aws-actions/configure-aws-credentials" in used:
            assert permissions == {"contents": "read", "id-token": "write"}
            assert job["environment"] == "${{ inputs.stage }}", "its reviewers decide, and the role trusts it alone"


def test_prod_is_deployed_after_the_smoke_test_of_the_first_stage_and_tested_last() -> None:
    deployment = read(ROOT / ".github/workflows/deploy.yml")
    jobs = deployment["jobs"]
    assert [job["with"]["stage"] for job in jobs.values()] == ["default", "prod"]
    assert jobs["prod"]["needs"] == "default"
    for job in jobs.values():
        assert job["uses"] == "./.github/workflows/deploy-stage.yml"
        assert job["permissions"] == {"contents": "read", "id-token": "write"}, "a called workflow gets no more"

    deploy, smoke = DEPLOY_STAGE["jobs"].values()
    assert (deploy["steps"][-1]["run"], smoke["steps"][-1]["run"]) == ("make deploy YES=1", "make smoke")
    assert smoke["needs"] == "deploy"


@pytest.mark.parametrize("stage", ["default", "prod"])
def test_the_deployment_knows_the_stack_of_each_stage(stage: str) -> None:
    # YAML reads the key `on` as true.
    assert stage in DEPLOY_STAGE[True]["workflow_dispatch"]["inputs"]["stage"]["options"]
    name = DEPLOY_STAGE["env"]["STACK"].replace("${{ inputs.stage == 'prod' && '-prod' || '' }}", STACK_ENDINGS[stage])
    assert name == SAMCONFIG[stage]["deploy"]["parameters"]["stack_name"]


def test_a_release_has_the_version_of_its_tag() -> None:
    build, publish = read(ROOT / ".github/workflows/release.yml")["jobs"].values()
    runs = [step["run"] for step in build["steps"] if "run" in step]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert runs[:2] == ["make test", "make release"]
    assert f"voucherify-destination-{version}.yaml" in runs[2].replace("${GITHUB_REF_NAME#v}", version)
    assert build.get("permissions") is None
    assert publish["permissions"] == {"contents": "write"}


# ---- the role of a deployment


def value(part: Any, **parameters: str) -> Any:
    """Return a part of the role's template with these parameters, the account and the region filled in."""
    known = {"AWS::Partition": "aws", "AWS::Region": "eu-west-1", "AWS::AccountId": "123456789012", **parameters}
    if isinstance(part, list):
        return [value(item, **parameters) for item in part]
    if not isinstance(part, dict):
        return part
    if set(part) == {"Fn::Sub"}:
        return re.sub(r"\$\{([\w:]+)\}", lambda name: known[name[1]], part["Fn::Sub"])
    return {key: value(item, **parameters) for key, item in part.items()}


def statements(**parameters: str) -> list[dict[str, Any]]:
    (policy,) = ROLE["Policies"]
    return [one for one in value(policy, **parameters)["PolicyDocument"]["Statement"] if "Fn::If" not in one]


DEFAULT_STAGE = {"Repository": "acme/events", "Stage": "default", "StackName": "shop", "SettingsPath": "/shop"}


def test_only_jobs_of_the_stages_environment_get_its_role() -> None:
    (trust,) = value(ROLE["AssumeRolePolicyDocument"], **DEFAULT_STAGE)["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": "repo:acme/events:environment:default",
        }
    }


def test_the_role_has_the_deployers_policy_and_the_permissions_that_the_smoke_test_documents() -> None:
    assert ROLE["ManagedPolicyArns"] == {"Ref": "DeployerPolicyArns"}
    operations = (ROOT / "docs/operations.md").read_text("utf-8")
    table = operations.partition("| permission | for |")[2].partition("\n\n")[0]
    documented = {action for row in table.splitlines() if "--update-stack" not in row for action in ACTION.findall(row)}
    assert documented
    assert {action for one in statements(**DEFAULT_STAGE) for action in as_list(one["Action"])} == documented


def test_the_role_of_one_stage_reaches_nothing_of_another_whose_stack_begins_with_the_same_name() -> None:
    own, others = (
        [
            f"arn:aws:sqs:eu-west-1:123456789012:{stack}-RetryQueue-AbC",
            f"arn:aws:sqs:eu-west-1:123456789012:{stack}-DeadLetterQueue-AbC",
            f"arn:aws:dynamodb:eu-west-1:123456789012:table/{stack}-DeduplicationTable-ABC",
            f"arn:aws:lambda:eu-west-1:123456789012:function:{stack}-DeliverFunction-AbC",
            f"arn:aws:cloudformation:eu-west-1:123456789012:stack/{stack}/1f2e",
            f"arn:aws:ssm:eu-west-1:123456789012:parameter/{stack}/smoke-test/apiKey",
        ]
        for stack in ("shop", "shop-prod")
    )
    allowed = [
        pattern
        for one in statements(**DEFAULT_STAGE)
        if one["Action"] != "ssm:DescribeParameters"  # has no narrower resource
        for pattern in as_list(one["Resource"])
    ]
    assert [name for name in own if not any(fnmatchcase(name, pattern) for pattern in allowed)] == []
    assert [name for name in others if any(fnmatchcase(name, pattern) for pattern in allowed)] == []


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
