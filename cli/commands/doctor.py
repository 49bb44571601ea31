"""`doctor`: checks everything that a delivery needs, with one line for each check."""

from __future__ import annotations

import json
import shutil
import subprocess  # nosec B404
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from cli.checks import Check, guarded
from cli.context import Context
from cli.dead_letters.reading import Depth, queue_arn
from cli.errors import Exit
from cli.log import log_lines
from cli.output import Output
from cli.segment import Answer, credentials_for, events_url, send
from cli.settings.credentials import check_credentials
from cli.settings.schemas import schemas_of
from cli.settings.store import UNKNOWN_SETTING, find_setting, nearest_setting, parameters_of, settings_of, sources_in
from cli.target import NAMESPACE, Target
from handler.model.errors import FaultySettings
from handler.settings.setting_types import Parameter
from handler.settings.settings import Settings
from handler.settings.sources import DEFAULT_SOURCE
from mapping import CALLS, ORDER, EventMapping, Fault

EPILOG = "Examples: voucherify-destination doctor; voucherify-destination doctor --send-event --json"

CUSTOMER = "voucherify-destination-doctor"

# The log of so many hours is searched for the newest check of the rows.
_ROWS_HOURS = 24

CLOCK = partial(datetime.now, UTC)

_SET = "voucherify-destination settings set"

# As the alarms have it: a little more than a quarter of RetryHours.
_LATE_SECONDS_PER_HOUR = 1000

_OUTPUTS = (
    "EventsUrl",
    "TrackingApiUrl",
    "SettingsPath",
    "RetryQueueUrl",
    "DeadLetterQueueUrl",
    "DeduplicationTableName",
)

Parameters = dict[str, dict[str, Parameter]]


Checks = Iterator[Check]


def doctor(
    context: typer.Context,
    send_event: Annotated[
        bool,
        typer.Option("--send-event", help=f"Also send a signed identify event, which creates the customer {CUSTOMER}."),
    ] = False,
) -> None:
    """Check everything that a delivery needs. Only --send-event changes anything. Exit code 1: a check failed."""
    ctx: Context = context.obj
    found: list[Check] = []
    for check in _checks(ctx.target, ctx.output, send_event=send_event):
        found.append(check)
        check.show(ctx.output)
    ctx.output.result([check.to_json() for check in found])
    if not all(check.is_fine for check in found):
        raise typer.Exit(Exit.WRONG)


def _checks(target: Target, output: Output, *, send_event: bool) -> Checks:
    for name, check_one in (("region", _region), ("credentials", _credentials), ("stack", _stack)):
        check = guarded(name, check_one, target)
        yield check
        if not check.is_fine:  # all other checks need it
            return
    by_source: Parameters = {}
    check = guarded("settings", _read_settings, target, by_source)
    yield check
    yield guarded("settings path", _settings_path, target)
    valid: list[Settings] = []
    if check.is_fine:
        yield from _settings(target, by_source, valid)
    called: list[Settings] = []
    for settings in valid:
        yield from _voucherify(settings, called)
    for settings in called:
        yield from _metadata(settings)
    if not target.is_local:  # which keeps no log
        for settings in valid:
            yield guarded(f"rows of {settings.source}", _rows, target, settings.source)
    yield guarded("retry queue", _retry_queue, target, by_source)
    if not target.is_local:  # which has no event source mapping
        yield guarded("retry worker", _retry_worker, target)
    yield guarded("dead-letter queue", _dead_letter_queue, target)
    yield guarded("deduplication table", _table, target)
    if not target.is_local:
        yield _aws_cli("AWS CLI")
    if send_event:
        yield guarded("test event", _event, target, output, valid)


def _region(name: str, target: Target) -> Check:
    return Check(name, True, target.region)


