"""Rules for template.yaml and samconfig.toml that no linter knows. Versions and watching have files of their own."""

from __future__ import annotations

import importlib
import inspect
import json
import random
import re
import tomllib
from dataclasses import replace
from graphlib import TopologicalSorter
from typing import Any

import pytest

from handler.delivery.backoff import backoff_seconds
from handler.retry_worker import RESERVE_SECONDS
from handler.settings.environment import Environment
from tests.repo.stack import (
    ALTERNATIVE,
    BOTH,
    CERTIFICATE,
    COMBINATIONS,
    DATA_KEY,
    DEFAULT,
    DEFAULTS,
    EACH_FUNCTION,
    FUNCTIONS,
    KEY,
    PARAMETERS,
    PSEUDO,
    ROOT,
    SOURCE,
    SWITCHES,
    Stack,
    another,
    arn,
    as_list,
    function,
    named_in,
    names_in,
    ref,
    stage,
    transformed,
    transformed_for,
    waited_for,
    waits_for,
)

SAMCONFIG = tomllib.loads((ROOT / "samconfig.toml").read_text("utf-8"))

FOURTEEN_DAYS = 14 * 24 * 60 * 60
MEBIBYTE = 1024 * 1024

# ---- the transform


def test_sam_looks_at_no_parameter_but_the_deployment() -> None:
    """So two transforms are enough for all combinations."""
    others = {name: another(name) for name in PARAMETERS if name != "Deployment"}

    assert {switch: default for switch, (default, _) in SWITCHES.items()}.items() <= DEFAULTS.items()
    assert transformed(SOURCE, {**DEFAULTS, **others}) == transformed_for("AllAtOnce")
    assert transformed_for(another("Deployment")) != transformed_for("AllAtOnce")


def test_every_reference_resolves_under_every_combination() -> None:
    for combination in COMBINATIONS:
        stack = Stack(**combination)
        there = {*stack.resources, *PSEUDO, "AWS::NoValue"}
        named = {*named_in(stack.outputs)}.union(*(names_in(resource) for resource in stack.resources.values()))
        assert named <= there, combination


@pytest.mark.slow
@BOTH
def test_deployed_template_is_lint_clean(stack: Stack) -> None:
    """`make lint` sees the default only, and before the conditions are decided."""
    from cfnlint.api import lint  # takes a second, which only this test needs
    from cfnlint.config import ManualArgs

    template = {"Resources": stack.resources, "Outputs": stack.outputs}

    # SAM gives what belongs to a function its UpdateReplacePolicy: see template.yaml.
    found = lint(json.dumps(template), config=ManualArgs(regions=["eu-west-1"], ignore_checks=["W3011"]))

    assert [f"{match.rule.id} {match.message} {match.path}" for match in found] == []


@BOTH
def test_nothing_outlives_the_stack(stack: Stack) -> None:
    """Lambda deletes a function with its versions, so what is retained of those ends with the stack too."""
    with_content = {"AWS::Logs::LogGroup", "AWS::SQS::Queue", "AWS::DynamoDB::Table"}

    for name, resource in stack.resources.items():
        if resource["Type"] != "AWS::Lambda::Version":
            default = "not said" if resource["Type"] in with_content else "Delete"
            assert resource.get("DeletionPolicy", default) == "Delete", name


def test_every_skip_of_checkov_has_a_reason() -> None:
    for name, resource in SOURCE["Resources"].items():
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert skip["comment"].endswith("."), (name, skip["id"])


# ---- the functions


def test_one_function_takes_events_and_another_retries_them() -> None:
    assert {name: function(name)["Handler"] for name in FUNCTIONS} == {
        "DeliverFunction": "handler.app.lambda_handler",
        "RedeliverFunction": "handler.redelivery.lambda_handler",
    }


