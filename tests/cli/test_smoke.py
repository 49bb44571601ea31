"""`smoke`: what each line says, also where it fails, and what is left at the end."""

from __future__ import annotations

import base64
import gzip
import json
import signal
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from typing import Any

import boto3
import pytest
import urllib3

from cli.commands import smoke as command
from cli.smoke.rollback import ALIAS, FUNCTION
from cli.smoke.run import CUSTOMER, NOWHERE
from cli.smoke.source import MAPPING, SOURCE
from cli.smoke.stack_update import PARAMETER, VARIABLE
from cli.target import Target
from local.stack.aws import SETTINGS_PATH, LocalAws
from local.stack.cold import start_cold
from local.stack.http_server import HttpRequest, HttpServer, Reply
from local.stack.system import LocalSystem
from local.voucherify_stub.stub import Fault, Request, VoucherifyStub
from tests.cli.conftest import DEAD, RETRY, SECRET, Ended, Run, Time, put_message, use_target
from tests.scenarios.aws_proxy import AwsCall, Forward, aws_proxy, refuse
from tests.worker import Worker, stored

Answer = Callable[[HttpRequest, Callable[[], Reply]], Reply]


class Gateway:
    """A server before the local system. `answer` gets each request, and a function that forwards it."""

    def __init__(self, url: str) -> None:
        self.answer: Answer = lambda request, forward: forward()
        self._url = url
        self._server = HttpServer(0, lambda request: self.answer(request, lambda: self.forward(request)))
        self.url = f"http://127.0.0.1:{self._server.port}"

    def forward(self, request: HttpRequest) -> Reply:
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        answer = urllib3.request(
            request.method, self._url + request.path, body=request.body, headers=headers, retries=False
        )
        return Reply(answer.status, {"Content-Type": "application/json"}, answer.data)

    def close(self) -> None:
        self._server.close()


class TimeOfWorker(Time):
    """Time that only pauses move, in each of which the retry worker runs, unless `is_stopped`.

    With `ends_caches` the functions read their settings after each pause, and at no other time.
    """

    def __init__(self, aws: LocalAws) -> None:
        super().__init__()
        self.is_stopped = False
        self.ends_caches = False
        self._worker = Worker(aws)

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._worker.time_passes(seconds)
        if self.ends_caches:
            start_cold()
        if not self.is_stopped:
            self._worker.run()


@pytest.fixture
def gateway(system: LocalSystem) -> Iterator[Gateway]:
    with closing(Gateway(system.url)) as running:
        yield running


