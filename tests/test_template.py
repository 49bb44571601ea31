"""template.yaml and samconfig.toml, for what `sam validate --lint` cannot know."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from handler.environment import Environment

ROOT = Path(__file__).parents[1]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]
FUNCTIONS = {
    name: resource["Properties"]
    for name, resource in TEMPLATE["Resources"].items()
    if resource["Type"] == "AWS::Serverless::Function"
}
FOURTEEN_DAYS = 14 * 24 * 60 * 60
MEBIBYTE = 1024 * 1024


def properties(name: str) -> Any:
    return TEMPLATE["Resources"][name]["Properties"]


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_gets_every_variable_it_knows_and_no_other(function: Any) -> None:
    assert set(function["Environment"]["Variables"]) == {
        "SETTINGS_PATH",
        "RETRY_QUEUE_URL",
        "DEAD_LETTER_QUEUE_URL",
        "DEDUPLICATION_TABLE",
        "RESPONSE_BUDGET_SECONDS",
        "RETRY_HOURS",
        "VOUCHERIFY_CONCURRENCY",
        "SETTINGS_TTL_SECONDS",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
    }


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_default_deployment_has_the_defaults_of_the_code(function: Any) -> None:
    stack = {name: parameter["Default"] for name, parameter in PARAMETERS.items()}
    stack["AWS::StackName"] = SAMCONFIG["default"]["deploy"]["parameters"]["stack_name"]
    queues = {"RETRY_QUEUE_URL": "RetryQueue", "DEAD_LETTER_QUEUE_URL": "DeadLetterQueue"}

    deployed = {
        name: str(stack.get(value["Ref"], value["Ref"]) if isinstance(value, dict) else value)
        for name, value in function["Environment"]["Variables"].items()
    }

    assert Environment.read(deployed) == Environment.read({**queues, "DEDUPLICATION_TABLE": "DeduplicationTable"})


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_handler_is_a_function_of_an_event_and_a_context(function: Any) -> None:
    module, name = function["Handler"].rsplit(".", 1)

    handler = getattr(importlib.import_module(module), name)

    inspect.signature(handler).bind({}, object())


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_runs_on_the_python_that_the_build_is_for(function: Any) -> None:
    assert function["Runtime"] == "python" + (ROOT / ".python-version").read_text().strip()


def test_every_method_on_the_events_path_reaches_the_function_and_no_other_path_does() -> None:
    assert FUNCTIONS["DeliverFunction"]["Events"] == {
        "Events": {"Type": "HttpApi", "Properties": {"ApiId": {"Ref": "HttpApi"}, "Path": "/events", "Method": "ANY"}}
    }


def test_the_longest_response_budget_ends_before_segment_and_lambda_give_up() -> None:
    segment_waits_for = 5

    longest = PARAMETERS["ResponseBudgetSeconds"]["MaxValue"]

    assert longest < segment_waits_for < FUNCTIONS["DeliverFunction"]["Timeout"]


def test_a_message_that_crashes_its_reader_ends_in_the_dead_letter_queue() -> None:
    redrive = properties("RetryQueue")["RedrivePolicy"]

    assert redrive["deadLetterTargetArn"] == {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert 1 < redrive["maxReceiveCount"] <= 1000


@pytest.mark.parametrize("queue", ["RetryQueue", "DeadLetterQueue"])
def test_a_queue_is_encrypted_and_keeps_whatever_sqs_can_take_for_14_days(queue: str) -> None:
    kept = properties(queue)

    assert kept["SqsManagedSseEnabled"] is True
    assert kept["MessageRetentionPeriod"] == FOURTEEN_DAYS
    assert kept["MaximumMessageSize"] == MEBIBYTE


def test_no_event_is_retried_for_longer_than_its_queue_keeps_it() -> None:
    assert PARAMETERS["RetryHours"]["MaxValue"] * 60 * 60 < FOURTEEN_DAYS


def test_the_table_is_encrypted_keyed_by_id_and_forgets_by_expiration() -> None:
    table = properties("DeduplicationTable")

    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "id", "AttributeType": "S"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiration", "Enabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}


def test_the_function_may_do_only_what_it_does() -> None:
    role = properties("DeliverRole")
    (policy,) = role["Policies"]
    statements = policy["PolicyDocument"]["Statement"]
    settings = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${SettingsPath}"

    allowed = {
        tuple(statement["Action"]) if isinstance(statement["Action"], list) else statement["Action"]: statement[
            "Resource"
        ]
        for statement in statements
        if "Fn::If" not in statement
    }

    assert "ManagedPolicyArns" not in role
    assert allowed == {
        ("logs:CreateLogStream", "logs:PutLogEvents"): {"Fn::GetAtt": ["DeliverLogGroup", "Arn"]},
        "ssm:GetParametersByPath": [{"Fn::Sub": settings}, {"Fn::Sub": f"{settings}/*"}],
        "sqs:SendMessage": [{"Fn::GetAtt": ["RetryQueue", "Arn"]}, {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}],
        ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"): {
            "Fn::GetAtt": ["DeduplicationTable", "Arn"]
        },
    }


def test_the_function_may_decrypt_only_where_a_key_is_given_and_only_with_that_key() -> None:
    (policy,) = properties("DeliverRole")["Policies"]

    (conditional,) = [item["Fn::If"] for item in policy["PolicyDocument"]["Statement"] if "Fn::If" in item]

    condition, statement, otherwise = conditional
    assert TEMPLATE["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "SettingsKmsKeyArn"}, ""]}]}
    assert (statement["Action"], statement["Resource"]) == ("kms:Decrypt", {"Ref": "SettingsKmsKeyArn"})
    assert otherwise == {"Ref": "AWS::NoValue"}


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_and_has_a_default_that_it_accepts(name: str) -> None:
    parameter = PARAMETERS[name]
    default = parameter["Default"]

    assert parameter["Description"].endswith(".")
    assert default in parameter.get("AllowedValues", [default])
    assert parameter.get("MinValue", default) <= default <= parameter.get("MaxValue", default)
    assert re.fullmatch(parameter.get("AllowedPattern", ".*"), str(default))


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("SettingsPath", "/shop/voucherify", True),
        ("SettingsPath", "voucherify", False),
        ("SettingsPath", "/voucherify/", False),
        ("SettingsPath", "/voucherify/*", False),
        ("SettingsKmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:key/0e5f2c1a-1111-2222-3333-444455556666", True),
        ("SettingsKmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:alias/settings", False),
        ("SettingsKmsKeyArn", "*", False),
    ],
)
def test_a_parameter_accepts_what_its_policy_can_be_written_for(name: str, value: str, accepted: bool) -> None:
    assert bool(re.fullmatch(PARAMETERS[name]["AllowedPattern"], value)) is accepted


@pytest.mark.parametrize("stage", [stage for stage in SAMCONFIG if stage != "version"])
def test_a_stage_sets_parameters_that_exist_and_asks_for_no_more_than_an_unnamed_role(stage: str) -> None:
    deploy = SAMCONFIG[stage]["deploy"]["parameters"]
    overrides = dict(override.split("=", 1) for override in deploy.get("parameter_overrides", []))

    assert set(overrides) <= set(PARAMETERS)
    assert deploy["capabilities"] == "CAPABILITY_IAM"
    assert SAMCONFIG[stage]["build"]["parameters"] == {"build_in_source": True}


def test_no_two_stages_share_a_stack_or_settings() -> None:
    stages = [SAMCONFIG[stage]["deploy"]["parameters"] for stage in SAMCONFIG if stage != "version"]

    stacks = {stage["stack_name"] for stage in stages}
    settings = {
        next(
            (override for override in stage.get("parameter_overrides", []) if override.startswith("SettingsPath=")), ""
        )
        for stage in stages
    }

    assert len(stacks) == len(settings) == len(stages)