@EACH_FUNCTION
def test_function_gets_exactly_the_variables_that_it_reads(name: str) -> None:
    assert set(function(name)["Environment"]["Variables"]) == {
        "SETTINGS_PATH",
        "RETRY_QUEUE_URL",
        "DEAD_LETTER_QUEUE_URL",
        "DEDUPLICATION_TABLE",
        "RESPONSE_BUDGET_SECONDS",
        "RETRY_HOURS",
        "VOUCHERIFY_CONCURRENCY",
        "SETTINGS_TTL_SECONDS",
        "CONNECT_TIMEOUT_SECONDS",
        "SSM_TIMEOUT_SECONDS",
        "SQS_TIMEOUT_SECONDS",
        "DYNAMODB_TIMEOUT_SECONDS",
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_METRICS_NAMESPACE",
        "POWERTOOLS_LOG_LEVEL",
    }


def test_lambda_and_powertools_have_the_same_log_level() -> None:
    """Powertools warns where Lambda's is higher, and Lambda drops what it would write."""
    function = SOURCE["Globals"]["Function"]

    level = function["Environment"]["Variables"]["POWERTOOLS_LOG_LEVEL"]
    assert function["LoggingConfig"] == {"LogFormat": "JSON", "ApplicationLogLevel": level}


def test_env_json_sets_only_variables_that_sam_local_passes_on() -> None:
    """`sam local invoke --env-vars` drops every variable that the template does not name."""
    local = json.loads((ROOT / "env.json").read_text("utf-8"))["Parameters"]

    assert set(local) <= set(SOURCE["Globals"]["Function"]["Environment"]["Variables"])


@EACH_FUNCTION
def test_default_deployment_has_the_defaults_of_the_code(name: str) -> None:
    queues = {"RETRY_QUEUE_URL": "RetryQueue", "DEAD_LETTER_QUEUE_URL": "DeadLetterQueue"}

    deployed = {
        variable: str(PSEUDO.get(value["Ref"], value["Ref"]) if isinstance(value, dict) else value)
        for variable, value in function(name)["Environment"]["Variables"].items()
    }

    assert PSEUDO["AWS::StackName"] == SAMCONFIG["default"]["deploy"]["parameters"]["stack_name"]
    defaults = Environment.read({**queues, "DEDUPLICATION_TABLE": "DeduplicationTable"})
    if name == "RedeliverFunction":  # nobody waits for its answer
        defaults = replace(defaults, ssm_timeout_seconds=5.0, sqs_timeout_seconds=5.0, dynamodb_timeout_seconds=5.0)
    assert Environment.read(deployed) == defaults


@EACH_FUNCTION
def test_handler_takes_an_event_and_a_context(name: str) -> None:
    module, handler = function(name)["Handler"].rsplit(".", 1)

    found = getattr(importlib.import_module(module), handler)

    inspect.signature(found).bind({}, object())


@EACH_FUNCTION
def test_function_runs_on_the_python_of_the_build(name: str) -> None:
    assert function(name)["Runtime"] == "python" + (ROOT / ".python-version").read_text("utf-8").strip()


@EACH_FUNCTION
def test_function_has_its_own_role_and_log_group_and_is_traced(name: str) -> None:
    prefix = name.removesuffix("Function")

    assert function(name)["Role"] == arn(f"{prefix}Role")
    assert function(name)["LoggingConfig"] == {
        "LogGroup": ref(f"{prefix}LogGroup"),
        "LogFormat": "JSON",
        "ApplicationLogLevel": "INFO",
    }
    assert function(name)["TracingConfig"] == {"Mode": "Active"}


@EACH_FUNCTION
def test_parameters_change_the_properties_of_a_function(name: str) -> None:
    switched = ALTERNATIVE.properties(name)

    assert (function(name)["Architectures"], switched["Architectures"]) == (["arm64"], ["x86_64"])
    assert function(name)["SnapStart"] == {"ApplyOn": "None"}
    assert switched["SnapStart"] == {"ApplyOn": "PublishedVersions"}
    assert switched["TracingConfig"] == {"Mode": "PassThrough"}
    assert "ReservedConcurrentExecutions" not in function(name)
    assert switched.get("ReservedConcurrentExecutions") == ("50" if name == "DeliverFunction" else None)


