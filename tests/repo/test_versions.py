"""Versions of the functions: each change, of a parameter too, publishes one, and the alias moves to it."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import pytest

from tests.repo.stack import (
    BOTH,
    DEFAULT,
    DEFAULTS,
    EACH_FUNCTION,
    PARAMETERS,
    ROOT,
    SOURCE,
    Stack,
    another,
    arn,
    named_in,
    ref,
    transformed,
    transformed_for,
)


def version_of(name: str, template: Any = None) -> tuple[str, Any]:
    resources = (template or transformed_for("AllAtOnce"))["Resources"]
    ((logical_id, version),) = (
        (logical_id, resource["Properties"])
        for logical_id, resource in resources.items()
        if resource["Type"] == "AWS::Lambda::Version" and resource["Properties"]["FunctionName"] == ref(name)
    )
    return logical_id, version


def described(name: str, **parameters: str) -> str:
    """Return the description of a function's version, with parameters resolved."""
    description = Stack(**parameters).resolved(version_of(name)[1]["Description"])
    assert isinstance(description, str)
    return description


def parameters_of(name: str) -> set[str]:
    """Return the parameters in the configuration that a version of the function keeps.

    Which properties do not count as a change: https://github.com/aws/aws-cdk, aws-lambda/lib/function-hash.ts
    """
    properties = transformed_for("AllAtOnce")["Resources"][name]["Properties"]
    kept = {key: value for key, value in properties.items() if key not in {"ReservedConcurrentExecutions", "Tags"}}
    return set(named_in(kept)) & set(PARAMETERS)


@BOTH
@EACH_FUNCTION
def test_functions_are_invoked_by_the_alias_of_their_newest_version(stack: Stack, name: str) -> None:
    alias = stack.properties(f"{name}Aliaslive")

    assert alias["Name"] == "live"
    assert alias["FunctionVersion"] == {"Fn::GetAtt": [version_of(name)[0], "Version"]}
    assert stack.properties("RedeliverFunctionRetryQueue")["FunctionName"] == ref("RedeliverFunctionAliaslive")
    for permission in stack.of_type("AWS::Lambda::Permission").values():
        assert permission["FunctionName"] == ref("DeliverFunctionAliaslive")


@EACH_FUNCTION
def test_description_of_a_version_has_exactly_the_parameters_of_its_configuration(name: str) -> None:
    """One that is missing would change without a new version; with another, Lambda would refuse to publish one."""
    assert set(named_in(version_of(name)[1]["Description"])) == parameters_of(name)
    assert {"SettingsPath", "RetryHours", "LogLevel", "Architecture", "Tracing", "SnapStart"} <= parameters_of(name)


@EACH_FUNCTION
def test_each_parameter_changes_the_description(name: str) -> None:
    """SAM publishes no version for the value of a parameter: see test_template.py. CloudFormation does."""
    default = described(name)

    assert [
        parameter for parameter in parameters_of(name) if described(name, **{parameter: another(parameter)}) == default
    ] == []


def test_cloudformation_replaces_a_version_with_another_description() -> None:
    from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER  # takes a second, which only this test needs

    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("eu-west-1", "AWS::Lambda::Version").schema

    assert "/properties/Description" in schema["createOnlyProperties"]


@EACH_FUNCTION
def test_longest_description_fits_lambdas_limit(name: str) -> None:
    longest = {
        parameter: "/" + "x" * (kind["MaxLength"] - 1)
        if "MaxLength" in kind
        else max(map(str, kind.get("AllowedValues") or [kind["MaxValue"]]), key=len)
        for parameter, kind in PARAMETERS.items()
        if parameter in parameters_of(name)
    }

    assert len(described(name, **longest)) <= 256


@EACH_FUNCTION
@pytest.mark.parametrize(("part", "value"), [("CodeUri", "s3://bucket/other"), ("Timeout", 11), ("MemorySize", 2048)])
def test_changed_code_or_template_publishes_a_version(name: str, part: str, value: object) -> None:
    changed = deepcopy(SOURCE)
    changed["Resources"][name]["Properties"][part] = value

    assert version_of(name, transformed(changed, DEFAULTS))[0] != version_of(name)[0]


@BOTH
@EACH_FUNCTION
def test_a_version_that_leaves_the_template_stays_for_requests_in_progress_and_for_a_rollback(
    stack: Stack, name: str
) -> None:
    version = stack.resources[version_of(name)[0]]

    assert (version["DeletionPolicy"], version["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_make_deploy_prunes_the_versions_first() -> None:
    (recipe,) = re.findall(r"^deploy:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    assert recipe.index(" versions prune ") < recipe.index(" deploy --config-env ")


def test_default_deployment_switches_at_once_without_codedeploy() -> None:
    assert not [name for name, found in DEFAULT.resources.items() if "CodeDeploy" in found["Type"]]
    assert "DeploymentRole" not in DEFAULT.resources
    assert not [name for name, found in DEFAULT.resources.items() if "UpdatePolicy" in found]


@pytest.mark.parametrize("deployment", PARAMETERS["Deployment"]["AllowedValues"][1:])
@EACH_FUNCTION
def test_gradual_deployment_rolls_back_on_errors_of_the_new_version_alone(name: str, deployment: str) -> None:
    """Errors of the version before would end the deployment of its repair."""
    stack = Stack(Deployment=deployment)
    group = stack.properties(f"{name}DeploymentGroup")
    errors = name.replace("Function", "VersionErrorsAlarm")

    assert group["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{deployment}"
    assert group["AlarmConfiguration"] == {"Enabled": True, "Alarms": [{"Name": ref(errors)}]}
    assert stack.properties(errors)["Dimensions"] == [
        {"Name": "FunctionName", "Value": ref(name)},
        {"Name": "Resource", "Value": {"Fn::Sub": f"${{{name}}}:live"}},
        {"Name": "ExecutedVersion", "Value": {"Fn::GetAtt": [version_of(name)[0], "Version"]}},
    ]
    assert (stack.properties(errors)["MetricName"], stack.properties(errors)["Period"]) == ("Errors", 60)
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert group["ServiceRoleArn"] == arn("DeploymentRole")
    assert stack.resources[f"{name}Aliaslive"]["UpdatePolicy"]["CodeDeployLambdaAliasUpdate"] == {
        "ApplicationName": ref("ServerlessDeploymentApplication"),
        "DeploymentGroupName": ref(f"{name}DeploymentGroup"),
    }


def test_each_deployment_type_is_in_the_mappings() -> None:
    assert list(SOURCE["Mappings"]["Deployments"]) == PARAMETERS["Deployment"]["AllowedValues"]
