"""Alarms, dashboard and saved queries use metrics and fields that are written, and link to the runbook."""

from __future__ import annotations

import itertools
import json
import re
from functools import cache
from typing import Any, NamedTuple

import pytest

from handler.delivery.backoff import STEPS
from handler.delivery.rate_limiter import PLAN_USED_UP_SECONDS
from handler.model.job import DeliveryStatus
from local.stack.cold import start_cold
from local.stack.poller import poll_once
from local.voucherify_stub.stub import Fault
from tests.function import Function
from tests.repo.stack import ALTERNATIVE, DEFAULT, PARAMETERS, ROOT, Stack, as_list, names_of, ref, stage

RUNBOOK = "docs/runbook.md"


class Told(NamedTuple):
    """The dimensions of each metric, the reason codes in metrics, and the lines of the log."""

    metrics: dict[str, set[frozenset[str]]]
    codes: set[str]
    lines: list[dict[str, Any]]

    def fields(self, message: str) -> set[str]:
        """Return the fields of the lines with one message."""
        return {field for line in self.lines if line["message"] == message for field in line}


TOLD = pytest.StashKey[Told]()


@pytest.fixture
def told(request: pytest.FixtureRequest) -> Told:
    """Return the metrics and log lines of invocations in which nearly everything happens once."""
    stash = request.session.stash
    if TOLD not in stash:
        stash[TOLD] = told_by(request.getfixturevalue("function"), request.getfixturevalue("monkeypatch"))
    return stash[TOLD]


def told_by(function: Function, monkeypatch: pytest.MonkeyPatch) -> Told:
    numbers = itertools.count()

    def identify(user: str | None = "u-1", email: object = "a@example.com") -> dict[str, Any]:
        traits = {"email": email}
        return {"type": "identify", "messageId": f"i-{next(numbers)}", "userId": user, "traits": traits}

    def voucherify_answers(*faults: Fault) -> None:
        """Start cold and with an empty table: refused credentials or a used-up plan would stop the next calls."""
        start_cold()
        function.aws.empty_table()
        function.voucherify.reset()
        function.voucherify.next(*faults)

    track = {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "E"}
    function.post_batch([identify(email={}), identify(user=None), track, track])
    function.put(trackDisabled="true")
    function.post(track)
    function.post(identify(), headers={})
    for fault in (Fault(401), Fault(302), Fault(402), Fault(503)):
        voucherify_answers(fault)
        function.post(identify())
    voucherify_answers(Fault(400))
    poll_once(function.aws)
    voucherify_answers(Fault(503))
    function.post(identify())
    monkeypatch.setenv("RETRY_HOURS", "0")
    function.voucherify.rule = lambda request: Fault(503)
    poll_once(function.aws)
    monkeypatch.setenv("DEDUPLICATION_TABLE", "missing")
    for decision in ("queue", "deliver"):
        function.put(trackDisabled="false", unguardedTrack=decision)
        voucherify_answers()
        function.post({**track, "messageId": decision})
    function.aws.delete_settings()
    voucherify_answers()
    function.post(identify())

    dimensions = {"source", "code", "cause"}
    metrics: dict[str, set[frozenset[str]]] = {}
    for line in function.logs.metrics:
        for name in line.keys() - dimensions:
            metrics.setdefault(name, set()).add(frozenset({"service", *(line.keys() & dimensions)}))
    codes = {line.get("code", "") for line in function.logs.metrics}
    function.voucherify.reset()  # what reached it is not the point here, and takes seconds to check
    function.log.text = ""  # nor that a track was delivered without deduplication: see conftest.py
    return Told(metrics, codes, function.log)


def test_nearly_every_metric_and_line_was_written(told: Told) -> None:
    """The tests below are empty without it."""
    assert {status.name.title() for status in DeliveryStatus} <= set(told.metrics)
    assert {"Received", "NotDelivered", "Dead", "Unguarded", "VoucherifyLatency", "RetryAge"} <= set(told.metrics)
    assert {"event not delivered", "event given up", "request", "redelivered"} <= {
        line["message"] for line in told.lines
    }


def test_every_metric_is_in_the_guide(told: Told) -> None:
    guide = (ROOT / "docs/operations.md").read_text("utf-8")
    rows = guide.split("| metric | meaning |")[1].split("\n\n")[0].splitlines()[2:]
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(told.metrics) <= documented


# ---- alarms

