"""Several sources in one deployment: each with its own credentials, mapping, project, pauses, duplicates, metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from handler.delivery.backoff import STEPS
from local.stack.aws import SETTINGS_PATH
from local.stack.cold import start_cold
from local.stack.http_server import Reply
from local.stack.samples import SHARED_SECRET, sign
from local.stack.system import API_KEY, API_TOKEN
from local.voucherify_stub.stub import Fault, VoucherifyStub
from tests.contract.published import assert_published
from tests.function import ACCESS_TOKEN, Answer, Function
from tests.scenarios.aws_proxy import AwsCall, Forward, aws_proxy
from tests.worker import Worker, hidden_seconds, put_body, stored

HOUR = 60 * 60.0

SHOP_KEY, SHOP_TOKEN, SHOP_SECRET = "shop-app-id", "shop-secret-key", "shop-shared-secret"

IDENTIFY = {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"email": "ada@example.com"}}
TRACK = {"type": "track", "messageId": "t-1", "userId": "u-1", "event": "Signed Up", "properties": {"name": "Ada"}}

TRACK_REQUEST = ("POST", "/v1/events", {"event": "Signed Up", "customer": {"source_id": "u-1", "name": "Ada"}})
SHOP_REQUEST = (
    "POST",
    "/v1/events",
    {"event": "Signed Up", "customer": {"source_id": "u-1"}, "metadata": {"who": "Ada"}},
)

FAULTY_MAPPING = '{"properties.name": "metadata"'


@dataclass(frozen=True)
class Sources:
    """The source `default`, and `shop` with a Voucherify project, a mapping and a shared secret of its own."""

    function: Function
    shop: VoucherifyStub

    @property
    def default(self) -> VoucherifyStub:
        return self.function.voucherify

    def post(self, source: str, *events: dict[str, Any], secret: str | None = None) -> Answer:
        """One event, or an array of several, signed with the source's own secret unless `secret` says otherwise."""
        path = "/events" if source == "default" else f"/events/{source}"
        own = SHOP_SECRET if source == "shop" else SHARED_SECRET
        parts = [json.dumps(event).encode() for event in events]
        body = parts[0] if len(parts) == 1 else b"[" + b",".join(parts) + b"]"
        return self.function.send(body, {"X-Signature": sign(parts[0], own if secret is None else secret)}, path=path)

    def store(self, *sources: str) -> None:
        """A track event of each, in the retry queue after a first failure; named by its place."""
        for number, source in enumerate(sources):
            project = self.shop if source == "shop" else self.default
            project.next(Fault(503))
            event = {**TRACK, "messageId": f"stored-{number}", "userId": f"u-{number}"}
            assert self.post(source, event).body["queued"] == 1

    @property
    def sent(self) -> dict[str, list[tuple[str, str, Any]]]:
        """What reached each project."""
        projects = {"default": self.default, "shop": self.shop}
        return {
            name: [(call.method, call.path, call.json) for call in project.calls] for name, project in projects.items()
        }

    @property
    def applied(self) -> dict[str, int]:
        """How many events each project has applied."""
        return {"default": len(self.default.events), "shop": len(self.shop.events)}

    def lines(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.function.logs if line["message"] == message]


@pytest.fixture
def shop() -> Iterator[VoucherifyStub]:
    """Another project of Voucherify, which takes other keys."""
    with VoucherifyStub(api_key=SHOP_KEY, api_token=SHOP_TOKEN) as project:
        yield project
        for call in project.calls:
            assert_published(call.path, call.json)


@pytest.fixture
def sources(function: Function, shop: VoucherifyStub) -> Sources:
    function.start_anew(sharedSecret=SHARED_SECRET)
    function.put_source(
        "shop",
        apiKey=SHOP_KEY,
        apiToken=SHOP_TOKEN,
        apiUrl=shop.url,
        sharedSecret=SHOP_SECRET,
        trackMapping='{"properties.name": "metadata.who"}',
    )
    return Sources(function, shop)


@pytest.fixture
def worker(sources: Sources) -> Worker:
    start_cold()
    return Worker(sources.function.aws)