def _aws_cli(name: str) -> Check:
    """Check the version of the AWS CLI. These commands do not use it: only the lines of docs/runbook.md do."""
    program = shutil.which("aws")
    if not program:
        return Check(name, True, "not installed; the shell lines of docs/runbook.md need version 2")
    shown = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout  # nosec B603
    version = shown.partition("aws-cli/")[2].split(" ")[0] or "unknown"
    advice = "install version 2 for the shell lines of docs/runbook.md; these commands do not need it"
    return Check(name, version.startswith("2."), f"version {version}", advice)


def _credentials(name: str, target: Target) -> Check:
    sts: Any = target.session.client("sts", **target.client_options)
    return Check(name, True, sts.get_caller_identity()["Arn"])


def _stack(name: str, target: Target) -> Check:
    for output in _OUTPUTS:
        target.value(output)
    return Check(name, True, f"{target.name}, {target.value('EventsUrl')}")


def _read_settings(name: str, target: Target, by_source: Parameters) -> Check:
    by_source.update(parameters_of(target))
    count = sum(map(len, by_source.values()))
    if not count:
        return Check(name, False, f"none under {target.settings_path}", "run voucherify-destination init")
    return Check(name, True, f"{count} under {target.settings_path}")


def _settings_path(name: str, target: Target) -> Check:
    """Check that the path is not inside that of another stage, which would read these settings as those of a source."""
    parts = target.settings_path.strip("/").split("/")
    outer = ["/" + "/".join(parts[:length]) for length in range(1, len(parts))]
    found = target.ssm.get_parameters(Names=[f"{path}/apiKey" for path in outer])["Parameters"] if outer else []
    if not found:
        return Check(name, True, target.settings_path)
    path = found[0]["Name"].removesuffix("/apiKey")
    text = f"{target.settings_path} is inside {path}, which another stage uses: it reads these settings too"
    return Check(name, False, text, "give one of the stages another SettingsPath")


def _settings(target: Target, by_source: Parameters, valid: list[Settings]) -> Checks:
    """Check the settings of each source, and collect those without a fault in `valid`."""
    common: set[Fault] = set()
    for source in sources_in(by_source):
        name = f"settings of {source}"
        try:
            valid.append(settings_of(source, by_source))
        except FaultySettings as faulty:
            for fault in faulty.faults:
                command = f"run {_SET} {fault.setting}"
                if source != DEFAULT_SOURCE and not _is_inherited(fault, source, by_source):
                    yield Check(name, False, str(fault), f"{command} --source {source}")
                elif fault not in common:  # of all sources that inherit the setting, once
                    common.add(fault)
                    yield Check("common settings", False, str(fault), command)
        else:
            yield Check(name, True, "no faults")
            if "delete" not in valid[-1].policy.mapping.disabled:
                text = "accepted; Segment sends them to classic Webhooks only, not to Webhooks (Actions)"
                yield Check(f"deletions of {source}", True, text)
    for source, parameters in by_source.items():
        for unknown in sorted(name for name in parameters if find_setting(name) is None):
            folder = "" if source == DEFAULT_SOURCE else f"/{source}"
            full_name = f"{target.settings_path}{folder}/{unknown}"
            advice = f"delete it: aws ssm delete-parameter --region {target.region} --name {full_name}"
            text = f"{UNKNOWN_SETTING} {unknown}{nearest_setting(unknown)}"
            yield Check(f"settings of {source}", False, text, advice)


def _is_inherited(fault: Fault, source: str, by_source: Parameters) -> bool:
    """Return whether a fault of a source is one of a common setting."""
    return fault.setting in by_source[DEFAULT_SOURCE] and fault.setting not in by_source[source]


def _voucherify(settings: Settings, called: list[Settings]) -> Checks:
    """Check the credentials of a source, and collect the settings with valid ones in `called`.

    Show the calls that are left where Voucherify names them.
    """
    verdict = check_credentials(settings.api_url, settings.api_key, settings.api_token)
    text = verdict.problem or f"the credentials are valid for {settings.api_url}"
    yield Check(f"Voucherify of {settings.source}", verdict.is_fine, text, verdict.advice)
    if verdict.limit and verdict.left:
        yield Check(f"plan of {settings.source}", True, f"{verdict.left} of {verdict.limit} calls left")
    if verdict.is_fine:
        called.append(settings)


