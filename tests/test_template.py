"""template.yaml, as SAM transforms it for CloudFormation, and samconfig.toml: what no linter can know of them."""

import importlib
import inspect
import json
import random
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from handler.backoff import backoff_seconds
from handler.environment import Environment
from handler.redelivery import RESERVE_SECONDS

ROOT = Path(__file__).parents[1]


class NoManagedPolicies:
    def load(self) -> dict[str, str]:
        return {}


def transformed() -> Any:
    """What SAM makes of the template once the code is uploaded. It wants a region, though it asks nothing of it."""
    template = yaml_parse((ROOT / "template.yaml").read_text())
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(template, {}, NoManagedPolicies())


TEMPLATE = transformed()
SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text())
PARAMETERS: dict[str, Any] = TEMPLATE["Parameters"]


def of_type(kind: str) -> dict[str, Any]:
    return {name: found["Properties"] for name, found in TEMPLATE["Resources"].items() if found["Type"] == kind}


def properties(name: str) -> Any:
    return TEMPLATE["Resources"][name]["Properties"]


def arn(name: str) -> Any:
    return {"Fn::GetAtt": [name, "Arn"]}


FUNCTIONS = of_type("AWS::Lambda::Function")
FOURTEEN_DAYS = 14 * 24 * 60 * 60
MEBIBYTE = 1024 * 1024

NOT_DEPLOYED = {"Ref": "AWS::NoValue"}


def deployed_variables(function: Any) -> dict[str, Any]:
    variables = function["Environment"]["Variables"]
    return {name: value for name, value in variables.items() if value != NOT_DEPLOYED}