def test_longest_response_budget_ends_before_segment_and_lambda_time_out() -> None:
    segment_waits_for = 5

    longest = PARAMETERS["ResponseBudgetSeconds"]["MaxValue"]

    assert longest < segment_waits_for < function("DeliverFunction")["Timeout"]


# ---- the API and the worker's queue


def test_api_routes_every_method_of_its_paths_and_no_other_path() -> None:
    (paths,) = (api["Body"]["paths"] for api in DEFAULT.of_type("AWS::ApiGatewayV2::Api").values())

    assert paths.keys() == {"/events", "/events/{source}", "/v1/{call+}"}
    for methods in paths.values():
        assert list(methods) == ["x-amazon-apigateway-any-method"]
        (method,) = methods.values()
        assert "${DeliverFunctionAliaslive}" in method["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]


def test_default_endpoint_can_be_switched_off_beside_a_domain_name() -> None:
    def is_disabled(stack: Stack) -> Any:
        (server,) = stack.properties("HttpApi")["Body"]["servers"]
        return server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"]

    assert is_disabled(DEFAULT) is False
    assert is_disabled(ALTERNATIVE) is True
    assert "ApiDomainName" not in DEFAULT.resources
    assert ALTERNATIVE.properties("ApiDomainMapping") == {
        "ApiId": ref("HttpApi"),
        "DomainName": ref("ApiDomainName"),
        "Stage": ref("HttpApiApiGatewayDefaultStage"),
    }
    assert ALTERNATIVE.outputs["EventsUrl"]["Value"] == "https://events.example.com/events"
    assert ALTERNATIVE.outputs["TrackingApiUrl"]["Value"] == "https://events.example.com"
    assert DEFAULT.outputs["EventsUrl"]["Value"] == {"Fn::Sub": "${HttpApi.ApiEndpoint}/events"}


@pytest.mark.parametrize(
    ("parameters", "accepted"),
    [
        ({}, True),
        ({"DefaultEndpoint": "off"}, False),
        ({"DomainName": "events.example.com"}, False),
        ({"DomainName": "events.example.com", "DomainCertificateArn": CERTIFICATE}, True),
        ({"DomainName": "events.example.com", "DomainCertificateArn": CERTIFICATE, "DefaultEndpoint": "off"}, True),
        ({"MonthlyBudget": "20"}, False),
        ({"MonthlyBudget": "20", "AlarmEmail": "someone@example.com"}, True),
    ],
)
def test_what_needs_another_parameter_is_refused_without_it(parameters: dict[str, str], accepted: bool) -> None:
    assertions = [part["Assert"] for rule in SOURCE["Rules"].values() for part in rule["Assertions"]]

    assert all(map(Stack(**parameters).is_met, assertions)) is accepted


def test_api_is_throttled() -> None:
    assert stage()["DefaultRouteSettings"] == {"ThrottlingRateLimit": "100", "ThrottlingBurstLimit": "200"}


def test_access_log_has_no_data_of_the_sender_or_the_body() -> None:
    log = stage()["AccessLogSettings"]

    line = json.loads(log["Format"])

    assert log["DestinationArn"] == arn("ApiLogGroup")
    assert set(line.values()) == {
        "$context.requestId",
        "$context.httpMethod",
        "$context.routeKey",
        "$context.status",
        "$context.error.message",
        "$context.responseLatency",
        "$context.responseLength",
        "$context.integrationStatus",
        "$context.integrationErrorMessage",
        "$context.integrationLatency",
    }


def test_log_groups_belong_to_the_stack_and_expire() -> None:
    groups = Stack(LogRetentionDays="7").of_type("AWS::Logs::LogGroup")

    assert set(groups) == {"DeliverLogGroup", "RedeliverLogGroup", "ApiLogGroup"}
    assert {group["RetentionInDays"] for group in groups.values()} == {"7"}
    assert groups["ApiLogGroup"]["LogGroupName"].startswith("/aws/vendedlogs/")


@pytest.mark.scenario(row=30)
def test_worker_reads_the_retry_queue_with_capped_concurrency() -> None:
    (source,) = DEFAULT.of_type("AWS::Lambda::EventSourceMapping").values()

    assert source == {
        "EventSourceArn": arn("RetryQueue"),
        "FunctionName": ref("RedeliverFunctionAliaslive"),
        "BatchSize": 1000,
        "MaximumBatchingWindowInSeconds": 1,
        "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": "2"},
    }
    assert PARAMETERS["RetryConcurrency"]["MinValue"] == 2