def _used_mappings(mapping: EventMapping) -> Iterator[str]:
    """Yield the mapping settings that events may use."""
    for call in CALLS.values():
        if call.mapping and call.name not in mapping.disabled:
            yield call.mapping.name
    if mapping.order_events.exact and "track" not in mapping.disabled:
        yield ORDER.name


def _metadata(settings: Settings) -> Checks:
    """Check the mapping of a source against its project's metadata schemas, where it has some."""
    name, mapping = f"metadata of {settings.source}", settings.policy.mapping
    schemas, problem = schemas_of(settings)
    if schemas is None:
        yield Check(name, True, f"not checked: the metadata schemas could not be read, {problem}")
    elif schemas:
        problems = [
            problem
            for setting in _used_mappings(mapping)
            for problem in schemas.row_problems(setting, mapping.rules[setting])
        ]
        text = "; ".join(problems) or "the mapping fits the project's metadata schemas"
        advice = "change the mapping, or the schema in Voucherify: Project settings → Metadata schema, or Event schema"
        yield Check(name, not problems, text, advice)


def _rows(name: str, target: Target, source: str) -> Check:
    """Check that the rows of the mapping find something in the newest events: a misspelt source is no fault."""
    pattern = f'{{ $.message = "mapping checked" && $.source = {json.dumps(source)} }}'
    found = list(log_lines(target, ("DeliverLogGroupName",), pattern, _ROWS_HOURS))
    if not found:
        return Check(name, True, f"not checked: no 100 requests in the last {_ROWS_HOURS} hours")
    _, line = max(found, key=lambda timed: timed[0])
    events, rows, unread = line["events"], line["empty_rows"], line["unread_events"]
    parts = [f"{row} found nothing" for row in rows]
    if 2 * unread > events:
        parts.append(f"no row reads a property of {unread} of {events} events")
    option = "" if source == DEFAULT_SOURCE else f" --source {source}"
    advice = f"run voucherify-destination preview EVENTS{option} with such events, which names the properties"
    text = "; ".join(parts) or f"each found something in the newest {events} events that were looked at"
    return Check(name, not parts, text, advice)


def _retry_queue(name: str, target: Target, by_source: Parameters) -> Check:
    """Check that no event has waited for more than a quarter of RetryHours, as the alarms do."""
    depth = Depth.of(target.sqs, target.value("RetryQueueUrl"))
    ages = [_age(target, "RetryQueueUrl"), *(_retry_age(target, source) for source in sources_in(by_source))]
    seconds = max(ages, default=0.0)
    is_fine = depth.is_empty or seconds <= target.retry_hours * _LATE_SECONDS_PER_HOUR
    return Check(name, is_fine, _content(depth, seconds), "run voucherify-destination retries list for the reasons")


def _retry_worker(name: str, target: Target) -> Check:
    """Check that Lambda reads the retry queue."""
    functions: Any = target.session.client("lambda", **target.client_options)
    arn = queue_arn(target.sqs, target.value("RetryQueueUrl"))
    for mapping in functions.list_event_source_mappings(EventSourceArn=arn)["EventSourceMappings"]:
        state, uuid_ = mapping["State"], mapping["UUID"]
        command = f"aws lambda update-event-source-mapping --region {target.region} --uuid {uuid_} --enabled"
        text = f"its event source mapping is {state.lower()}"
        return Check(name, state in ("Enabled", "Enabling", "Updating"), text, f"start it: {command}")
    return Check(name, False, "the retry queue has no event source mapping", "deploy the stack again: make deploy")


