"""`doctor`: what is right, and what to do about what is not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from cli.commands import doctor
from cli.commands.doctor import CUSTOMER, _aws_cli, _retry_worker, _rows, _settings_path
from cli.target import Target
from local.stack.aws import SETTINGS_PATH, LocalAws
from local.stack.cold import start_cold
from local.stack.system import API_KEY, API_TOKEN, LocalSystem
from local.voucherify_stub.metadata import metadata_schema
from local.voucherify_stub.stub import Fault, RateLimit, VoucherifyStub
from tests.cli.conftest import SECRET, Run, invoke


@pytest.fixture
def run(watched_run: Run) -> Run:
    return watched_run


def wrong(run: Run, *arguments: str) -> dict[str, dict[str, Any]]:
    """What is wrong by its name; the exit code must say whether anything is."""
    ended = run("doctor", "--json", *arguments)
    found = {check["check"]: check for check in ended.json if not check["isFine"]}
    assert ended.code == bool(found)
    return found


def test_healthy_system(run: Run, system: LocalSystem) -> None:
    ended = run("doctor")

    assert ended.code == 0
    assert ended.out.splitlines() == [
        "✓ region: eu-west-1",
        "✓ credentials: arn:aws:sts::123456789012:user/moto",
        f"✓ stack: local, {system.url}/events",
        f"✓ settings: 9 under {SETTINGS_PATH}",
        f"✓ settings path: {SETTINGS_PATH}",
        "✓ settings of default: no faults",
        "✓ settings of app: no faults",
        "✓ deletions of app: accepted; Segment sends them to classic Webhooks only, not to Webhooks (Actions)",
        f"✓ Voucherify of default: the credentials are valid for {system.voucherify.url}",
        f"✓ Voucherify of app: the credentials are valid for {system.voucherify.url}",
        "✓ retry queue: empty",
        "✓ dead-letter queue: empty",
        "✓ deduplication table: DeduplicationTable is active",
    ]
    assert {call.method for call in system.voucherify.calls} == {"GET"}


def test_settings_inside_those_of_another_stage_are_named(aws: LocalAws) -> None:
    local = Target.local(8080)
    target = replace(local, endpoint_url=aws.url, known={**local.known, "SettingsPath": "/shop/eu/test"})
    assert _settings_path("settings path", target).is_fine
    aws.ssm.put_parameter(Name="/shop/apiKey", Value="x", Type="SecureString")
    check = _settings_path("settings path", target)
    assert not check.is_fine
    assert check.text == "/shop/eu/test is inside /shop, which another stage uses: it reads these settings too"


def test_every_fault_of_every_source_is_named(run: Run, aws: LocalAws) -> None:
    aws.put_settings(
        {
            "trackDisabled": "maybe",
            "app/trackMapping": '{"a": "metdata"}',
            "app/trackMapping.orders": '{"Order Completed": {"totl(@)": "metadata.total"}}',
            "apiTokn": f"{SECRET}1",
            "identifyMapping.vip": "{}",
        }
    )
    lines = run("doctor").out.splitlines()

    assert [line for line in lines if line.startswith("✗")] == [
        "✗ common settings: trackDisabled: must be true or false",
        "✗ settings of app: trackMapping['a']: 'metdata' is not a Voucherify field; did you mean 'metadata'?",
        "✗ settings of app: trackMapping.orders['Order Completed']['totl(@)'], character 1: "
        "JMESPath has no function totl()",
        "✗ settings of default: unknown setting apiTokn; did you mean 'apiToken'?",
        "✗ settings of default: unknown setting identifyMapping.vip; "
        "a label may follow trackMapping, pageMapping, screenMapping, orderMapping",
    ]
    assert "  run voucherify-destination settings set trackMapping --source app" in lines
    assert "  run voucherify-destination settings set trackDisabled" in lines


def test_without_settings_init_makes_them(run: Run, aws: LocalAws) -> None:
    aws.delete_settings()

    assert wrong(run)["settings"]["advice"] == "run voucherify-destination init"


@pytest.mark.parametrize("name", ["apiKey", "apiToken"])
def test_invalid_credentials(run: Run, aws: LocalAws, name: str) -> None:
    aws.put_settings({f"app/{key}": value for key, value in (("apiKey", API_KEY), ("apiToken", API_TOKEN))})
    aws.put_settings({f"app/{name}": f"{SECRET}key"})
    found = wrong(run)

    assert list(found) == ["Voucherify of app"]
    assert "Application keys" in found["Voucherify of app"]["advice"]


def test_calls_left_of_the_plan(run: Run, system: LocalSystem) -> None:
    limited = VoucherifyStub(api_key=API_KEY, api_token=API_TOKEN, limit=RateLimit(100, 3600))
    with limited:
        system.aws.put_settings({"apiUrl": limited.url})
        out = run("doctor").out

    assert "✓ plan of default: 99 of 100 calls left" in out
    assert "✓ plan of app: 98 of 100 calls left" in out


def test_queue_contents(run: Run, aws: LocalAws) -> None:
    for queue, delay in (("RETRY_QUEUE_URL", 0), ("RETRY_QUEUE_URL", 900), ("DEAD_LETTER_QUEUE_URL", 0)):
        aws.sqs.send_message(QueueUrl=aws.environment[queue], MessageBody="{}", DelaySeconds=delay)
    ended = run("doctor")

    assert ended.code == 1
    assert "✓ retry queue: 1 visible, 1 delayed" in ended.out
    assert "✗ dead-letter queue: 1 visible\n  run voucherify-destination dead-letters list" in ended.out


def test_age_of_oldest_message(run: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.sqs.send_message(QueueUrl=aws.environment["RETRY_QUEUE_URL"], MessageBody="{}")
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(doctor, "CLOCK", lambda: now)
    boto3.client("cloudwatch").put_metric_data(
        Namespace="AWS/SQS",
        MetricData=[
            {
                "MetricName": "ApproximateAgeOfOldestMessage",
                "Dimensions": [{"Name": "QueueName", "Value": "RetryQueue"}],
                "Timestamp": now - timedelta(minutes=minutes),
                "Value": seconds,
            }
            for minutes, seconds in ((20, 60.0), (2, 5400.0))
        ],
    )
    assert "✓ retry queue: 1 visible, the oldest has been in it for 1.5 hours" in run("doctor").out

    put_age(now, "VoucherifyDestination", "RetryAge", 30_000.0, service="local", source="app")
    ended = run("doctor")
    assert ended.code == 1
    assert "✗ retry queue: 1 visible, the oldest has been in it for 8.3 hours\n" in ended.out
    assert "  run voucherify-destination retries list for the reasons" in ended.out


def put_age(at: datetime, namespace: str, metric: str, seconds: float, **dimensions: str) -> None:
    named = [{"Name": name, "Value": value} for name, value in dimensions.items()]
    data = {"MetricName": metric, "Dimensions": named, "Timestamp": at - timedelta(minutes=1), "Value": seconds}
    boto3.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])  # type: ignore[list-item]


@pytest.mark.parametrize(("state", "is_fine"), [("Enabled", True), ("Disabled", False), (None, False)])
def test_a_retry_worker_that_is_stopped_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, state: str | None, is_fine: bool
) -> None:
    mappings = [{"State": state, "UUID": "uuid-1"}] if state else []
    call = vars(BaseClient)["_make_api_call"]

    def answering(self: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "ListEventSourceMappings":
            assert arguments["EventSourceArn"].endswith(":RetryQueue")
            return {"EventSourceMappings": mappings}
        return call(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", answering)
    check = _retry_worker("retry worker", Target.local(0))
    assert check.is_fine is is_fine
    assert state != "Disabled" or "--uuid uuid-1 --enabled" in check.advice


@pytest.mark.parametrize(
    ("line", "is_fine", "text"),
    [
        (None, True, "not checked: no 100 requests in the last 24 hours"),
        (
            {"events": 100, "empty_rows": [], "unread_events": 3},
            True,
            "each found something in the newest 100 events that were looked at",
        ),
        (
            {"events": 100, "empty_rows": ["trackMapping: totl → metadata.total"], "unread_events": 60},
            False,
            "trackMapping: totl → metadata.total found nothing; no row reads a property of 60 of 100 events",
        ),
    ],
)
def test_rows_that_find_nothing_are_named(
    aws: LocalAws, monkeypatch: pytest.MonkeyPatch, line: dict[str, Any] | None, is_fine: bool, text: str
) -> None:
    local = Target.local(0)
    target = replace(local, name="stack", known={**local.known, "DeliverLogGroupName": "/deliver"})
    older = {"events": 100, "empty_rows": ["trackMapping: before"], "unread_events": 0}
    lines = [(2, line), (1, older)] if line else []
    call = vars(BaseClient)["_make_api_call"]

    def answering(self: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        if operation == "FilterLogEvents":
            assert '$.message = "mapping checked"' in arguments["filterPattern"]
            return {"events": [{"timestamp": at, "message": json.dumps(one)} for at, one in lines]}
        return call(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", answering)
    check = _rows("rows of default", target, "default")
    assert (check.is_fine, check.text) == (is_fine, text)
    assert "voucherify-destination preview EVENTS" in check.advice or line is None


@pytest.mark.parametrize(
    ("headers", "text", "advice"),
    [
        ({"Retry-After": "17"}, "the calls of this window are used up (429)", "try again in 17 seconds"),
        ({"X-Rate-Limit-Type": "api_calls_cycle"}, "the plan's calls are used up (429)", "upgrade the plan"),
    ],
)
def test_a_rate_limit_is_told_from_a_plan_that_is_used_up(
    run: Run, voucherify: VoucherifyStub, headers: dict[str, str], text: str, advice: str
) -> None:
    voucherify.rule = lambda call: Fault(429, headers=headers)
    found = wrong(run)["Voucherify of default"]
    assert found["text"] == text
    assert advice in found["advice"]


def test_a_local_system_that_does_not_run_is_named_so(aws: LocalAws) -> None:
    lines = invoke("doctor", "--local", "--port", "1").out.splitlines()
    assert lines == [
        "✓ region: eu-west-1",
        "✗ credentials: no local system answers at http://127.0.0.1:2/",
        "  start it: make serve",
    ]


def test_refused_check_does_not_stop_the_others(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    call = vars(BaseClient)["_make_api_call"]

    def refusing(self: BaseClient, operation: str, arguments: dict[str, Any]) -> Any:
        if operation in ("DescribeTable", "GetParametersByPath"):
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, operation)
        return call(self, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", refusing)
    lines = invoke("doctor", "--local").out.splitlines()

    assert "✗ settings: AWS refused GetParametersByPath: AccessDeniedException: no" in lines
    assert "✓ dead-letter queue: empty" in lines
    assert "✗ deduplication table: AWS refused DescribeTable: AccessDeniedException: no" in lines


class TestEvent:
    def test_it_is_delivered_from_end_to_end(self, run: Run, voucherify: VoucherifyStub) -> None:
        ended = run("doctor", "--send-event")

        assert ended.code == 0
        assert f"It creates or updates the customer {CUSTOMER} in Voucherify" in ended.err
        assert f"✓ test event: delivered; the customer {CUSTOMER} is in Voucherify" in ended.out
        assert list(voucherify.customers) == [CUSTOMER]

    def test_it_is_not_sent_unless_asked_for(self, run: Run, voucherify: VoucherifyStub) -> None:
        run("doctor")

        assert voucherify.customers == {}

    def test_both_secrets_are_sent(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"accessToken": f"{SECRET}token"})

        assert wrong(run, "--send-event") == {}

    def test_sent_to_first_source_with_credentials(self, run: Run, aws: LocalAws, voucherify: VoucherifyStub) -> None:
        for name in ("apiKey", "apiToken"):
            aws.ssm.delete_parameter(Name=f"{SETTINGS_PATH}/{name}")
        aws.put_settings({"app/apiKey": API_KEY, "app/apiToken": API_TOKEN})
        ended = run("doctor", "--send-event")

        assert ended.code == 0
        assert "/events/app. It creates" in ended.err
        assert list(voucherify.customers) == [CUSTOMER]

    def test_what_becomes_of_it_otherwise_is_said(self, run: Run, aws: LocalAws, voucherify: VoucherifyStub) -> None:
        voucherify.rule = lambda call: Fault(503) if call.method == "POST" else None
        stored = wrong(run, "--send-event")["test event"]["text"]
        aws.put_settings({"identifyDisabled": "true"})
        start_cold()  # the function keeps its settings for a minute
        skipped = wrong(run, "--send-event")["test event"]["text"]

        assert stored == "queued, not delivered yet"
        assert skipped == "skipped: identifyDisabled is set"

    def test_with_faulty_settings_it_is_not_sent(self, run: Run, aws: LocalAws) -> None:
        aws.put_settings({"trackDisabled": "maybe"})

        assert "not sent" in wrong(run, "--send-event")["test event"]["text"]


@pytest.mark.long
def test_missing_output_ends_the_checks(aws: LocalAws) -> None:
    template = {
        "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {"EventsUrl": {"Value": "https://events.example/events"}},
    }
    client = boto3.client("cloudformation")
    client.create_stack(StackName="of-doctor", TemplateBody=json.dumps(template))
    try:
        lines = invoke("doctor", "--stack", "of-doctor").out.splitlines()
    finally:
        client.delete_stack(StackName="of-doctor")

    assert lines[-2:] == [
        "✗ stack: stack of-doctor has no output or parameter TrackingApiUrl",
        "  deploy the current version of the stack (make deploy)",
    ]


def test_missing_aws_credentials_end_the_checks(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    ended = invoke("doctor")

    assert ended.code == 1
    assert ended.out.splitlines()[-2:] == [
        "✗ credentials: no AWS credentials found",
        "  run aws configure or aws sso login",
    ]


def test_the_help_has_examples() -> None:
    assert "doctor --send-event" in " ".join(invoke("doctor", "--help").out.split())


def test_rows_that_do_not_fit_the_metadata_schemas_are_named(run: Run, aws: LocalAws, system: LocalSystem) -> None:
    required = {"type": "string", "optional": False}
    system.voucherify.metadata_schemas = [
        metadata_schema("customer", strict=True, plan=required, age={"type": "number"}),
        metadata_schema("Order Completed", strict=True, amount={"type": "number"}),
        metadata_schema("order", shop=required),
    ]
    aws.put_settings(
        {
            "identifyMapping": '{"age": "customer.metadata.age.years", "size": "customer.metadata.size"}',
            "trackMapping": '{"coupon": "metadata.coupon", "total": "metadata.amount"}',
            "trackMapping.done": '{"Order Completed": {"coupon": "metadata.voucher"}}',
            "trackMapping.views": '{"Product *": {"plan": "customer.metadata.plan.name"}}',
            "orderEvents": '{"Order Completed": "PAID"}',
        }
    )
    text = wrong(run)["metadata of default"]["text"]

    assert text.split("; ") == [
        "identifyMapping: age → customer.metadata.age.years is left out of every event: "
        "age is of type number in the schema, not an object",
        "identifyMapping: size → customer.metadata.size is left out of every event: "
        "the schema does not define it, and allows only defined metadata",
        "identifyMapping: no row fills customer.metadata.plan, which is required in every event",
        "trackMapping.views['Product *']: plan → customer.metadata.plan.name is left out of every event: "
        "plan is of type string in the schema, not an object",
        "trackMapping.done['Order Completed']: coupon → metadata.voucher is left out of 'Order Completed': "
        "the schema does not define it, and allows only defined metadata",
        "orderMapping (default): no row fills order.metadata.shop, which is required in every order",
    ]


def test_mapping_that_fits_is_fine(run: Run, system: LocalSystem) -> None:
    system.voucherify.metadata_schemas = [metadata_schema("customer", plan={"type": "string"})]

    assert "✓ metadata of default: the mapping fits the project's metadata schemas" in run("doctor").out


def test_schemas_that_cannot_be_read_are_no_fault(run: Run, system: LocalSystem) -> None:
    forbidden = Fault(403)
    system.voucherify.rule = lambda request: forbidden if request.path == "/v1/metadata-schemas" else None
    ended = run("doctor")

    assert ended.code == 0
    assert "✓ metadata of default: not checked" in ended.out


@pytest.mark.parametrize(
    ("shown", "is_fine", "text"),
    [
        ("aws-cli/2.31.0 Python/3.13.7 Linux/6.1", True, "version 2.31.0"),
        ("aws-cli/1.44.2 Python/3.12.1 Linux/6.1 botocore/1.42.2", False, "version 1.44.2"),
        ("", False, "version unknown"),
    ],
)
def test_the_aws_cli_must_have_version_2_for_the_lines_of_the_runbook(
    shown: str, is_fine: bool, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "aws"
    program.write_text(f"#!/bin/sh\necho '{shown}'\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    check = _aws_cli("AWS CLI")

    assert (check.is_fine, check.text) == (is_fine, text)


def test_the_aws_cli_need_not_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    check = _aws_cli("AWS CLI")

    assert check.is_fine
    assert "the shell lines of docs/runbook.md need version 2" in check.text
