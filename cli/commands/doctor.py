"""`doctor`: one line for each thing that must be right, with what to do where it is not."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.settings.keys import ask_voucherify
from cli.settings.store import parameters_of, settings_of, sources_in
from cli.target import Target
from handler.api.authentication import Secrets, signature
from handler.model.errors import FaultySettings
from handler.settings.setting_types import Parameter
from handler.settings.settings import SETTINGS, Settings
from handler.settings.sources import DEFAULT_SOURCE
from mapping import nearest

EPILOG = "Examples: voucherify-destination doctor; voucherify-destination doctor --send-event --json"

CUSTOMER = "voucherify-destination-doctor"

_TIMEOUT_SECONDS = 10.0

_OUTPUTS = (
    "EventsUrl",
    "TrackingApiUrl",
    "SettingsPath",
    "RetryQueueUrl",
    "DeadLetterQueueUrl",
    "DeduplicationTableName",
)
_QUEUE_COUNTS: Mapping[str, Any] = {
    "ready": "ApproximateNumberOfMessages",
    "being worked on": "ApproximateNumberOfMessagesNotVisible",
    "waiting for their time": "ApproximateNumberOfMessagesDelayed",
}


@dataclass(frozen=True)
class Check:
    """What was looked at, and how it is: fine, or wrong and what to do."""

    check: str
    is_fine: bool
    text: str
    advice: str = ""

    @property
    def document(self) -> dict[str, Any]:
        return {"check": self.check, "isFine": self.is_fine, "text": self.text, "advice": self.advice}


Checks = Iterator[Check]


def doctor(
    context: typer.Context,
    send_event: Annotated[
        bool,
        typer.Option("--send-event", help=f"Send a signed identify too, which creates the customer {CUSTOMER}."),
    ] = False,
) -> None:
    """Look at everything that must be right; only --send-event changes anything. Exit code 1: something is wrong."""
    ctx: Context = context.obj
    found: list[Check] = []
    for check in _all(ctx.target, ctx.output, send_event=send_event):
        found.append(check)
        _show(ctx.output, check)
    ctx.output.result([check.document for check in found])
    if not all(check.is_fine for check in found):
        raise typer.Exit(Exit.WRONG)


def _show(output: Output, check: Check) -> None:
    if check.is_fine:
        output.fine(f"{check.check}: {check.text}")
    else:
        output.wrong(f"{check.check}: {check.text}", check.advice)


def _all(target: Target, output: Output, *, send_event: bool) -> Checks:
    for name, look in (("region", _region), ("credentials", _credentials), ("stack", _stack)):
        check = _guarded(name, look, target)
        yield check
        if not check.is_fine:  # nothing further can be asked
            return
    by_source: dict[str, dict[str, Parameter]] = {}
    check = _guarded("settings", lambda: _read_settings(target, by_source))
    yield check
    settings: list[Settings] = []
    if check.is_fine:
        yield from _settings(target, by_source, settings)
    for each in settings:
        yield from _voucherify(each)
    yield _guarded("retry queue", _retry_queue, target)
    yield _guarded("dead letters", _dead_letters, target)
    yield _guarded("ledger", _ledger, target)
    if send_event:
        yield _event(target, output, settings)


def _guarded(name: str, look: Callable[..., Check], *args: Any) -> Check:
    """A check that could not be made is wrong; the ones after it go on."""
    try:
        return look(*args)
    except CommandFailed as failed:
        return Check(name, False, failed.problem, failed.advice)
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code")
        return Check(name, False, f"AWS refused {error.operation_name}: {code}", "may these credentials do that?")
    except BotoCoreError as error:
        return Check(name, False, f"AWS could not be asked: {error}", "aws configure, or aws sso login, or --region")


def _region(target: Target) -> Check:
    return Check("region", True, target.region)


def _credentials(target: Target) -> Check:
    new_client: Any = target.session.client
    sts = new_client("sts", region_name=target.region, endpoint_url=target.endpoint_url or None)
    return Check("credentials", True, sts.get_caller_identity()["Arn"])


def _stack(target: Target) -> Check:
    for name in _OUTPUTS:
        target.value(name)
    return Check("stack", True, f"{target.name}, {target.value('EventsUrl')}")


def _read_settings(target: Target, by_source: dict[str, dict[str, Parameter]]) -> Check:
    by_source.update(parameters_of(target))
    count = sum(map(len, by_source.values()))
    if not count:
        return Check("settings", False, f"there are none under {target.settings_path}", "voucherify-destination init")
    return Check("settings", True, f"{count} under {target.settings_path}")


def _settings(target: Target, by_source: Mapping[str, Mapping[str, Parameter]], good: list[Settings]) -> Checks:
    """Every fault of every source; the settings without one go into `good`."""
    for source in sources_in(by_source):
        try:
            good.append(settings_of(source, by_source))
        except FaultySettings as faulty:
            option = "" if source == DEFAULT_SOURCE else f" --source {source}"
            for fault in faulty.faults:
                advice = f"voucherify-destination settings set {fault.setting}{option}"
                yield Check(f"settings of {source}", False, str(fault), advice)
        else:
            yield Check(f"settings of {source}", True, "no fault")
    for source, parameters in by_source.items():
        for name in sorted(parameters.keys() - SETTINGS.keys()):
            folder = "" if source == DEFAULT_SOURCE else f"/{source}"
            whole_name = f"{target.settings_path}{folder}/{name}"
            advice = f"aws ssm delete-parameter --region {target.region} --name {whole_name}"
            yield Check(f"settings of {source}", False, f"{name} is no setting{nearest(name, SETTINGS)}", advice)


def _voucherify(settings: Settings) -> Checks:
    """The keys of a source, and its plan's limit where Voucherify says one."""
    name = f"Voucherify of {settings.source}"
    verdict = ask_voucherify(settings.api_url, settings.api_key, settings.api_token)
    if verdict.is_fine:
        yield Check(name, True, f"{settings.api_url} takes the keys")
    else:
        yield Check(name, False, verdict.problem, verdict.advice)
    if verdict.limit and verdict.left:
        yield Check(f"plan of {settings.source}", True, f"{verdict.left} of {verdict.limit} calls are left now")