def still_stored() -> list[str]:
    """The sources of what is in the retry queue."""
    return sorted(record["source"] for record in stored("RETRY_QUEUE_URL"))


# Each to its own project


def test_each_source_is_delivered_to_its_own_project_by_its_own_mapping(sources: Sources) -> None:
    assert [sources.post(source, TRACK).status for source in ("default", "shop")] == [200, 200]
    assert sources.sent == {"default": [TRACK_REQUEST], "shop": [SHOP_REQUEST]}
    keys = [
        (call.headers["X-App-Id"], call.headers["X-App-Token"])
        for project in (sources.default, sources.shop)
        for call in project.calls
    ]
    assert keys == [(API_KEY, API_TOKEN), (SHOP_KEY, SHOP_TOKEN)]


def test_what_a_source_does_not_set_itself_it_has_from_the_common_settings(sources: Sources) -> None:
    sources.function.put_source("app", trackDisabled="true")
    assert sources.post("app", IDENTIFY, TRACK).body["delivered"] == 1
    assert sources.sent == {
        "default": [("POST", "/v1/customers", {"source_id": "u-1", "email": "ada@example.com"})],
        "shop": [],
    }
    assert sources.post("default", TRACK).body["delivered"] == 1, "what a source sets is for itself alone"


def test_an_unknown_source_is_not_found_and_nobodys_credentials_are_used(sources: Sources) -> None:
    causes = {
        "/events/nobody": "unknown_source",
        "/events/Shop": "unknown_source",
        "/events/default": "unknown_source",
        "/events/sharedSecret": "unknown_source",
        "/events/..": "unknown_source",
        "/events/shop/orders": "unknown_path",
        "/events/sh%6Fp": "unknown_path",
        "/events//shop": "unknown_path",
    }
    body = json.dumps(TRACK).encode()
    for path, cause in causes.items():
        sources.function.logs.clear()
        for secret in (SHARED_SECRET, SHOP_SECRET, ""):
            answer = sources.function.send(body, {"X-Signature": sign(body, secret)}, path=path)
            assert answer.status == 404, path
        assert [(line["source"], line["cause"]) for line in sources.function.logs] == [("unknown", cause)] * 3, path
    assert sources.sent == {"default": [], "shop": []}
    assert (sources.function.retries, sources.function.dead_letters) == ([], [])


def test_a_source_is_there_once_its_first_setting_is_and_gone_with_its_last(sources: Sources) -> None:
    assert sources.post("app", TRACK).status == 404
    sources.function.put_source("app", trackDisabled="false")
    start_cold()  # one that is known to be missing is looked for only now and then
    assert sources.post("app", TRACK).status == 200
    sources.function.aws.ssm.delete_parameters(Names=[f"{SETTINGS_PATH}/app/trackDisabled"])
    assert sources.post("app", TRACK).status == 404


def test_a_signature_is_good_at_the_source_whose_secret_made_it(sources: Sources) -> None:
    statuses = {
        (source, secret): sources.post(source, IDENTIFY, secret=secret).status
        for source in ("default", "shop")
        for secret in (SHARED_SECRET, SHOP_SECRET)
    }
    assert statuses == {
        ("default", SHARED_SECRET): 200,
        ("default", SHOP_SECRET): 401,
        ("shop", SHARED_SECRET): 401,
        ("shop", SHOP_SECRET): 200,
    }
    assert {name: len(sent) for name, sent in sources.sent.items()} == {"default": 1, "shop": 1}


def test_a_common_secret_that_was_before_is_not_good_at_a_source_with_its_own(sources: Sources) -> None:
    sources.function.put(sharedSecretPrevious="before")
    statuses = [sources.post(source, IDENTIFY, secret="before").status for source in ("default", "shop")]
    assert statuses == [200, 401]


def test_a_source_with_half_of_its_keys_takes_nothing_and_others_do(sources: Sources) -> None:
    sources.function.put_source("app", apiKey=SHOP_KEY)
    assert [sources.post(source, IDENTIFY).status for source in ("app", "default", "shop")] == [503, 200, 200]
    (line,) = sources.lines("settings cannot be used")
    assert (line["source"], line["faults"]) == (
        "app",
        ["apiToken: is not set for the source app, which has its own keys"],
    )