# The metrics of AWS that anything here looks at, each with the one dimension that it is looked at by:
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
# https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-metrics.html
OF_AWS = {
    "AWS/Lambda": ("FunctionName", {"Errors", "Throttles", "Invocations", "Duration", "ConcurrentExecutions"}),
    "AWS/SQS": (
        "QueueName",
        {
            "ApproximateAgeOfOldestMessage",
            "ApproximateNumberOfMessagesVisible",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        },
    ),
    "AWS/ApiGateway": ("ApiId", {"4xx", "5xx", "Count", "Latency", "IntegrationLatency"}),
}
DIMENSIONS = {
    "AWS/Lambda": [ref("DeliverFunction"), ref("RedeliverFunction")],
    "AWS/SQS": [{"Fn::GetAtt": [queue, "QueueName"]} for queue in ("RetryQueue", "DeadLetterQueue")],
    "AWS/ApiGateway": [ref("HttpApi")],
}

# A version behind an alias with two of them: https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
OF_A_VERSION = ["FunctionName", "Resource", "ExecutedVersion"]

EACH_ALARM = pytest.mark.parametrize("name", names_of("AWS::CloudWatch::Alarm"))


@cache
def alarms() -> dict[str, Any]:
    return Stack(NothingReceivedHours="6", Deployment="Canary10Percent5Minutes").of_type("AWS::CloudWatch::Alarm")


ANCHORS = {
    "DeadLettersAlarm": "dead-letters",
    "RejectedAlarm": "dead-letters",
    "DeadAlarm": "dead-letters",
    "OldestRetryAlarm": "oldest-retry-too-old",
    "RetryAgeAlarm": "oldest-retry-too-old",
    "DeliverErrorsAlarm": "function-errors",
    "RedeliverErrorsAlarm": "function-errors",
    "DeliverVersionErrorsAlarm": "function-errors",
    "RedeliverVersionErrorsAlarm": "function-errors",
    "DeliverThrottlesAlarm": "function-throttles",
    "RedeliverThrottlesAlarm": "function-throttles",
    "Api5xxAlarm": "api-5xx",
    "Api4xxAlarm": "api-4xx",
    "SlowAnswersAlarm": "slow-answers",
    "SettingsUnusableAlarm": "settings-unusable",
    "CredentialsRefusedAlarm": "credentials-refused",
    "WrongApiUrlAlarm": "credentials-refused",
    "PlanUsedUpAlarm": "plan-used-up",
    "UnguardedAlarm": "tracks-not-deduplicated",
    "UndecidedAlarm": "tracks-not-deduplicated",
    "NothingReceivedAlarm": "nothing-received",
}
# Of Metrics Insights: https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-metrics-insights-querylanguage.html
QUERY = re.compile(
    r"SELECT (?:SUM|MAX)\((?P<metric>\w+)\) FROM SCHEMA\(VoucherifyDestination, (?P<dimensions>[\w\", ]+)\)"
    r" WHERE \"service\" = 'voucherify-destination'(?: AND \"code\" = '(?P<code>\w+)')?"
)


def queries() -> dict[str, tuple[Any, re.Match[str]]]:
    """Return the queries of Metrics Insights by the names of their alarms, each with the parts that it names."""
    return {
        name: (query, match)
        for name, alarm in alarms().items()
        for query in alarm.get("Metrics", [])
        if (match := QUERY.fullmatch(query.get("Expression", "")))
    }


def metrics_of_aws(alarm: Any) -> list[Any]:
    if "MetricName" in alarm:
        return [alarm]
    return [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]


def test_every_alarm_links_to_its_part_of_the_runbook() -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / RUNBOOK).read_text("utf-8"), re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}

    assert set(alarms()) == set(ANCHORS)
    assert set(ANCHORS.values()) <= anchors
    for name, alarm in alarms().items():
        assert re.fullmatch(rf"[A-Z][^.]*\. {RUNBOOK}#{ANCHORS[name]}", alarm["AlarmDescription"]), name


@EACH_ALARM
def test_alarm_uses_metrics_that_exist(name: str) -> None:
    found = metrics_of_aws(alarms()[name])

    assert bool(found) is (name not in queries())
    for metric in found:
        dimension, known = OF_AWS[metric["Namespace"]]
        assert metric["MetricName"] in known
        given = {item["Name"]: item["Value"] for item in metric["Dimensions"]}
        assert list(given) in ([dimension], OF_A_VERSION)
        assert given[dimension] in DIMENSIONS[metric["Namespace"]]


def test_alarm_on_own_metrics_uses_their_dimensions_and_codes(told: Told) -> None:
    assert {name: (match["metric"], match["code"]) for name, (_, match) in queries().items()} == {
        "RetryAgeAlarm": ("RetryAge", None),
        "SettingsUnusableAlarm": ("SettingsUnusable", None),
        "CredentialsRefusedAlarm": ("NotDelivered", "credentials_refused"),
        "WrongApiUrlAlarm": ("NotDelivered", "wrong_api_url"),
        "PlanUsedUpAlarm": ("NotDelivered", "plan_used_up"),
        "RejectedAlarm": ("Rejected", None),
        "DeadAlarm": ("Dead", None),
        "UnguardedAlarm": ("Unguarded", None),
        "UndecidedAlarm": ("NotDelivered", "deliveries_unknown"),
    }
    for _, match in queries().values():
        assert told.metrics[match["metric"]] == {frozenset(re.findall(r'"(\w+)"', match["dimensions"]))}
        assert match["code"] is None or match["code"] in told.codes