def _dead_letter_queue(name: str, target: Target) -> Check:
    depth = Depth.of(target.sqs, target.value("DeadLetterQueueUrl"))
    text = _content(depth, 0.0 if depth.is_empty else _age(target, "DeadLetterQueueUrl"))
    advice = "run voucherify-destination dead-letters list for the reasons; SQS deletes the messages after 14 days"
    return Check(name, depth.is_empty, text, advice)


def _content(depth: Depth, oldest_seconds: float) -> str:
    """Return the numbers of a queue's messages, and the age of the oldest where it is known."""
    counts = {"visible": depth.visible, "in flight": depth.in_flight, "delayed": depth.delayed}
    shown = [f"{count:,} {name}" for name, count in counts.items() if count]
    if shown and oldest_seconds:
        shown.append(f"the oldest has been in it for {oldest_seconds / 3600:,.1f} hours")
    return ", ".join(shown) or "empty"


def _age(target: Target, queue: str) -> float:
    """Return the age of a queue's oldest message in seconds, 0 where CloudWatch has no recent one.

    For a message that SQS itself moved to the dead-letter queue that is less than its age.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    """
    queue_name = target.value(queue).rpartition("/")[2]
    return _newest(target, "AWS/SQS", "ApproximateAgeOfOldestMessage", timedelta(minutes=30), QueueName=queue_name)


def _retry_age(target: Target, source: str) -> float:
    """Return the age of a source's newest retry in seconds. SQS's own metric ignores what was received three times."""
    hours = timedelta(hours=2)  # an old event is retried once an hour, or less often
    return _newest(target, NAMESPACE, "RetryAge", hours, service=target.name, source=source)


def _newest(target: Target, namespace: str, metric: str, period: timedelta, **dimensions: str) -> float:
    now = CLOCK()
    points = target.cloudwatch.get_metric_statistics(
        Namespace=namespace,
        MetricName=metric,
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=now - period,
        EndTime=now,
        Period=300,
        Statistics=["Maximum"],
    )["Datapoints"]
    return max(points, key=lambda point: point["Timestamp"])["Maximum"] if points else 0.0


def _table(name: str, target: Target) -> Check:
    table = target.value("DeduplicationTableName")
    status = target.dynamodb.describe_table(TableName=table)["Table"]["TableStatus"]
    return Check(name, status == "ACTIVE", f"{table} is {status.lower()}", "wait until DynamoDB has activated it")


def _event(name: str, target: Target, output: Output, valid: list[Settings]) -> Check:
    """Send a signed identify event, as Segment does, and check the answer."""
    if not valid:
        return Check(name, False, "not sent: every source has faulty settings", "fix the settings first")
    settings = valid[0]
    url = events_url(target, settings.source)
    output.note(f"Sending an identify event to {url}. It creates or updates the customer {CUSTOMER} in Voucherify.")
    event = {"type": "identify", "messageId": f"{CUSTOMER}-{uuid.uuid4()}", "userId": CUSTOMER, "traits": {}}
    body = json.dumps(event).encode()
    output.done = lambda: "the test event was sent"
    return _outcome(name, send(url, body, credentials_for(body, settings.secrets)))


def _outcome(name: str, answer: Answer) -> Check:
    match answer.status, answer.body:
        case 200, {"delivered": 1}:
            return Check(name, True, f"delivered; the customer {CUSTOMER} is in Voucherify")
        case 200, {"skipped": 1}:
            return Check(name, False, "skipped: identifyDisabled is set", f"run {_SET} identifyDisabled false")
        case 202, _:
            advice = "it will be tried again; the function's log has the reason"
            return Check(name, False, "queued, not delivered yet", advice)
        case 401, _:
            advice = "a changed secret takes effect within a minute: try again then"
            return Check(name, False, "refused: the secret is wrong (401)", advice)
    return Check(name, False, f"answered {answer.status}", "see docs/runbook.md for the meaning of the status")