def test_the_faults_of_one_source_leave_the_others_alone(sources: Sources) -> None:
    sources.function.put_source("shop", trackMapping=FAULTY_MAPPING)
    assert [sources.post(source, TRACK).status for source in ("shop", "default")] == [503, 200]
    assert sources.sent == {"default": [TRACK_REQUEST], "shop": []}


# Duplicates


def test_a_message_id_is_delivered_once_for_each_source(sources: Sources) -> None:
    for count in ({"delivered": 1}, {"duplicate": 1}):
        for source in ("default", "shop"):
            assert sources.post(source, TRACK).body == {
                **dict.fromkeys(("delivered", "queued", "skipped", "duplicate", "rejected"), 0),
                **count,
            }
    assert sources.sent == {"default": [TRACK_REQUEST], "shop": [SHOP_REQUEST]}


def test_two_sources_of_one_project_are_two_sources_all_the_same(sources: Sources) -> None:
    sources.function.put_source("app", trackDisabled="false")
    assert [sources.post(source, TRACK).body["delivered"] for source in ("default", "app")] == [1, 1]
    assert sources.sent == {"default": [TRACK_REQUEST] * 2, "shop": []}


# Pauses


def used_up() -> Fault:
    """The call is applied, and was the last of its window."""
    end = str(round(time.time() + HOUR / 2))
    return Fault(headers={"X-Rate-Limit-Limit": "100", "X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Retry": end})


def limited() -> Fault:
    return Fault(429, headers={"Retry-After": "1800"})


def plan_used_up() -> Fault:
    return Fault(402)


@pytest.mark.parametrize("fault", [used_up, limited, plan_used_up])
def test_while_one_project_pauses_the_other_goes_on(sources: Sources, fault: Callable[[], Fault]) -> None:
    sources.shop.next(fault())
    sources.post("shop", IDENTIFY)
    for number in range(3):
        event = {**TRACK, "messageId": f"t-{number}"}
        assert sources.post("shop", event).body["queued"] == 1
        assert sources.post("default", event).body["delivered"] == 1
    assert {name: len(sent) for name, sent in sources.sent.items()} == {"default": 3, "shop": 1}
    assert set(still_stored()) == {"shop"}
    assert all(seconds > 600 for seconds in hidden_seconds("RETRY_QUEUE_URL")[-3:])


def test_sources_of_one_project_pause_together(sources: Sources) -> None:
    sources.function.put_source("app", trackDisabled="true")
    sources.default.next(limited())
    assert [sources.post(source, IDENTIFY).body["queued"] for source in ("default", "app", "shop")] == [1, 1, 0]
    assert {name: len(sent) for name, sent in sources.sent.items()} == {"default": 1, "shop": 1}


def test_the_worker_goes_on_with_one_project_while_the_other_pauses(sources: Sources, worker: Worker) -> None:
    sources.store("shop", "default", "shop", "default")
    sources.shop.rule = lambda request: limited()
    batch = worker.run()
    assert (len(batch.records), len(batch.kept)) == (4, 2)
    assert still_stored() == ["shop", "shop"]
    assert all(seconds > 600 for seconds in hidden_seconds("RETRY_QUEUE_URL"))
    assert sources.applied == {"default": 2, "shop": 0}

    sources.shop.rule = None
    worker.start_cold()
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert sources.applied == {"default": 2, "shop": 2}


# Refused keys


def test_keys_that_one_project_refuses_do_not_stop_the_other(sources: Sources) -> None:
    sources.function.put_source("shop", apiToken="wrong")
    answers = [sources.post(source, IDENTIFY, TRACK).body for source in ("shop", "default", "shop")]
    assert [(answer["delivered"], answer["queued"]) for answer in answers] == [(0, 2), (2, 0), (0, 2)]
    assert {name: len(sent) for name, sent in sources.sent.items()} == {"default": 2, "shop": 2}
    assert still_stored() == ["shop"] * 4
    loud = [line for line in sources.function.logs if line["level"] == "ERROR"]
    assert {(line["source"], line["code"]) for line in loud} == {("shop", "credentials_refused")}