# The longest wait until a metric that has not ended counts again: none where each request counts.
SLOWEST = {
    "RetryAgeAlarm": STEPS[-1],
    "CredentialsRefusedAlarm": STEPS[-1],
    "WrongApiUrlAlarm": STEPS[-1],
    "PlanUsedUpAlarm": PLAN_USED_UP_SECONDS,
}


def test_query_covers_the_slowest_retry_within_the_limit_of_metrics_insights() -> None:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-limits.html"""
    for name, (query, _) in queries().items():
        seconds = alarms()[name]["EvaluationPeriods"] * query["Period"]
        assert SLOWEST.get(name, 0.0) < seconds <= 3 * 60 * 60, name
        assert name not in SLOWEST or alarms()[name]["DatapointsToAlarm"] == 1, name


@pytest.mark.parametrize("hours", [1, 24, 168])
@pytest.mark.parametrize("name", ["OldestRetryAlarm", "RetryAgeAlarm"])
def test_retry_age_alarms_after_a_quarter_of_the_retry_hours(name: str, hours: int) -> None:
    seconds = float(Stack(RetryHours=str(hours)).properties(name)["Threshold"])

    assert 0.25 < seconds / (hours * 60 * 60) < 0.3


def test_dead_letters_alarm_stays_until_the_queue_is_empty() -> None:
    alarm = alarms()["DeadLettersAlarm"]

    assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}}]
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("GreaterThanThreshold", 0)
    assert alarm["TreatMissingData"] == "ignore"


@pytest.mark.parametrize("name", ["RejectedAlarm", "DeadAlarm"])
def test_new_dead_letters_alarm_again_after_an_hour_while_old_ones_are_in_the_queue(name: str) -> None:
    alarm = alarms()[name]

    assert alarm["EvaluationPeriods"] * alarm["Metrics"][0]["Period"] == 60 * 60
    assert (alarm["DatapointsToAlarm"], alarm["Threshold"], alarm["TreatMissingData"]) == (1, 0, "notBreaching")


def test_slow_answers_alarm_before_segment_gives_up_waiting() -> None:
    alarm = alarms()["SlowAnswersAlarm"]

    assert alarm["Threshold"] < 5_000
    assert (alarm["MetricName"], alarm["ExtendedStatistic"]) == ("Latency", "p99")


def test_silence_alarms_only_where_a_parameter_says_so() -> None:
    alarm = alarms()["NothingReceivedAlarm"]

    assert "NothingReceivedAlarm" not in DEFAULT.resources
    assert alarm["AlarmDescription"].startswith("There was no request for 6 hours.")
    assert alarm["Metrics"][0]["MetricStat"]["Period"] == 60 * 60
    assert alarm["Metrics"][1]["Expression"] == "FILL(invocations, 0)"
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)


@pytest.mark.parametrize("hours", PARAMETERS["NothingReceivedHours"]["AllowedValues"][1:])
def test_silence_is_what_follows_a_request(hours: int) -> None:
    """A fresh stack has no value that FILL could go by, and no alarm: see template.yaml."""
    alarm = Stack(NothingReceivedHours=str(hours)).properties("NothingReceivedAlarm")

    assert alarm["TreatMissingData"] == "ignore"
    assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == (str(hours), hours + 1)
    assert alarm["EvaluationPeriods"] <= 7 * 24


@EACH_ALARM
def test_alarm_notifies_the_given_address(name: str) -> None:
    assert "AlarmActions" not in alarms()[name]
    assert ALTERNATIVE.properties(name)["AlarmActions"] == [ref("AlarmTopic")]
    assert not {"OKActions", "InsufficientDataActions", "AlarmName"} & set(ALTERNATIVE.properties(name))


def test_only_alarms_of_this_account_may_publish_to_the_topic() -> None:
    (policy,) = ALTERNATIVE.of_type("AWS::SNS::TopicPolicy").values()

    assert not [name for name, found in DEFAULT.resources.items() if "SNS" in found["Type"]]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Sid": "PublishAlarms",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": ref("AlarmTopic"),
            "Condition": {
                "StringEquals": {"aws:SourceAccount": ref("AWS::AccountId")},
                "ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:*"},
            },
        }
    ]
    assert ALTERNATIVE.properties("AlarmSubscription") == {
        "TopicArn": ref("AlarmTopic"),
        "Protocol": "email",
        "Endpoint": "someone@example.com",
    }
    assert "KmsMasterKeyId" not in ALTERNATIVE.resources["AlarmTopic"].get("Properties", {}), "not AWS's own key"


# ---- dashboard and saved queries


def dashboard(stack: Stack) -> list[Any]:
    body = stack.properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    widgets: list[Any] = json.loads(body.replace("${!", "${"))["widgets"]
    return widgets


def test_dashboard_shows_every_alarm() -> None:
    for stack in (DEFAULT, ALTERNATIVE):
        shown = dashboard(stack)[0]["properties"]["alarms"]
        assert sorted(shown) == sorted(f"${{{name}.Arn}}" for name in stack.of_type("AWS::CloudWatch::Alarm"))


def test_dashboard_uses_metrics_that_exist(told: Told) -> None:
    searched = set()
    for widget in dashboard(DEFAULT)[1:]:
        assert widget["properties"]["region"] == "eu-west-1"
        for metric in widget["properties"]["metrics"]:
            if isinstance(metric[0], str):
                namespace, name, dimension, value = metric[:4]
                assert (dimension, name in OF_AWS[namespace][1]) == (OF_AWS[namespace][0], True)
                assert any(value == f"${{{'.'.join(named_resource(known))}}}" for known in DIMENSIONS[namespace])
            else:
                schema, name = searched_for(metric[0]["expression"])
                assert {schema} == told.metrics[name]
                searched.add(name)
    by_status = {status.name.title() for status in DeliveryStatus}
    assert searched == {*by_status, "Received", "Dead", "NotDelivered", "VoucherifyLatency", "RetryAge"}


def searched_for(expression: str) -> tuple[frozenset[str], str]:
    """The dimensions and the metric of a search that finds this stack's alone."""
    match = re.fullmatch(
        r"SEARCH\('\{VoucherifyDestination,([\w,]+)\} service=\"voucherify-destination\" MetricName=\"(\w+)\"',"
        r" '(?:Sum|Maximum|p\d\d)', 300\)",
        expression,
    )
    assert match, expression
    return frozenset(match[1].split(",")), match[2]