def test_worker_has_time_to_wait_for_the_next_rate_limit_window() -> None:
    window = 60

    assert function("RedeliverFunction")["Timeout"] > window + RESERVE_SECONDS


def test_visibility_timeout_is_six_times_the_timeout_of_the_worker() -> None:
    (source,) = DEFAULT.of_type("AWS::Lambda::EventSourceMapping").values()
    time_out = function("RedeliverFunction")["Timeout"]

    hidden = DEFAULT.properties("RetryQueue")["VisibilityTimeout"]

    assert hidden >= 6 * time_out + source["MaximumBatchingWindowInSeconds"]


@pytest.mark.scenario(row=27)
def test_poison_message_is_dead_lettered_a_week_before_it_expires() -> None:
    queue = DEFAULT.properties("RetryQueue")
    a_week = FOURTEEN_DAYS / 2

    assert queue["RedrivePolicy"]["deadLetterTargetArn"] == arn("DeadLetterQueue")
    assert queue["RedrivePolicy"]["maxReceiveCount"] * queue["VisibilityTimeout"] < a_week


@pytest.mark.parametrize("seed", range(20))
def test_failing_message_never_reaches_the_receives_of_a_poison_message(seed: int) -> None:
    draw = random.Random(seed).uniform
    most = DEFAULT.properties("RetryQueue")["RedrivePolicy"]["maxReceiveCount"]

    receives, age = 1, 0
    while age <= PARAMETERS["RetryHours"]["MaxValue"] * 60 * 60:
        receives, age = receives + 1, age + backoff_seconds(age, draw)

    assert receives < 0.8 * most


@pytest.mark.parametrize("queue", ["RetryQueue", "DeadLetterQueue"])
def test_queue_is_encrypted_and_keeps_messages_for_14_days(queue: str) -> None:
    kept, with_key = DEFAULT.properties(queue), Stack(DataKmsKeyArn=f"{DATA_KEY},{KEY}").properties(queue)

    assert (kept["SqsManagedSseEnabled"], kept.get("KmsMasterKeyId")) == (True, None)
    assert (with_key.get("SqsManagedSseEnabled"), with_key["KmsMasterKeyId"]) == (None, DATA_KEY)
    assert kept["MessageRetentionPeriod"] == FOURTEEN_DAYS
    assert kept["MaximumMessageSize"] == MEBIBYTE


def test_retries_end_before_the_queue_expires_the_message() -> None:
    assert PARAMETERS["RetryHours"]["MaxValue"] * 60 * 60 < FOURTEEN_DAYS


def test_table_is_encrypted_and_expires_its_items() -> None:
    table = DEFAULT.properties("DeduplicationTable")

    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert table["AttributeDefinitions"] == [{"AttributeName": "id", "AttributeType": "S"}]
    assert table["TimeToLiveSpecification"] == {"AttributeName": "expiration", "Enabled": True}
    assert table["SSESpecification"] == {"SSEEnabled": True}
    assert Stack(DataKmsKeyArn=f"{DATA_KEY},{KEY}").properties("DeduplicationTable")["SSESpecification"] == {
        "SSEEnabled": True,
        "SSEType": "KMS",
        "KMSMasterKeyId": DATA_KEY,
    }