def test_the_worker_delivers_one_source_while_the_others_keys_are_refused(sources: Sources, worker: Worker) -> None:
    sources.store("shop", "default")
    sources.function.put_source("shop", apiToken="wrong")
    assert len(worker.run().kept) == 1
    assert still_stored() == ["shop"]
    assert sources.applied == {"default": 1, "shop": 0}

    sources.function.put_source("shop", apiToken=SHOP_TOKEN)
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert sources.applied == {"default": 1, "shop": 1}


# What is stored


def test_a_record_names_its_source_and_the_worker_delivers_it_as_that_source(sources: Sources, worker: Worker) -> None:
    sources.store("shop", "default", "shop")
    sources.default.reset()
    sources.shop.reset()
    assert [(record["source"], record["event"]["messageId"]) for record in stored("RETRY_QUEUE_URL")] == [
        ("shop", "stored-0"),
        ("default", "stored-1"),
        ("shop", "stored-2"),
    ]

    batch = worker.run()
    assert (len(batch.records), batch.kept) == (3, [])
    assert sources.sent["default"] == [
        ("POST", "/v1/events", {"event": "Signed Up", "customer": {"source_id": "u-1", "name": "Ada"}})
    ]
    assert sorted(body["customer"]["source_id"] for _, _, body in sources.sent["shop"]) == ["u-0", "u-2"]
    assert [body["metadata"] for _, _, body in sources.sent["shop"]] == [{"who": "Ada"}] * 2
    assert still_stored() == []
    for number, source in enumerate(("shop", "default", "shop")):
        event = {**TRACK, "messageId": f"stored-{number}"}
        assert sources.post(source, event).body["duplicate"] == 1, "the worker and the handler share a source's ledger"


def test_a_dead_letter_names_its_source_and_is_redriven_as_that_source(sources: Sources, worker: Worker) -> None:
    sources.shop.next(Fault(400), None, Fault(503), Fault(400))  # None: the metadata schemas are read
    assert sources.post("shop", TRACK).status == 400
    assert sources.post("shop", {**TRACK, "messageId": "t-2"}).status == 202
    worker.run()
    assert [record["source"] for record in stored("DEAD_LETTER_QUEUE_URL")] == ["shop", "shop"]

    assert worker.redrive() == 2
    assert worker.run().kept == []
    assert sources.applied == {"default": 0, "shop": 2}


@pytest.mark.parametrize("cause", ["unknown_source", "faulty_settings"])
def test_a_source_without_good_settings_keeps_its_messages_while_others_are_delivered(
    sources: Sources, worker: Worker, cause: str
) -> None:
    sources.store("shop", "default", "shop")
    if cause == "unknown_source":
        own = ("apiKey", "apiToken", "apiUrl", "sharedSecret", "trackMapping")
        sources.function.aws.ssm.delete_parameters(Names=[f"{SETTINGS_PATH}/shop/{name}" for name in own])
    else:
        sources.function.put_source("shop", trackMapping=FAULTY_MAPPING)
    batch = worker.run()
    assert (len(batch.records), len(batch.kept)) == (3, 2)
    assert still_stored() == ["shop", "shop"]
    assert all(seconds <= STEPS[0] for seconds in hidden_seconds("RETRY_QUEUE_URL")), "hidden for the first wait"
    assert stored("DEAD_LETTER_QUEUE_URL") == []
    assert sources.applied == {"default": 1, "shop": 0}
    (line,) = sources.lines("events kept")
    source = "unknown" if cause == "unknown_source" else "shop"
    assert (line["level"], line["source"], line["cause"]) == ("ERROR", source, cause)
    assert "shop" in line["problem"] or source == "shop"

    sources.function.put_source(
        "shop", apiKey=SHOP_KEY, apiToken=SHOP_TOKEN, apiUrl=sources.shop.url, trackMapping="{}"
    )
    worker.start_cold()
    worker.time_passes(HOUR)
    assert worker.run().kept == []
    assert sources.applied == {"default": 1, "shop": 2}