def test_events_are_taken_by_one_function_and_delivered_again_by_another() -> None:
    assert {name: function["Handler"] for name, function in FUNCTIONS.items()} == {
        "DeliverFunction": "handler.app.lambda_handler",
        "RedeliverFunction": "handler.redelivery.lambda_handler",
    }


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_gets_every_variable_it_knows_and_no_other(function: Any) -> None:
    assert set(deployed_variables(function)) == {
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
def test_env_json_sets_only_variables_that_sam_local_passes_on(function: Any) -> None:
    """`sam local invoke --env-vars` drops every variable that the template does not name."""
    local = json.loads((ROOT / "env.json").read_text())["Parameters"]

    assert set(local) <= set(function["Environment"]["Variables"])


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_default_deployment_has_the_defaults_of_the_code(function: Any) -> None:
    stack = {name: parameter["Default"] for name, parameter in PARAMETERS.items()}
    stack["AWS::StackName"] = SAMCONFIG["default"]["deploy"]["parameters"]["stack_name"]
    queues = {"RETRY_QUEUE_URL": "RetryQueue", "DEAD_LETTER_QUEUE_URL": "DeadLetterQueue"}

    deployed = {
        name: str(stack.get(value["Ref"], value["Ref"]) if isinstance(value, dict) else value)
        for name, value in deployed_variables(function).items()
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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_has_its_own_role_and_a_log_group_that_goes_with_the_stack(name: str) -> None:
    function, prefix = FUNCTIONS[name], name.removesuffix("Function")

    assert function["Role"] == arn(f"{prefix}Role")
    assert function["LoggingConfig"] == {
        "LogGroup": {"Ref": f"{prefix}LogGroup"},
        "LogFormat": "JSON",
        "ApplicationLogLevel": {"Ref": "LogLevel"},
    }
    assert properties(f"{prefix}LogGroup") == {"RetentionInDays": {"Ref": "LogRetentionDays"}}


def test_every_method_on_a_path_of_its_own_reaches_the_function_and_no_other_path_does() -> None:
    (paths,) = (api["Body"]["paths"] for api in of_type("AWS::ApiGatewayV2::Api").values())

    assert paths.keys() == {"/events", "/events/{source}", "/v1/{call}"}
    for methods in paths.values():
        assert list(methods) == ["x-amazon-apigateway-any-method"]
        (method,) = methods.values()
        assert "${DeliverFunction.Arn}" in method["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]


def test_the_longest_response_budget_ends_before_segment_and_lambda_give_up() -> None:
    segment_waits_for = 5

    longest = PARAMETERS["ResponseBudgetSeconds"]["MaxValue"]

    assert longest < segment_waits_for < FUNCTIONS["DeliverFunction"]["Timeout"]


def test_the_worker_reads_the_retry_queue_in_capped_numbers_and_answers_for_each_message() -> None:
    (source,) = of_type("AWS::Lambda::EventSourceMapping").values()

    assert source == {
        "EventSourceArn": arn("RetryQueue"),
        "FunctionName": {"Ref": "RedeliverFunction"},
        "BatchSize": 100,
        "MaximumBatchingWindowInSeconds": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": {"Ref": "RetryConcurrency"}},
    }
    assert (PARAMETERS["RetryConcurrency"]["Default"], PARAMETERS["RetryConcurrency"]["MinValue"]) == (2, 2)


def test_the_worker_has_the_time_to_wait_for_the_next_window_of_calls() -> None:
    window = 60

    assert FUNCTIONS["RedeliverFunction"]["Timeout"] > window + RESERVE_SECONDS


def test_a_message_stays_hidden_for_six_times_as_long_as_the_worker_may_run() -> None:
    (source,) = of_type("AWS::Lambda::EventSourceMapping").values()
    time_out = FUNCTIONS["RedeliverFunction"]["Timeout"]

    assert properties("RetryQueue")["VisibilityTimeout"] >= 6 * time_out + source["MaximumBatchingWindowInSeconds"]


def test_a_message_that_crashes_the_worker_is_dead_with_a_week_left_to_look_at_it() -> None:
    queue = properties("RetryQueue")
    a_week = FOURTEEN_DAYS / 2

    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == arn("DeadLetterQueue")
    assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] < a_week


@pytest.mark.parametrize("seed", range(20))
def test_a_message_that_only_fails_is_never_taken_for_one_that_crashes_the_worker(seed: int) -> None:
    draw = random.Random(seed).uniform
    most, longest = properties("RetryQueue")["RedrivePolicy"]["maxReceiveCount"], PARAMETERS["RetryHours"]["MaxValue"]

    receives, age = 1, 0
    while age <= longest * 60 * 60:
        receives, age = receives + 1, age + backoff_seconds(age, draw)

    assert receives < 0.8 * most


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


SETTINGS = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter${SettingsPath}"

BOTH_MAY: dict[str, Any] = {
    "ssm:GetParametersByPath": [{"Fn::Sub": SETTINGS}, {"Fn::Sub": f"{SETTINGS}/*"}],
    "dynamodb:GetItem": [arn("DeduplicationTable")],
    "dynamodb:PutItem": [arn("DeduplicationTable")],
    "dynamodb:UpdateItem": [arn("DeduplicationTable")],
    "dynamodb:DeleteItem": [arn("DeduplicationTable")],
}


def statements(role: str) -> list[Any]:
    """Those of a role's own policies and of those attached to it."""
    own = properties(role)["Policies"]
    attached = [policy for policy in of_type("AWS::IAM::Policy").values() if {"Ref": role} in policy["Roles"]]
    return [statement for policy in own + attached for statement in policy["PolicyDocument"]["Statement"]]


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (
            "DeliverRole",
            {
                "logs:CreateLogStream": [arn("DeliverLogGroup")],
                "logs:PutLogEvents": [arn("DeliverLogGroup")],
                "sqs:SendMessage": [arn("RetryQueue"), arn("DeadLetterQueue")],
            },
        ),
        (
            "RedeliverRole",
            {
                "logs:CreateLogStream": [arn("RedeliverLogGroup")],
                "logs:PutLogEvents": [arn("RedeliverLogGroup")],
                "sqs:ReceiveMessage": [arn("RetryQueue")],
                "sqs:DeleteMessage": [arn("RetryQueue")],
                "sqs:GetQueueAttributes": [arn("RetryQueue")],
                "sqs:ChangeMessageVisibility": [arn("RetryQueue")],
                "sqs:SendMessage": [arn("DeadLetterQueue")],
            },
        ),
    ],
)
def test_a_function_may_do_only_what_it_does(role: str, may: dict[str, Any]) -> None:
    unconditional = [statement for statement in statements(role) if "Fn::If" not in statement]

    allowed = [
        (action, as_list(statement["Resource"]))
        for statement in unconditional
        for action in as_list(statement["Action"])
    ]

    assert set(properties(role)) == {"AssumeRolePolicyDocument", "Policies"}
    assert all(statement["Effect"] == "Allow" for statement in unconditional)
    assert sorted(allowed, key=str) == sorted({**BOTH_MAY, **may}.items(), key=str)


@pytest.mark.parametrize("role", of_type("AWS::IAM::Role"))
def test_a_function_may_decrypt_only_where_a_key_is_given_and_only_with_that_key(role: str) -> None:
    (conditional,) = [statement["Fn::If"] for statement in statements(role) if "Fn::If" in statement]

    condition, statement, otherwise = conditional
    assert TEMPLATE["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": "SettingsKmsKeyArn"}, ""]}]}
    assert (statement["Action"], statement["Resource"]) == ("kms:Decrypt", {"Ref": "SettingsKmsKeyArn"})
    assert otherwise == {"Ref": "AWS::NoValue"}


@pytest.mark.parametrize("role", of_type("AWS::IAM::Role"))
def test_only_lambda_may_take_a_role(role: str) -> None:
    (statement,) = properties(role)["AssumeRolePolicyDocument"]["Statement"]

    assert statement == {
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": "sts:AssumeRole",
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_is_there_before_its_permissions(name: str) -> None:
    assert TEMPLATE["Resources"][name]["DependsOn"] == "DeliveryPolicy"


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


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
