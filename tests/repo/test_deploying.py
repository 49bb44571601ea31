"""docs/deploying.md and docs/local.md: what one types fits the template, the release and samconfig.toml."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from samtranslator.yaml_helper import yaml_parse

from tests.repo.stack import SOURCE as TEMPLATE

ROOT = Path(__file__).parents[2]
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))
DEPLOYING = (ROOT / "docs/deploying.md").read_text("utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DEPLOYING, re.DOTALL)
    return str(found)


def test_the_names_of_a_release_are_those_of_this_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(re.findall(r"voucherify-destination-(\d[\d.]*\d)", DEPLOYING)) == {project["version"]}
    assert f"`v{project['version']}`" in DEPLOYING


def test_the_link_fills_in_parameters_of_the_template() -> None:
    link = "".join(block("text").split())
    page, _, query = link.partition("#/stacks/create/review?")
    filled = dict(parse_qsl(query, strict_parsing=True))
    region = parse_qs(urlsplit(page).query)["region"][0]
    assert page.startswith(f"https://{region}.console.aws.amazon.com/cloudformation/home")
    # CloudFormation takes templates from S3 only.
    assert filled.pop("templateURL").startswith(f"https://my-bucket.s3.{region}.amazonaws.com/voucherify-destination/")
    assert filled.pop("stackName")
    assert filled.keys() <= {"param_CodeBucket", *(f"param_{name}" for name in TEMPLATE["Parameters"])}
    assert filled["param_CodeBucket"] == "my-bucket"


def test_terraform_and_the_cdk_name_parameters_and_outputs_that_there_are() -> None:
    for text in (block("terraform"), block("python")):
        given = set(re.findall(r'"?(\w+)"?(?: =|:) "', text.partition("parameters")[2].partition("}")[0]))
        assert given <= {"CodeBucket", *TEMPLATE["Parameters"]}
        assert "CodeBucket" in given
        assert "EventsUrl" in TEMPLATE["Outputs"]
        assert "EventsUrl" in text
        assert len([line for line in text.splitlines() if line]) <= 10


def test_the_code_for_the_cdk_is_lint_clean() -> None:
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", "cdk.py", "-"]
        found = subprocess.run(ruff, cwd=ROOT, input=block("python"), check=False, capture_output=True, text=True)
        assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is not installed")
def test_the_code_for_terraform_is_formatted() -> None:
    """Its linter would need the provider for AWS."""
    terraform = ["terraform", "fmt", "-check", "-diff", "-"]
    found = subprocess.run(terraform, input=block("terraform"), check=False, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_values_to_read_first_are_in_each_stage_of_samconfig() -> None:
    table = DEPLOYING.partition("| value | meaning |")[2].partition("\n\n")[0]
    values = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert len(values) == 5
    for stage in ("default", "prod"):
        deploy = SAMCONFIG[stage]["deploy"]["parameters"]
        assert set(values) <= {*deploy, *deploy["parameter_overrides"]}
        assert "region" not in deploy, "docs/deploying.md: no file names the region"


def test_the_role_on_github_gets_the_policies_that_deployer_yaml_puts_out() -> None:
    policies = yaml_parse((ROOT / "deployer.yaml").read_text("utf-8"))["Outputs"]["PolicyArns"]["Value"]
    role = yaml_parse((ROOT / ".github/deploy-role.yaml").read_text("utf-8"))["Parameters"]["DeployerPolicyArns"]
    assert policies["Fn::Join"][0] == ","
    assert role["Type"] == "CommaDelimitedList"
    (given,) = re.findall(r"DeployerPolicyArns=(.*?)\n\n", DEPLOYING, re.DOTALL)
    assert "[?OutputKey=='PolicyArns'].OutputValue" in given


def test_sam_local_invoke_is_given_events_and_a_function_that_there_are() -> None:
    text = (ROOT / "docs/local.md").read_text("utf-8")
    (command,) = re.findall(r"^sam local invoke (.*\\\n.*)$", text, re.MULTILINE)
    function, event, variables = re.findall(r"^(\w+) --event (\S+) --env-vars (\S+)", command)[0]
    assert function in TEMPLATE["Resources"]
    assert (ROOT / event).exists()
    assert json.loads((ROOT / variables).read_text("utf-8"))
    name, _, value = re.findall(r"--parameter-overrides (\S+)", command)[0].partition("=")
    assert value in TEMPLATE["Parameters"][name]["AllowedValues"]