@BOTH
def test_replaced_queues_and_table_keep_what_they_hold(stack: Stack) -> None:
    with_data = {"AWS::SQS::Queue", "AWS::DynamoDB::Table"}

    retained = {found["UpdateReplacePolicy"] for found in stack.resources.values() if found["Type"] in with_data}

    assert retained == {"Retain"}


def test_while_the_table_is_protected_the_queues_outlive_the_deletion_of_the_stack_too() -> None:
    """CloudFormation deletes last what others wait for."""
    assert DEFAULT.properties("DeduplicationTable")["DeletionProtectionEnabled"] is False
    assert Stack(DeletionProtection="on").properties("DeduplicationTable")["DeletionProtectionEnabled"] is True
    assert {"RetryQueue", "DeadLetterQueue"} <= waited_for(DEFAULT, "DeduplicationTable")


# ---- roles

SETTINGS = "arn:aws:ssm:eu-west-1:123456789012:parameter/voucherify-destination"

BOTH_MAY: dict[str, list[Any]] = {
    "ssm:GetParametersByPath": [SETTINGS, f"{SETTINGS}/*"],
    "dynamodb:GetItem": [arn("DeduplicationTable")],
    "dynamodb:PutItem": [arn("DeduplicationTable")],
    "dynamodb:UpdateItem": [arn("DeduplicationTable")],
    "dynamodb:DeleteItem": [arn("DeduplicationTable")],
}
MAY: dict[str, dict[str, list[Any]]] = {
    "DeliverRole": {
        **BOTH_MAY,
        "logs:CreateLogStream": [arn("DeliverLogGroup")],
        "logs:PutLogEvents": [arn("DeliverLogGroup")],
        "sqs:SendMessage": [arn("RetryQueue"), arn("DeadLetterQueue")],
    },
    "RedeliverRole": {
        **BOTH_MAY,
        "logs:CreateLogStream": [arn("RedeliverLogGroup")],
        "logs:PutLogEvents": [arn("RedeliverLogGroup")],
        "sqs:ReceiveMessage": [arn("RetryQueue")],
        "sqs:DeleteMessage": [arn("RetryQueue")],
        "sqs:GetQueueAttributes": [arn("RetryQueue")],
        "sqs:ChangeMessageVisibility": [arn("RetryQueue")],
        "sqs:SendMessage": [arn("RetryQueue"), arn("DeadLetterQueue")],
    },
}
MAY_TRACE: dict[str, list[Any]] = {"xray:PutTraceSegments": ["*"], "xray:PutTelemetryRecords": ["*"]}
ALIASES = [
    target for name in FUNCTIONS for target in (arn(name), {"Fn::Sub": f"${{{name}.Arn}}:*"})
]  # the function's own ARN, and with the alias


def holders_and_statements(stack: Stack, role: str) -> list[tuple[str, Any]]:
    """Return the statements of a role's own policies and of those attached to it, each with its resource."""
    own = [(role, policy) for policy in stack.properties(role)["Policies"]]
    policies = stack.of_type("AWS::IAM::Policy")
    attached = [(name, policy) for name, policy in policies.items() if ref(role) in policy["Roles"]]
    return [(name, statement) for name, policy in own + attached for statement in policy["PolicyDocument"]["Statement"]]


def statements(stack: Stack, role: str) -> list[Any]:
    return [statement for _, statement in holders_and_statements(stack, role)]


def allowed(stack: Stack, role: str) -> dict[str, list[Any]]:
    """Return the resources of each action that a role allows."""
    assert set(stack.properties(role)) == {"AssumeRolePolicyDocument", "Policies"}, "unnamed, no managed policy"
    assert all(statement["Effect"] == "Allow" for statement in statements(stack, role))
    pairs = [
        (action, as_list(statement["Resource"]))
        for statement in statements(stack, role)
        for action in as_list(statement["Action"])
    ]
    assert len(pairs) == len(dict(pairs)), "no action twice"
    return dict(pairs)