def _retry_queue(target: Target) -> Check:
    return Check("retry queue", True, _depth(target, "RetryQueueUrl")[1])


def _dead_letters(target: Target) -> Check:
    count, text = _depth(target, "DeadLetterQueueUrl")
    advice = "voucherify-destination dead-letters list says why; they are kept for 14 days"
    return Check("dead letters", not count, text, advice if count else "")


def _depth(target: Target, queue: str) -> tuple[int, str]:
    answer = target.sqs.get_queue_attributes(QueueUrl=target.value(queue), AttributeNames=list(_QUEUE_COUNTS.values()))[
        "Attributes"
    ]
    counts = {name: int(answer[attribute]) for name, attribute in _QUEUE_COUNTS.items()}
    told = [f"{count:,} {name}" for name, count in counts.items() if count]
    return sum(counts.values()), ", ".join(told + _age(target, queue)) if told else "empty"


def _age(target: Target, queue: str) -> list[str]:
    """How old the oldest message of a queue is, where CloudWatch has heard of it lately. It has not locally.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    now = datetime.now(UTC)
    points = target.cloudwatch.get_metric_statistics(
        Namespace="AWS/SQS",
        MetricName="ApproximateAgeOfOldestMessage",
        Dimensions=[{"Name": "QueueName", "Value": target.value(queue).rpartition("/")[2]}],
        StartTime=now - timedelta(minutes=30),
        EndTime=now,
        Period=300,
        Statistics=["Maximum"],
    )["Datapoints"]
    if not points:
        return []
    newest = max(points, key=lambda point: point["Timestamp"])
    return [f"the oldest for {newest['Maximum'] / 3600:,.1f} hours"]


def _ledger(target: Target) -> Check:
    name = target.value("DeduplicationTableName")
    status = target.dynamodb.describe_table(TableName=name)["Table"]["TableStatus"]
    return Check("ledger", status == "ACTIVE", f"table {name} is {status.lower()}")


def _event(target: Target, output: Output, settings: list[Settings]) -> Check:
    """A signed identify from end to end, as Segment would post it."""
    name = "test event"
    if not settings:
        return Check(name, False, "was not sent: no source has settings without a fault", "mend those first")
    source = settings[0]
    url = target.value("EventsUrl") + ("" if source.source == DEFAULT_SOURCE else f"/{source.source}")
    output.note(f"Sending an identify to {url}: it creates or updates the customer {CUSTOMER} in Voucherify.")
    event = {"type": "identify", "messageId": f"{CUSTOMER}-{uuid.uuid4()}", "userId": CUSTOMER, "traits": {}}
    body = json.dumps(event).encode()
    try:
        answer = urllib3.request(
            "POST", url, body=body, headers=_headers(body, source.secrets), retries=False, timeout=_TIMEOUT_SECONDS
        )
    except urllib3.exceptions.HTTPError as error:
        return Check(name, False, f"{url} does not answer: {type(error).__name__}", "is it the stack's, and reachable?")
    return _outcome(name, answer.status, answer.data)


def _headers(body: bytes, secrets: Secrets) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    for secret in secrets.shared_secrets[:1]:
        headers["X-Signature"] = signature(body, secret)
    for token in secrets.access_tokens[:1]:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _outcome(name: str, status: int, body: bytes) -> Check:
    try:
        counts = json.loads(body)
    except ValueError:  # not the function's answer
        counts = None
    match status, counts:
        case 200, {"delivered": 1}:
            return Check(name, True, f"delivered; the customer {CUSTOMER} is in Voucherify")
        case 200, {"skipped": 1}:
            return Check(name, False, "was skipped: a setting drops identifies", "settings show names identifyDisabled")
        case 202, _:
            advice = "voucherify-destination trace, or the log, says why; it is tried again by itself"
            return Check(name, False, "was stored and is not delivered yet", advice)
        case 401, _:
            advice = "a secret that has just changed is in force within a minute; then try again"
            return Check(name, False, "was refused (401)", advice)
    return Check(name, False, f"was answered {status}", "docs/runbook.md has what each answer means")