def test_a_record_of_a_source_that_never_was_is_delivered_to_nobody(sources: Sources, worker: Worker) -> None:
    failure = {"stage": "deliver", "code": "voucherify_503", "message": "Voucherify answered 503"}
    record = {"event": TRACK, "attempts": 1, "firstFailedAt": "2026-12-02T00:30:08.276Z", "failure": failure}
    for source in ("nobody", "", "Shop"):
        put_body(sources.function, json.dumps({**record, "source": source}))
    assert len(worker.run().kept) == 3
    assert sources.sent == {"default": [], "shop": []}


# What is said of each


def figures(sources: Sources) -> set[tuple[str, str, str]]:
    """The metrics since the last look: source, name, and the code or cause where it counts by one."""
    lines = sources.function.logs.metrics[:]
    sources.function.logs.metrics.clear()
    dimensions = {"source", "code", "cause"}
    return {
        (line["source"], name, line.get("code") or line.get("cause") or "")
        for line in lines
        for name in line.keys() - dimensions
    }


def test_metrics_are_by_source(sources: Sources, worker: Worker) -> None:
    sources.post("default", TRACK)
    sources.post("default", TRACK)
    sources.shop.next(Fault(503), Fault(400))
    sources.post("shop", TRACK)
    assert figures(sources) == {
        ("default", "Received", ""),
        ("default", "Delivered", ""),
        ("default", "Duplicate", ""),
        ("default", "VoucherifyLatency", ""),
        ("shop", "Received", ""),
        ("shop", "Queued", ""),
        ("shop", "VoucherifyLatency", ""),
        ("shop", "NotDelivered", "voucherify_503"),
    }

    worker.run()
    assert figures(sources) == {
        ("shop", "Rejected", ""),
        ("shop", "VoucherifyLatency", ""),
        ("shop", "RetryAge", ""),
        ("shop", "NotDelivered", "voucherify_400"),
        ("shop", "Dead", "voucherify_400"),
    }


def test_what_is_refused_counts_for_its_source_and_for_none_where_there_is_none(sources: Sources) -> None:
    sources.function.put_source("app", trackMapping=FAULTY_MAPPING)
    assert sources.post("shop", TRACK, secret="wrong").status == 401
    assert sources.post("nobody", TRACK).status == 404
    assert sources.post("app", TRACK).status == 503
    assert figures(sources) == {
        ("shop", "Refused", "wrong_signature"),
        ("unknown", "Refused", "unknown_source"),
        ("app", "SettingsUnusable", ""),
        ("app", "Refused", "faulty_settings"),
    }


def test_each_line_of_the_log_names_its_source(sources: Sources, worker: Worker) -> None:
    sources.function.put_source("shop", trackMaping="{}")
    sources.shop.next(Fault(503), Fault(503))
    sources.post("shop", TRACK)
    sources.post("default", TRACK)
    worker.run()
    assert [(line["message"], line.get("source")) for line in sources.function.logs] == [
        ("parameters that are no settings", "shop"),
        ("event not delivered", "shop"),
        ("request", "shop"),
        ("request", "default"),
        ("parameters that are no settings", "shop"),
        ("event not delivered", "shop"),
        ("redelivered", "shop"),
        ("batch", None),
    ]


# What it costs


def test_one_read_of_ssm_serves_all_sources(sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "60")
    sources.function.start_anew(sharedSecret=SHARED_SECRET, accessToken=ACCESS_TOKEN)
    sources.function.put_source("shop", apiKey=SHOP_KEY, apiToken=SHOP_TOKEN, apiUrl=sources.shop.url)
    sources.function.put_source("app", trackDisabled="true")
    operations: list[str] = []

    def note(call: AwsCall, forward: Forward) -> Reply:
        operations.append(call.operation)
        return forward(call)

    with aws_proxy(sources.function.aws.url) as proxy:
        proxy.rule = note
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        body = json.dumps(IDENTIFY).encode()
        headers = {"X-Signature": sign(body), "Authorization": f"Bearer {ACCESS_TOKEN}"}
        for path in ("/events/shop", "/events", "/events/app", "/v1/identify") * 2:
            assert sources.function.send(body, headers, path=path).status == 200
    assert [operation for operation in operations if operation != "GetItem"] == ["GetParametersByPath"]
    assert {name: len(sent) for name, sent in sources.sent.items()} == {"default": 6, "shop": 2}