def allowed_with_keys(stack: Stack, role: str) -> list[Any]:
    """Return the resources and the services of each statement about keys."""
    return [
        (as_list(statement["Action"]), statement["Resource"], statement["Condition"]["StringEquals"]["kms:ViaService"])
        for statement in statements(stack, role)
        if str(statement["Action"]).count("kms:")
    ]


@pytest.mark.parametrize("role", MAY)
def test_role_has_only_the_permissions_that_the_function_needs(role: str) -> None:
    assert allowed(Stack(), role) == {**MAY[role], **MAY_TRACE}
    assert allowed(Stack(Tracing="PassThrough"), role) == MAY[role]


@pytest.mark.parametrize("role", MAY)
def test_role_may_use_only_the_given_keys_through_the_services_that_encrypt_with_them(role: str) -> None:
    both_keys = Stack(SettingsKmsKeyArn=f"{KEY},{DATA_KEY}", DataKmsKeyArn=f"{DATA_KEY},{KEY}")
    of_settings = (["kms:Decrypt"], [KEY, DATA_KEY], "ssm.eu-west-1.amazonaws.com")
    services = ["sqs.eu-west-1.amazonaws.com", "dynamodb.eu-west-1.amazonaws.com"]
    of_data = (["kms:Decrypt", "kms:GenerateDataKey"], [DATA_KEY, KEY], services)

    assert allowed_with_keys(both_keys, role) == [of_settings, of_data]
    assert allowed(Stack(SettingsKmsKeyArn=KEY), role) == {**MAY[role], **MAY_TRACE, "kms:Decrypt": [KEY]}
    assert allowed_with_keys(DEFAULT, role) == []


def test_codedeploy_may_move_the_aliases_and_read_alarms() -> None:
    assert allowed(ALTERNATIVE, "DeploymentRole") == {
        "lambda:GetAlias": ALIASES,
        "lambda:UpdateAlias": ALIASES,
        "lambda:GetProvisionedConcurrencyConfig": ALIASES,
        "cloudwatch:DescribeAlarms": ["arn:aws:cloudwatch:eu-west-1:123456789012:alarm:*"],
    }


@BOTH
def test_only_its_service_may_assume_a_role(stack: Stack) -> None:
    services = {**dict.fromkeys(MAY, "lambda.amazonaws.com"), "DeploymentRole": "codedeploy.amazonaws.com"}

    for name, role in stack.of_type("AWS::IAM::Role").items():
        assert role["AssumeRolePolicyDocument"]["Statement"] == [
            {"Effect": "Allow", "Principal": {"Service": services[name]}, "Action": "sts:AssumeRole"}
        ]


def needed_by(stack: Stack, name: str) -> set[tuple[str, str]]:
    """Return the permissions that a function's configuration needs: pairs of an action and its resource."""
    properties = stack.properties(name)
    needed = {("ssm:GetParametersByPath", f"{SETTINGS}/*")}
    needed |= {("logs:PutLogEvents", str(arn(properties["LoggingConfig"]["LogGroup"]["Ref"])))}
    variables = properties["Environment"]["Variables"]
    for variable in ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"):
        needed |= {("sqs:SendMessage", str(arn(variables[variable]["Ref"])))}
    for action in ("GetItem", "PutItem", "UpdateItem", "DeleteItem"):
        needed |= {(f"dynamodb:{action}", str(arn(variables["DEDUPLICATION_TABLE"]["Ref"])))}
    if properties["TracingConfig"]["Mode"] == "Active":
        needed |= {("xray:PutTraceSegments", "*"), ("xray:PutTelemetryRecords", "*")}
    if stack.parameters["SettingsKmsKeyArn"]:
        needed |= {("kms:Decrypt", KEY)}
    if stack.parameters["DataKmsKeyArn"]:
        needed |= {(f"kms:{action}", key) for action in ("Decrypt", "GenerateDataKey") for key in (DATA_KEY, KEY)}
    for mapping in stack.of_type("AWS::Lambda::EventSourceMapping").values():
        if mapping["FunctionName"] == ref(f"{name}Aliaslive"):
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility"):
                needed |= {(f"sqs:{action}", str(mapping["EventSourceArn"]))}
    return needed