@pytest.fixture
def time(aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> TimeOfWorker:
    time = TimeOfWorker(aws)
    monkeypatch.setattr(command, "CLOCK", time)
    monkeypatch.setattr(command, "SLEEP", lambda seconds: time.sleep(seconds))
    return time


@pytest.fixture
def target(run: Run, aws: LocalAws, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Target:
    target = Target.local_at(gateway.url, aws.url)
    use_target(monkeypatch, target)
    return target


@pytest.fixture
def smoke(
    watched_run: Run, target: Target, time: TimeOfWorker, without_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run the command on functions that read their settings at every request."""
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "0")
    return lambda *arguments: watched_run("smoke", *arguments)


def lines(ended: Ended) -> dict[str, str]:
    """The lines by their name, with their sign; those of the clean-up are one."""
    found: dict[str, str] = {}
    for line in ended.out.splitlines():
        if not line.startswith("  "):
            name, _, text = line[2:].partition(": ")
            found[name] = f"{found[name]}; {text}" if name in found else f"{line[0]} {text}"
    return found


def failed(ended: Ended) -> dict[str, str]:
    return {name: text for name, text in lines(ended).items() if text.startswith("✗")}


def settings_left(aws: LocalAws) -> list[str]:
    found = aws.ssm.get_parameters_by_path(Path=f"{SETTINGS_PATH}/{SOURCE}", Recursive=True)
    return [parameter["Name"] for parameter in found["Parameters"]]


def nothing_is_left(aws: LocalAws) -> bool:
    return settings_left(aws) == [] and stored(DEAD) == [] and stored(RETRY) == []


def test_healthy_system(smoke: Run, aws: LocalAws, voucherify: VoucherifyStub) -> None:
    ended = smoke()

    assert ended.out.splitlines() == [
        "✓ source: smoke-test has settings of its own",
        "✓ no credentials: 401 missing or wrong credentials",
        "✓ identify: 200 delivered",
        "✓ track: 200 delivered",
        "✓ duplicate: 200 duplicate",
        "✓ batch: 200 delivered x2, duplicate",
        "○ gzip: 401 missing or wrong credentials here; only AWS can answer",
        "✓ bad event: 400 rejected; in the dead-letter queue: customer_id_missing",
        "✓ setting changed: identifyDisabled=true after 0 s: 200 skipped",
        "✓ outage: 202 queued, with a wrong apiUrl",
        "✓ setting back: identifyDisabled=false after 0 s: 200 delivered",
        "✓ retry: delivered by the retry worker within 5 s",
        "✓ redrive: delivered by the retry worker within 5 s, with a changed mapping",
        "○ rollback: only AWS can answer: the local system has no versions",
        "○ parameter: only AWS can answer: the local system has no stack",
        "✓ clean-up: settings of smoke-test deleted: 9",
        "✓ clean-up: messages of smoke-test deleted: 0",
        f"✓ clean-up: customer {CUSTOMER} deleted",
    ]
    assert ended.code == 0
    assert max(map(len, ended.out.splitlines())) <= 80
    assert nothing_is_left(aws)
    assert voucherify.customers == {}
    assert [event["customer"]["source_id"] for event in voucherify.events] == [CUSTOMER] * 4


@pytest.mark.long
def test_json(smoke: Run) -> None:
    by_name = {check["check"]: check for check in smoke("--json").json}

    assert by_name["identify"] == {"check": "identify", "isFine": True, "text": "200 delivered", "advice": ""}
    assert by_name["rollback"]["isFine"] is None


@pytest.mark.long
def test_it_can_run_again_and_takes_over_what_an_interrupted_run_has_left(smoke: Run, aws: LocalAws) -> None:
    left = {MAPPING: "{}", "apiKey": "x", "apiToken": "x", "apiUrl": NOWHERE, "identifyDisabled": "true"}
    aws.put_settings({f"{SOURCE}/{name}": value for name, value in left.items()})
    put_message(aws, "of-the-run-before", source=SOURCE, code="unknown_source")

    assert smoke().code == smoke().code == 0
    assert nothing_is_left(aws)


@pytest.mark.long
def test_it_waits_until_the_functions_have_read_its_settings(
    smoke: Run, aws: LocalAws, gateway: Gateway, time: TimeOfWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At first they know the source with the secrets of the last test."""
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "3600")
    time.ends_caches = True
    aws.put_settings({f"{SOURCE}/{MAPPING}": "{}", f"{SOURCE}/sharedSecret": f"{SECRET}1"})
    assert urllib3.request("POST", f"{gateway.url}/events/{SOURCE}", body=b"{}").status == 401
    ended = smoke()

    assert ended.code == 0
    assert "Waiting for the functions to read the new source, up to 75 seconds …" in ended.err
    assert "✓ setting changed: identifyDisabled=true after 9 s: 200 skipped" in ended.out


@pytest.mark.long
def test_dead_letters_of_other_sources_stay(smoke: Run, aws: LocalAws) -> None:
    put_message(aws, "of-the-shop")

    assert smoke().code == 0
    assert [record["event"]["messageId"] for record in stored(DEAD)] == ["of-the-shop"]


@pytest.mark.long
def test_other_source_gives_the_project(smoke: Run, aws: LocalAws) -> None:
    aws.put_settings({"apiUrl": NOWHERE, "app/apiKey": "local-app-id", "app/apiToken": "local-secret-key"})
    assert "✗ 202 queued" in lines(smoke())["identify"]

    aws.put_settings({"app/apiUrl": _stub_url(aws)})
    assert smoke("--like", "app").code == 0


def _stub_url(aws: LocalAws) -> str:
    return aws.ssm.get_parameter_history(Name=f"{SETTINGS_PATH}/apiUrl")["Parameters"][0]["Value"]


@pytest.mark.long
def test_common_settings_do_not_disturb_it(smoke: Run, aws: LocalAws) -> None:
    aws.put_settings(
        {
            "accessToken": f"{SECRET}token",
            "identifyDisabled": "true",
            "trackEventsFilter": '["Order Completed"]',
            "trackMapping": '{"*": {"total": "metadata.total"}}',
        }
    )
    assert smoke().code == 0


def test_faulty_settings_end_it_before_it_writes(smoke: Run, aws: LocalAws) -> None:
    aws.put_settings({"trackDisabled": "maybe"})
    ended = smoke()

    assert ended.code == 1
    assert ended.err.splitlines()[-2:] == [
        "✗ the settings of source default have faults",
        "  trackDisabled: must be true or false",
    ]
    assert settings_left(aws) == []


def test_a_source_of_that_name_that_no_smoke_test_made_is_not_touched(smoke: Run, aws: LocalAws) -> None:
    aws.put_settings({f"{SOURCE}/sharedSecret": f"{SECRET}1"})
    put_message(aws, "of-the-shop", source=SOURCE)
    ended = smoke()

    assert ended.code == 1
    assert ended.err.splitlines()[-2] == "✗ there is a source smoke-test that no smoke test made"
    assert settings_left(aws) == [f"{SETTINGS_PATH}/{SOURCE}/sharedSecret"]
    assert len(stored(DEAD)) == 1


@pytest.mark.long
class TestFailures:
    """Each line fails where the system does, the others go on as far as they can, and the clean-up runs."""

    def test_wrong_url(self, smoke: Run, aws: LocalAws, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
        use_target(monkeypatch, replace(target, known={**target.known, "EventsUrl": f"{NOWHERE}/events"}))
        ended = smoke()

        assert failed(ended)["identify"] == f"✗ no answer from {NOWHERE}/events/smoke-test: NewConnectionError"
        assert failed(ended).keys() == {"no credentials", "identify"}
        assert lines(ended)["track"] == lines(ended)["rollback"] == "○ not tried: identify failed"
        assert ended.code == 1
        assert nothing_is_left(aws)

    def test_settings_that_cannot_be_written(
        self, smoke: Run, aws: LocalAws, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with aws_proxy(aws.url) as proxy:
            proxy.rule = refuse("PutParameter", status=400, code="AccessDeniedException")
            use_target(monkeypatch, replace(target, endpoint_url=proxy.url))
            ended = smoke()

        assert failed(ended) == {
            "source": f"✗ SSM refused {SETTINGS_PATH}/{SOURCE}/{MAPPING}: AccessDeniedException: made up by a test"
        }
        assert lines(ended)["identify"] == "○ not tried: source failed"

    def test_another_settings_path_than_the_functions(
        self, smoke: Run, aws: LocalAws, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings = aws.ssm.get_parameters_by_path(Path=SETTINGS_PATH, WithDecryption=True)["Parameters"]
        for one in settings:
            name = one["Name"].rpartition("/")[2]
            aws.ssm.put_parameter(Name=f"/elsewhere/{name}", Value=one["Value"], Type=one["Type"])
        use_target(monkeypatch, replace(target, known={**target.known, "SettingsPath": "/elsewhere"}))
        ended = smoke()

        assert failed(ended)["identify"] == "✗ 404 there is no such source"
        assert "another SettingsPath" in ended.out
        assert not aws.ssm.get_parameters_by_path(Path=f"/elsewhere/{SOURCE}")["Parameters"]

    def test_requests_without_credentials_are_accepted(self, smoke: Run, gateway: Gateway) -> None:
        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            return forward() if "x-signature" in request.headers else Reply(200, {}, b'{"delivered": 1}')

        gateway.answer = answer
        assert failed(smoke()) == {"no credentials": "✗ 200 delivered"}

    def test_voucherify_refuses_customers(self, smoke: Run, aws: LocalAws, voucherify: VoucherifyStub) -> None:
        refused = Fault(400)
        voucherify.rule = lambda call: refused if call.path == "/v1/customers" else None
        ended = smoke()

        assert failed(ended)["identify"].startswith("✗ 400 rejected (Voucherify answered 400")
        assert "settings of smoke-test deleted: 9; messages of smoke-test deleted: 1" in lines(ended)["clean-up"]
        assert nothing_is_left(aws)

    def test_voucherify_is_down(self, smoke: Run, aws: LocalAws, voucherify: VoucherifyStub) -> None:
        down = Fault(503)
        voucherify.rule = lambda call: down
        ended = smoke()

        assert failed(ended) == {"identify": "✗ 202 queued"}
        assert "messages of smoke-test deleted: 1" in lines(ended)["clean-up"]
        assert f"customer {CUSTOMER} not deleted: Voucherify answered 503" in lines(ended)["clean-up"]
        assert nothing_is_left(aws)

    def test_voucherify_refuses_custom_events(self, smoke: Run, aws: LocalAws, voucherify: VoucherifyStub) -> None:
        refused = Fault(400)
        voucherify.rule = lambda call: refused if call.path == "/v1/events" else None
        ended = smoke()

        assert failed(ended)["track"].startswith("✗ 400 rejected (Voucherify answered 400")
        assert failed(ended).keys() == {"track"}
        assert lines(ended)["retry"] == "○ not tried: track failed"
        assert nothing_is_left(aws)

    def test_duplicates_are_not_recognised(self, smoke: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DEDUPLICATION_TABLE", "")
        ended = smoke()

        assert failed(ended)["duplicate"] == "✗ 200 delivered"
        assert failed(ended)["batch"] == "✗ 200 delivered x3"

    def test_gzip_does_not_arrive_whole(self, smoke: Run, gateway: Gateway, function: Function) -> None:
        gateway.answer = _take_gzip_for_text(gateway)
        ended = smoke()

        assert lines(ended)["gzip"] == "○ 401 missing or wrong credentials"
        assert "leave compression off in Segment's libraries" in ended.out
        assert failed(ended) == {}

    def test_bad_event_is_not_stored(self, smoke: Run, gateway: Gateway) -> None:
        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            return Reply(400, {}, b'{"rejected": 1}') if b'"properties": {"customer"' in request.body else forward()

        gateway.answer = answer
        ended = smoke()

        assert failed(ended) == {
            "bad event": "✗ 400 rejected, but not among the first 1000 dead letters",
            "redrive": "✗ there was no dead letter to move",
        }

    def test_functions_do_not_read_changed_settings(self, smoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SETTINGS_TTL_SECONDS", "3600")
        ended = smoke()

        assert failed(ended)["setting changed"] == "✗ identifyDisabled=true is not in force after 75 s: 200 delivered"
        assert failed(ended)["outage"] == "✗ 200 delivered"
        assert lines(ended)["retry"] == "○ not tried: outage failed"
        assert lines(ended)["setting back"].startswith("✓")

    def test_settings_do_not_come_back(self, smoke: Run, aws: LocalAws, gateway: Gateway) -> None:
        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            reply = forward()
            if reply.status == 202:  # from now on it is as if nobody had changed anything back
                gateway.answer = lambda request, forward: Reply(200, {}, b'{"skipped": 1}')
            return reply

        gateway.answer = answer
        assert "is not in force" in failed(smoke())["setting back"]

    def test_retry_worker_does_not_run(self, smoke: Run, aws: LocalAws, time: TimeOfWorker) -> None:
        time.is_stopped = True
        ended = smoke()

        assert failed(ended)["retry"] == "✗ not delivered within 240 s"
        assert failed(ended)["redrive"] == "✗ not delivered within 75 s"
        assert "--source smoke-test" in ended.out
        assert "messages of smoke-test deleted: 2" in lines(ended)["clean-up"]
        assert nothing_is_left(aws)

    def test_redriven_event_is_rejected_again(self, smoke: Run, voucherify: VoucherifyStub) -> None:
        refused = Fault(400)
        events: list[Request] = []

        def rule(call: Request) -> Fault | None:
            events.extend([call] if call.path == "/v1/events" else [])
            return refused if call.path == "/v1/events" and len(events) > 3 else None

        voucherify.rule = rule
        assert failed(smoke()) == {"redrive": "✗ not delivered within 150 s"}

    def test_settings_that_cannot_be_deleted(
        self, smoke: Run, aws: LocalAws, target: Target, voucherify: VoucherifyStub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with aws_proxy(aws.url) as proxy:
            proxy.rule = refuse("DeleteParameters", status=400, code="AccessDeniedException")
            use_target(monkeypatch, replace(target, endpoint_url=proxy.url))
            ended = smoke()

        assert ended.code == 1
        assert "✗ AWS refused DeleteParameters: AccessDeniedException" in failed(ended)["clean-up"]
        assert voucherify.customers == {}

    def test_customer_that_may_not_be_deleted_is_no_failure(self, smoke: Run, voucherify: VoucherifyStub) -> None:
        forbidden = Fault(403)
        voucherify.rule = lambda call: forbidden if call.path.endswith("/permanent-deletion") else None
        ended = smoke()

        assert ended.code == 0
        assert f"○ clean-up: customer {CUSTOMER} not deleted: Voucherify answered 403" in ended.out


class Function:
    """The function of a stack, with versions in moto."""

    def __init__(self, stack: Target) -> None:
        self.stack = stack
        self.name = stack.resource(FUNCTION)
        self.on_publish: Callable[[], None] | None = None
        self._client: Any = boto3.client("lambda")

    def publish(self, versions: int, **alias: Any) -> None:
        """Publish so many versions, and let the alias point to the last one."""
        version = ""
        for number in range(versions):
            self._client.update_function_code(FunctionName=self.name, ZipFile=zipped(f"# {number}"))
            version = self._client.publish_version(FunctionName=self.name)["Version"]
        self._client.create_alias(FunctionName=self.name, Name=ALIAS, FunctionVersion=version, **alias)

    def publish_next(self) -> None:
        """Publish the function as it is, and let the alias point to the new version."""
        version = self._client.publish_version(FunctionName=self.name)["Version"]
        self._client.update_alias(FunctionName=self.name, Name=ALIAS, FunctionVersion=version)
        if self.on_publish:
            on_publish, self.on_publish = self.on_publish, None
            on_publish()

    @property
    def variables(self) -> dict[str, str]:
        found = self._client.get_function_configuration(FunctionName=self.name)["Environment"]["Variables"]
        return dict(found)

    @property
    def version(self) -> str:
        return str(self._client.get_alias(FunctionName=self.name, Name=ALIAS)["FunctionVersion"])


def zipped(code: str) -> bytes:
    with BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("index.py", code)
        return file.getvalue()


def _take_gzip_for_text(gateway: Gateway) -> Answer:
    """Forward a gzipped body as a server does that takes any JSON for text."""

    def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
        if request.headers.get("content-encoding") != "gzip":
            return forward()
        assert json.loads(gzip.decompress(request.body))["type"] == "identify"
        return gateway.forward(replace(request, body=request.body.decode("utf-8", "replace").encode()))

    return answer


def interrupt() -> None:
    """Press Ctrl-C."""
    ident = threading.main_thread().ident
    assert ident
    signal.pthread_kill(ident, signal.SIGINT)


@pytest.mark.parametrize("moment", [2, *(pytest.param(moment, marks=pytest.mark.long) for moment in (1, 7, 8, 9, 10))])
def test_ctrl_c_does_not_keep_the_clean_up_from_running(
    smoke: Run, aws: LocalAws, voucherify: VoucherifyStub, gateway: Gateway, moment: int
) -> None:
    """The interrupted request has been handled, and the command does not know its answer."""
    requests: list[HttpRequest] = []

    def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
        requests.append(request)
        reply = forward()
        if len(requests) == moment:
            interrupt()
        return reply

    gateway.answer = answer
    ended = smoke()

    assert ended.code == 130
    assert ended.err.splitlines()[-2] == "✗ interrupted: the lines above say what was cleaned up"
    assert len(requests) == moment
    assert nothing_is_left(aws)
    assert voucherify.customers == {}


@pytest.mark.long
def test_ctrl_c_in_the_clean_up_ends_only_that_step(
    smoke: Run,
    aws: LocalAws,
    target: Target,
    voucherify: VoucherifyStub,
    time: TimeOfWorker,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    time.is_stopped = True

    def rule(call: AwsCall, forward: Forward) -> Reply:
        reply = forward(call)
        if call.operation == "DeleteParameters":
            interrupt()
        return reply

    with aws_proxy(aws.url) as proxy:
        proxy.rule = rule
        use_target(monkeypatch, replace(target, endpoint_url=proxy.url))
        ended = smoke()

    assert ended.code == 130
    assert "messages of smoke-test deleted: 2" in ended.out
    assert nothing_is_left(aws)
    assert voucherify.customers == {}


@pytest.fixture
def function(aws: LocalAws, target: Target, monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    """A stack that has a function. moto runs none: the local system answers the requests."""
    template = {
        "Parameters": {PARAMETER: {"Type": "String", "Default": "60"}, "LogLevel": {"Type": "String"}},
        "Resources": {
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {"AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": []}},
            },
            FUNCTION: {
                "Type": "AWS::Lambda::Function",
                "Properties": {
                    "Handler": "index.handler",
                    "Runtime": "python3.13",
                    "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                    # CloudFormation takes a text, but moto takes that of an update for an archive.
                    "Code": {"ZipFile": base64.b64encode(zipped("")).decode()},
                    "Environment": {"Variables": {VARIABLE: {"Ref": PARAMETER}, "LOG_LEVEL": {"Ref": "LogLevel"}}},
                },
            },
        },
    }
    cloudformation = boto3.client("cloudformation")
    cloudformation.create_stack(
        StackName="smoke",
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": "LogLevel", "ParameterValue": "DEBUG"}],
    )
    stack = Target("smoke", target.session, aws.url, {**target.known, "SettingsKmsKeyArn": ""})
    use_target(monkeypatch, stack)
    try:
        yield Function(stack)
    finally:
        cloudformation.delete_stack(StackName="smoke")


@pytest.mark.long
class TestRollback:
    def test_fine(self, smoke: Run, function: Function, gateway: Gateway) -> None:
        function.publish(3)
        seen: list[str] = []

        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            seen.append(function.version)
            return forward()

        gateway.answer = answer
        ended = smoke()

        assert ended.code == 0
        assert lines(ended)["rollback"] == "✓ version 2: 200 delivered; back at version 3: 200 delivered"
        assert seen == ["3"] * 10 + ["2", "3"]

    def test_previous_version_fails(self, smoke: Run, function: Function, gateway: Gateway) -> None:
        function.publish(2)
        gateway.answer = lambda request, forward: forward() if function.version == "2" else _FAILED
        ended = smoke()

        text = "version 1: 500 Internal Server Error; back at version 2: 200 delivered"
        assert failed(ended) == {"rollback": f"✗ {text}"}
        assert function.version == "2"

    def test_first_deployment(self, smoke: Run, function: Function) -> None:
        function.publish(1)
        ended = smoke()

        assert lines(ended)["rollback"] == "○ not possible: there is no version before 1"
        assert ended.code == 0

    def test_without_an_alias(self, smoke: Run, function: Function) -> None:
        assert lines(smoke())["rollback"] == "○ not possible: the function has no alias live"

    def test_while_a_deployment_shifts_traffic(self, smoke: Run, function: Function) -> None:
        function.publish(2, RoutingConfig={"AdditionalVersionWeights": {"1": 0.9}})

        assert lines(smoke())["rollback"] == "○ not possible: a deployment is shifting traffic now"

    def test_ctrl_c_moves_the_alias_back(self, smoke: Run, function: Function, gateway: Gateway) -> None:
        function.publish(2)

        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            if function.version == "1":
                interrupt()
            return forward()

        gateway.answer = answer
        ended = smoke()

        assert ended.code == 130
        assert function.version == "2"

    def test_alias_that_somebody_else_has_moved_meanwhile_stays(
        self, smoke: Run, aws: LocalAws, function: Function, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        function.publish(2)
        moves: list[HttpRequest] = []

        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            if request.method != "PUT":
                return forward()
            moves.append(request)
            assert json.loads(request.body)["RevisionId"]
            return forward() if len(moves) == 1 else _PRECONDITION_FAILED  # which moto does not check

        with closing(Gateway(aws.url)) as before_aws:
            before_aws.answer = answer
            use_target(monkeypatch, replace(function.stack, endpoint_url=before_aws.url))
            ended = smoke()

        assert failed(ended) == {"rollback": "✗ the alias still points to version 1: PreconditionFailedException"}
        assert f"--function-name {function.name} --name live --function-version 2" in ended.out
        assert ended.code == 1


@pytest.mark.long
class TestParameter:
    @pytest.fixture
    def updates(self, aws: LocalAws, function: Function, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
        """The updates of the stack so far. After each of them the alias points to a new version, as with SAM."""
        updates: list[str] = []

        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            reply = forward()
            if request.body.startswith(b"Action=UpdateStack"):
                updates.append(request.body.decode())
                function.publish_next()
            return reply

        with closing(Gateway(aws.url)) as before_aws:
            before_aws.answer = answer
            use_target(monkeypatch, replace(function.stack, endpoint_url=before_aws.url))
            yield updates

    def test_fine(self, smoke: Run, function: Function, updates: list[str]) -> None:
        function.publish(1)
        ended = smoke("--update-stack")

        text = "SettingsTtlSeconds 60, 61, 60: version 1 has 60, 2 61, 3 60"
        assert lines(ended)["parameter"] == f"✓ {text}"
        assert len(updates) == 2
        assert function.variables == {VARIABLE: "60", "LOG_LEVEL": "DEBUG"}

    def test_alias_stays_where_it_is(self, smoke: Run, function: Function) -> None:
        function.publish(1)
        ended = smoke("--update-stack")

        text = "SettingsTtlSeconds 60, 61, 60: version 1 has 60, 1 60, 1 60"
        assert failed(ended) == {"parameter": f"✗ {text}"}

    def test_not_without_being_asked(self, smoke: Run, function: Function, updates: list[str]) -> None:
        function.publish(1)

        assert lines(smoke())["parameter"] == "○ not changed without --update-stack"
        assert updates == []

    def test_ctrl_c_changes_it_back(self, smoke: Run, function: Function, updates: list[str]) -> None:
        function.publish(1)
        function.on_publish = interrupt
        ended = smoke("--update-stack")

        assert ended.code == 130
        assert len(updates) == 2
        assert function.variables[VARIABLE] == "60"

    def test_update_that_is_refused(
        self, smoke: Run, aws: LocalAws, function: Function, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        function.publish(1)

        def answer(request: HttpRequest, forward: Callable[[], Reply]) -> Reply:
            return _ACCESS_DENIED if request.body.startswith(b"Action=UpdateStack") else forward()

        with closing(Gateway(aws.url)) as before_aws:
            before_aws.answer = answer
            use_target(monkeypatch, replace(function.stack, endpoint_url=before_aws.url))
            ended = smoke("--update-stack")

        assert failed(ended) == {"parameter": "✗ AWS refused UpdateStack: AccessDenied: made up by a test"}


_ACCESS_DENIED = Reply(
    403,
    {"Content-Type": "text/xml"},
    b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>made up by a test</Message></Error></ErrorResponse>",
)
_FAILED = Reply(500, {"Content-Type": "application/json"}, b'{"message": "Internal Server Error"}')
_PRECONDITION_FAILED = Reply(412, {"x-amzn-ErrorType": "PreconditionFailedException"}, b"{}")