def named_resource(value: Any) -> list[str]:
    """`Name`, or `Name` and `Attribute`."""
    return [value["Ref"]] if "Ref" in value else value["Fn::GetAtt"]


def test_widgets_do_not_overlap() -> None:
    taken = [
        (x, y)
        for widget in dashboard(DEFAULT)
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]

    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) == 23, "the grid has 24 columns"


def saved_queries() -> dict[str, Any]:
    return DEFAULT.of_type("AWS::Logs::QueryDefinition")


def test_saved_query_uses_fields_that_are_logged(told: Told) -> None:
    of_the_api = set(json.loads(stage()["AccessLogSettings"]["Format"]))
    words = {"fields", "filter", "stats", "sort", "limit", "parse", "by", "as", "in", "and", "asc", "desc"}
    functions = {"count", "count_distinct", "ispresent"}

    for name, query in saved_queries().items():
        text = query["QueryString"]
        kinds = [json.loads(found) for found in re.findall(r'message (?:=|in) (\[[^]]*\]|"[^"]*")', text)]
        messages = [message for kind in kinds for message in as_list(kind)] or [line["message"] for line in told.lines]
        logged = {field for message in messages for field in told.fields(message)}
        known = of_the_api if query["LogGroupNames"] == [ref("ApiLogGroup")] else logged
        made = set(re.findall(r"\bas (\w+)", text)) | set(re.findall(r"\?<(\w+)>", text))
        asked = set(re.findall(r"[A-Za-z]\w*", re.sub(r'"[^"]*"|/[^/]*/|@\w+', " ", text)))
        assert asked - words - functions - made <= known, name
        assert all(told.fields(message) for message in messages), name


def test_saved_queries_have_the_stacks_prefix_and_cover_its_log_groups() -> None:
    assert all(query["Name"].startswith("voucherify-destination/") for query in saved_queries().values())
    groups = {group["Ref"] for query in saved_queries().values() for group in query["LogGroupNames"]}
    assert groups == set(DEFAULT.of_type("AWS::Logs::LogGroup"))


def test_left_out_query_parses_the_line_as_written(told: Told) -> None:
    pattern = re.search(r"parse @message /(.*)/", saved_queries()["LeftOutQuery"]["QueryString"])
    (line,) = (line for line in told.lines if "left_out" in line)
    assert pattern

    found = re.search(pattern[1].replace("(?<", "(?P<"), json.dumps(line, separators=(",", ":")))

    assert found
    assert json.loads(f"{{{found['what']}}}") == line["left_out"]