@EACH_FUNCTION
def test_function_waits_for_every_permission_that_its_configuration_needs(name: str) -> None:
    """Otherwise the deployment races: Lambda refuses traces without their permission, and events without theirs."""
    role = f"{name.removesuffix('Function')}Role"
    for combination in COMBINATIONS:
        stack = Stack(**combination)
        before = waited_for(stack, name)
        granted = {
            (action, str(resource))
            for holder, statement in holders_and_statements(stack, role)
            if holder in before
            for action in as_list(statement["Action"])
            for resource in as_list(statement["Resource"])
        }
        assert needed_by(stack, name) <= granted, combination
        assert {holder for holder, _ in holders_and_statements(stack, role)} <= before, combination


@pytest.mark.parametrize("name", ["RetryQueue", "DeadLetterQueue", "DeduplicationTable"])
def test_what_is_encrypted_with_a_key_waits_for_the_permission_to_use_it(name: str) -> None:
    """Otherwise an event could be stored nowhere between the two updates."""
    stack = Stack(DataKmsKeyArn=DATA_KEY)

    for role in MAY:
        ((holder, _),) = (
            (holder, statement)
            for holder, statement in holders_and_statements(stack, role)
            if "kms:GenerateDataKey" in statement["Action"]
        )
        assert holder in waited_for(stack, name)


def test_no_resource_waits_for_itself() -> None:
    for combination in COMBINATIONS:
        stack = Stack(**combination)
        TopologicalSorter({name: waits_for(stack, name) for name in stack.resources}).prepare()  # raises CycleError


# ---- outputs and parameters


def test_what_aws_shows_is_ascii() -> None:
    """CloudFormation writes a question mark for each other character."""
    assert str(SOURCE).isascii()


def test_budget_counts_this_stack_and_tells_the_address_for_alarms() -> None:
    budget = ALTERNATIVE.properties("Budget")

    assert "Budget" not in DEFAULT.resources
    assert budget["Budget"]["BudgetLimit"] == {"Amount": "20", "Unit": "USD"}
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": ["aws:cloudformation:stack-name$voucherify-destination"]}
    assert [
        (one["Notification"]["NotificationType"], one["Subscribers"]) for one in budget["NotificationsWithSubscribers"]
    ] == [
        (kind, [{"SubscriptionType": "EMAIL", "Address": "someone@example.com"}]) for kind in ("ACTUAL", "FORECASTED")
    ]


def test_outputs_are_complete_and_described() -> None:
    assert set(ALTERNATIVE.outputs) - set(DEFAULT.outputs) == {"DomainTarget"}
    assert set(DEFAULT.outputs) == {
        "EventsUrl",
        "TrackingApiUrl",
        "RedriveCommand",
        "RetryQueueUrl",
        "DeadLetterQueueUrl",
        "DeduplicationTableName",
        "DashboardUrl",
        "DeliverFunctionName",
        "RedeliverFunctionName",
        "DeliverLogGroupName",
        "RedeliverLogGroupName",
        "ApiLogGroupName",
        "NextStep",
    }
    assert all(output["Description"].endswith(".") for output in ALTERNATIVE.outputs.values())


def accepts(name: str, value: str) -> bool:
    """Return whether CloudFormation accepts the value."""
    kind = PARAMETERS[name]
    if value not in map(str, kind.get("AllowedValues", [value])):
        return False
    if kind["Type"] == "Number":
        return bool(kind.get("MinValue", 0) <= int(value) <= kind.get("MaxValue", float("inf")))
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html
    each = value.split(",") if kind["Type"] == "CommaDelimitedList" else [value]
    pattern = kind.get("AllowedPattern", ".*")
    return all(re.fullmatch(pattern, one) for one in each) and len(value) <= kind.get("MaxLength", 4096)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_is_described_and_limited_and_accepts_its_default(name: str) -> None:
    kind = PARAMETERS[name]

    assert kind["Description"].endswith(".")
    assert accepts(name, DEFAULTS[name])
    assert "AllowedValues" in kind or "AllowedPattern" in kind or {"MinValue", "MaxValue"} <= set(kind)
    assert ("AllowedPattern" in kind) is ("ConstraintDescription" in kind)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("SettingsPath", "/shop/voucherify", True),
        ("SettingsPath", "voucherify", False),
        ("SettingsPath", "/voucherify/", False),
        ("SettingsPath", "/voucherify/*", False),
        ("SettingsPath", "/" + "v" * 128, False),
        ("SettingsKmsKeyArn", KEY, True),
        ("SettingsKmsKeyArn", "arn:aws:kms:eu-west-1:123456789012:alias/settings", False),
        ("SettingsKmsKeyArn", "*", False),
        ("SettingsKmsKeyArn", f"{KEY},{DATA_KEY}", True),
        ("DataKmsKeyArn", f"{KEY},alias/data", False),
        ("AlarmEmail", "alarms@example.com", True),
        ("AlarmEmail", "alarms", False),
        ("AlarmEmail", "a@example.com, b@example.com", False),
        ("NothingReceivedHours", "24", True),
        ("NothingReceivedHours", "168", False),
        ("Deployment", "Canary10Percent30Minutes", False),
    ],
)
def test_parameter_accepts_only_valid_values(name: str, value: str, accepted: bool) -> None:
    assert accepts(name, value) is accepted


def test_parameters_have_a_group_and_a_label() -> None:
    interface = SOURCE["Metadata"]["AWS::CloudFormation::Interface"]

    grouped = [name for group in interface["ParameterGroups"] for name in group["Parameters"]]

    assert grouped == list(PARAMETERS), "in the order of the template"
    assert list(interface["ParameterLabels"]) == list(PARAMETERS)


# ---- samconfig.toml

STAGES = {
    stage: sections["deploy"]["parameters"]
    for stage, sections in SAMCONFIG.items()
    if stage not in ("version", "container")
}


def overrides(stage: str) -> dict[str, str]:
    """Return the parameters of a stage, as the SAM CLI reads them."""
    from samcli.cli.types import CfnParameterOverridesType  # takes a second, which only these tests need

    read: dict[str, str] = CfnParameterOverridesType().convert(STAGES[stage]["parameter_overrides"], None, None)
    return read


@pytest.mark.parametrize("stage", STAGES)
def test_stage_sets_every_parameter_and_needs_only_capability_iam(stage: str) -> None:
    """For a missing one `sam deploy` keeps the value of the last deployment, also after a new default."""
    assert list(overrides(stage)) == list(PARAMETERS)
    assert all(accepts(name, value) for name, value in overrides(stage).items())
    assert STAGES[stage]["capabilities"] == "CAPABILITY_IAM"
    assert STAGES[stage]["tags"] == ["application=voucherify-destination", f"stage={stage}"]
    assert SAMCONFIG[stage]["build"]["parameters"] == {"build_in_source": True}


def test_stages_have_the_defaults_apart_from_what_makes_them_a_stage() -> None:
    assert list(STAGES) == ["default", "prod"]
    assert overrides("default") == DEFAULTS
    changed = {name: value for name, value in overrides("prod").items() if value != DEFAULTS[name]}
    assert changed == {
        "SettingsPath": "/voucherify-destination-prod",
        "DeletionProtection": "on",
        "LogRetentionDays": "90",
    }


def test_stages_share_no_stack_and_no_settings() -> None:
    for part in (
        {parameters["stack_name"] for parameters in STAGES.values()},
        {overrides(name)["SettingsPath"] for name in STAGES},
    ):
        assert len(part) == len(STAGES)


def test_the_build_in_a_container_gets_no_option_that_sam_refuses_with_it() -> None:
    assert SAMCONFIG["container"] == {"build": {"parameters": {"use_container": True}}}
