"""`replay`: history through the mapping and the delivery, in order, once, and on from where it was."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.endpoint
import pytest

from cli.commands import replay
from cli.replay import project, retry_loop, run
from cli.replay.checkpoint import Checkpoint, Identity
from cli.target import Target
from local.stack.aws import LocalAws
from local.stack.cold import start_cold
from local.stack.system import API_KEY, API_TOKEN, LocalSystem
from local.voucherify_stub.stub import Call, Fault, RateLimit, Request, VoucherifyStub
from tests.cli.conftest import Ended, Run, Time, invoke, use_target
from tests.function import Function
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, aws_proxy, refusal, refuse

BULK = "/v1/customers/bulk/async"
IMPORT = "/v1/orders/import"
FIRES_NOTHING = "fires no earning rules or distributions"

Replay = Callable[..., Ended]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(replay, "CLOCK", clock)
    monkeypatch.setattr(replay, "SLEEP", clock.sleep)
    return clock


@pytest.fixture
def history(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of events."""

    def write(*events: Any, name: str = "history.jsonl") -> Path:
        path = tmp_path / name
        text = "".join(f"{event if isinstance(event, str) else json.dumps(event)}\n" for event in events).encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return path

    return write


@pytest.fixture
def replayed(run: Run, clock: Time, tmp_path: Path) -> Replay:
    """Replays inputs, with a checkpoint in `tmp_path`."""

    def replayed(*arguments: object) -> Ended:
        return run("replay", "--checkpoint", str(tmp_path / "replay.sqlite"), *map(str, arguments))

    return replayed


@pytest.fixture
def proxy(replayed: Replay, system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> Iterator[AwsProxy]:
    """AWS as the command sees it, without the waits between botocore's tries."""
    direct = Target.local(0)
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
    with aws_proxy(system.aws.url) as proxy:
        target = Target("local", direct.session, proxy.url, direct.known)
        use_target(monkeypatch, target)
        yield proxy


def identify(user: str, **traits: Any) -> dict[str, Any]:
    return {"type": "identify", "userId": user, "traits": traits}


def track(user: str, event: str, message_id: str, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "userId": user, "event": event, "messageId": message_id, "properties": properties}


def crowd(count: int) -> list[dict[str, Any]]:
    return [identify(f"u{number}", name=f"User {number}", metadata={"n": number}) for number in range(count)]


def paths(voucherify: VoucherifyStub) -> Counter[str]:
    return Counter(map(path_of, voucherify.calls))


def path_of(call: Request) -> str:
    return "action" if "async-actions" in call.path else call.path


def names(voucherify: VoucherifyStub) -> dict[str, Any]:
    return {key: customer.get("name") for key, customer in voucherify.customers.items()}


def switch_on(aws: LocalAws, *calls: str) -> None:
    aws.put_settings({f"{call}Disabled": "false" for call in calls})


class TestWhatIsSent:
    def test_customers_in_bulk_then_tracks(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        events = [track("u1", "Order Completed", "m1"), *crowd(1_050), track("u2", "Moved", "m2")]
        ended = replayed(history(*events), "--json", *SENDS_ALL)

        assert ended.code == 0
        assert ended.json["delivered"] == 1_052
        assert sorted(len(call.json) for call in voucherify.calls[:2]) == [50, 1_000]
        assert [call.path for call in voucherify.calls[-2:]] == ["/v1/events", "/v1/events"]
        assert paths(voucherify) == {BULK: 2, "action": 3, "/v1/events": 2}
        assert len(voucherify.customers) == 1_050

    def test_upserts_of_a_customer_are_merged(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        replayed(
            history(
                *crowd(6),
                identify("u1", name="Later", address={"city": "Paris"}, metadata={"plan": "pro"}),
                track("u1", "Order Completed", "m1"),
                identify("u1", email="u1@example.com", address={"country": "FR"}),
            )
        )

        (bulk,) = [call for call in voucherify.calls if call.path == BULK]
        assert [row for row in bulk.json if row["source_id"] == "u1"] == [
            {
                "source_id": "u1",
                "name": "Later",
                "email": "u1@example.com",
                "metadata": {"n": 1, "plan": "pro"},
                "address": {"country": "FR"},
            }
        ]

    def test_track_with_traits_is_not_overtaken(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        renamed = [track(f"u{number}", "Renamed", f"m{number}", name="By a track") for number in range(6)]
        later = [identify(f"u{number}", name="Last") for number in range(5)]
        replayed(history(*crowd(6), *renamed, *later))

        assert names(voucherify) == {**dict.fromkeys(["u0", "u1", "u2", "u3", "u4"], "Last"), "u5": "By a track"}
        assert paths(voucherify)[BULK] == 2

    def test_deletion_and_new_identify_keep_their_order(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        switch_on(aws, "delete")
        gone = [{"type": "delete", "userId": user} for user in ("u1", "u2")]
        ended = replayed(history(*crowd(6), *gone, identify("u2", email="back@example.com")))

        assert ended.code == 0
        assert names(voucherify) == {"u0": "User 0", "u2": None, **{f"u{n}": f"User {n}" for n in (3, 4, 5)}}

    def test_events_before_a_deletion_are_skipped(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        switch_on(aws, "delete")
        day = {number: f"2026-05-0{number}T12:00:00.000Z" for number in range(1, 6)}
        deletion = {"type": "delete", "userId": "u1", "receivedAt": day[3]}
        replayed(history(deletion, name="first.jsonl"))
        events = [{**event, "receivedAt": day[1]} for event in crowd(7)]
        late = {**identify("u1", name="Came back"), "receivedAt": day[4]}
        old = {**track("u1", "Order Completed", "m1"), "receivedAt": day[2]}
        files = history(*events, old, late)
        ended = replayed(files, "--checkpoint", files.with_name("other.sqlite"), "--json")

        assert ended.json["skipped"] == {"customer_deleted": 2}
        assert voucherify.customers["u1"]["name"] == "Came back"
        assert voucherify.customers["u1"]["metadata"] == {}
        assert voucherify.events == []

    def test_without_bulk_each_event_is_a_call(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        replayed(history(*crowd(8)), "--no-bulk")

        assert paths(voucherify) == {"/v1/customers": 8}

    def test_few_customers_are_sent_singly(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        replayed(history(*crowd(4)))

        assert paths(voucherify) == {"/v1/customers": 4}

    def test_refused_row_is_sent_alone(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, tmp_path: Path
    ) -> None:
        alone = {"source_id": "u1", "name": "User 1", "metadata": {"n": 1}}
        voucherify.row_rule = lambda row: "no" if row["source_id"] in ("u1", "u2") else None
        voucherify.rule = lambda call: Fault(400) if call.json == alone else None
        ended = replayed(history(*crowd(6)), "--json")

        assert ended.code == 1
        assert (ended.json["delivered"], ended.json["rejected"]) == (5, {"voucherify_400": 1})
        (line,) = (tmp_path / "replay.sqlite.rejected.jsonl").read_text().splitlines()
        assert json.loads(line)["event"]["userId"] == "u1"
        assert json.loads(line)["failure"]["code"] == "voucherify_400"

    def test_settings_of_the_source_apply(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        aws.put_settings({"shop/identifyMapping": '{"nick": "customer.name"}'})
        replayed(history(identify("u1", nick="Ada")), "--source", "shop")

        assert voucherify.calls[0].json == {"source_id": "u1", "name": "Ada"}

    def test_missing_or_faulty_source(self, replayed: Replay, history: Callable[..., Path], aws: LocalAws) -> None:
        path = history(identify("u1"))
        assert "source nobody has no settings" in replayed(path, "--source", "nobody").err
        aws.put_settings({"identifyMapping": "{"})
        ended = replayed(path)
        assert ended.code == 1
        assert "identifyMapping" in ended.err


class TestOrders:
    @pytest.fixture(autouse=True)
    def order_events(self, system: LocalSystem) -> None:
        statuses = {"Order Completed": "PAID", "Order Cancelled": "CANCELED", "Order Updated": "CREATED"}
        system.aws.put_settings({"orderEvents": json.dumps(statuses)})

    def test_an_order_is_imported_before_its_custom_event(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        bought = {"order_id": "o1", "total": 19.99, "currency": "EUR"}
        ended = replayed(history(track("u1", "Order Completed", "m1", **bought)), "--json")

        assert (ended.code, ended.json["delivered"]) == (0, 1)
        assert [path_of(call) for call in voucherify.calls] == [IMPORT, "action", "action", "/v1/events"]
        assert voucherify.calls[0].body == (
            b'[{"source_id":"o1","amount":1999,"metadata":{"currency":"EUR"},"status":"PAID",'
            b'"customer":{"source_id":"u1"}}]'
        )
        assert voucherify.calls[-1].json["event"] == "Order Completed"
        assert voucherify.orders["o1"]["status"] == "PAID"

    def test_events_of_an_order_are_merged(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        one, two, three = ({"product_id": name, "quantity": 1, "price": 2} for name in "abc")
        events = [
            track("u1", "Order Updated", "m1", order_id="o1", total=4, coupon="OLD", tax=1, products=[one, two]),
            track("u2", "Order Completed", "m2", order_id="o2"),
            track("u1", "Order Completed", "m3", order_id="o1", total=2, coupon="NEW", products=[three]),
        ]
        ended = replayed(history(*events), "--json")

        (order, _) = voucherify.calls[0].json
        items = order.pop("items")
        assert order == {
            "source_id": "o1",
            "status": "PAID",
            "amount": 200,
            "metadata": {"coupon": "NEW", "tax": 1},
            "customer": {"source_id": "u1"},
        }
        assert [item["source_id"] for item in items] == ["c"]
        assert ended.json["delivered"] == 3
        assert paths(voucherify) == {IMPORT: 1, "action": 2, "/v1/events": 3}

    def test_an_import_has_2000_orders(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        aws.put_settings({"trackEventsFilter": '["Nothing"]'})
        orders = [track("u1", "Order Completed", f"m{number}", order_id=f"o{number}") for number in range(2_001)]
        ended = replayed(history(*orders), "--json", *SENDS_ALL)

        assert (ended.code, ended.json["delivered"]) == (0, 2_001)
        assert paths(voucherify) == {IMPORT: 2, "action": 3}
        assert sorted(len(call.json) for call in voucherify.calls if call.path == IMPORT) == [1, 2_000]
        assert len(voucherify.orders) == 2_001

    def test_refused_order_is_rejected_and_its_custom_event_delivered(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, tmp_path: Path
    ) -> None:
        voucherify.row_rule = lambda row: "items[0] is odd" if row["source_id"] == "o1" else None
        events = [track(f"u{number}", "Order Completed", f"m{number}", order_id=f"o{number}") for number in range(3)]
        ended = replayed(history(*events), "--json")

        assert ended.code == 1
        assert (ended.json["delivered"], ended.json["rejected"]) == (2, {"order_not_imported": 1})
        (line,) = (tmp_path / "replay.sqlite.rejected.jsonl").read_text().splitlines()
        assert json.loads(line)["event"] == events[1]
        assert json.loads(line)["failure"] == {
            "stage": "deliver",
            "code": "order_not_imported",
            "message": "Voucherify did not import the order: items[0] is odd",
        }
        assert len(voucherify.events) == 3
        assert paths(voucherify) == {IMPORT: 1, "action": 2, "/v1/events": 3}

        voucherify.row_rule = None
        again = replayed(tmp_path / "replay.sqlite.rejected.jsonl", "--checkpoint", tmp_path / "again.sqlite", "--json")
        assert (again.code, again.json["delivered"]) == (0, 1)
        assert len(voucherify.events) == 3
        assert voucherify.orders.keys() == {"o0", "o1", "o2"}

    def test_event_whose_order_and_custom_event_fail_counts_once(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        voucherify.row_rule = lambda row: "odd"
        voucherify.rule = lambda call: Fault(400) if call.path == "/v1/events" else None
        ended = replayed(history(track("u1", "Order Completed", "m1", order_id="o1")), "--json")

        assert (ended.json["delivered"], ended.json["rejected"]) == (0, {"order_not_imported": 1})

    def test_one_order_at_fault_is_found_in_a_refused_call(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        aws.put_settings({"trackEventsFilter": '["Nothing"]'})

        def rule(call: Request) -> Fault | None:
            is_refused = call.path == IMPORT and any(row["source_id"] == "o3" for row in call.json)
            return Fault(400) if is_refused else None

        voucherify.rule = rule
        orders = [track("u1", "Order Completed", f"m{number}", order_id=f"o{number}") for number in range(8)]
        ended = replayed(history(*orders), "--json")

        assert (ended.json["delivered"], ended.json["rejected"]) == (7, {"voucherify_400": 1})
        assert voucherify.orders.keys() == {f"o{number}" for number in range(8)} - {"o3"}
        assert paths(voucherify)[IMPORT] == 7
        assert voucherify.events == []

    def test_order_without_an_id_is_rejected_and_its_custom_event_delivered(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        ended = replayed(history(track("u1", "Order Completed", "m1")), "--json")

        assert ended.code == 1
        assert (ended.json["delivered"], ended.json["rejected"]) == (0, {"order_id_missing": 1})
        assert paths(voucherify) == {"/v1/events": 1}

    def test_order_is_imported_though_its_custom_event_cannot_be_made(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        aws.put_settings({"orderEvents": '{"*": "PAID"}'})
        event = {**track("u1", "", "m1", order_id="o1"), "event": {"no": "text"}}
        ended = replayed(history(event), "--json")

        assert (ended.json["delivered"], ended.json["rejected"]) == (0, {"invalid_event_name": 1})
        assert paths(voucherify) == {IMPORT: 1, "action": 2}

    def test_as_live_sends_orders_one_by_one(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        events = [
            track("u1", "Order Updated", "m1", order_id="o1"),
            track("u1", "Order Completed", "m2", order_id="o1"),
            track("u1", "Order Completed", "m3"),
        ]
        ended = replayed(history(*events), "--as-live", "--json")

        assert (ended.json["delivered"], ended.json["rejected"]) == (2, {"order_id_missing": 1})
        assert [call.path for call in voucherify.calls] == ["/v1/orders", "/v1/events"] * 2 + ["/v1/events"]
        assert voucherify.orders["o1"]["status"] == "PAID"
        assert "import" not in ended.err

    def test_no_bulk_imports_orders_all_the_same(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        replayed(history(*crowd(6), track("u1", "Order Completed", "m1", order_id="o1")), "--no-bulk")

        assert paths(voucherify) == {"/v1/customers": 6, IMPORT: 1, "action": 2, "/v1/events": 1}

    def test_dry_run_counts_orders_and_imports(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        orders = [track("u1", "Order Completed", f"m{number}", order_id=f"o{number}") for number in range(2_001)]
        again, without_id = track("u1", "Order Cancelled", "m", order_id="o1"), track("u1", "Order Completed", "n")
        ended = replayed(history(*orders, again, without_id), "--dry-run", "--json")

        assert ended.code == 1
        assert ended.json == {
            "to_send": {"track_event": 2_003, "upsert_order": 2_002},
            "skipped": 0,
            "rejected": {"order_id_missing": 1},
            "calls": 2_003 + 5,
            "imports": {"orders": 2_001, "calls": 2},
        }
        assert FIRES_NOTHING in ended.err
        assert voucherify.calls == []

    def test_dry_run_as_live(self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub) -> None:
        path = history(track("u1", "Order Completed", "m1", order_id="o1"), track("u1", "Order Completed", "m2"))
        ended = replayed(path, "--dry-run", "--as-live", "--json")

        assert ended.json == {
            "to_send": {"track_event": 2, "upsert_order": 1},
            "skipped": 0,
            "rejected": {"order_id_missing": 1},
            "calls": 3,
            "imports": {"orders": 0, "calls": 0},
        }
        assert FIRES_NOTHING not in ended.err
        assert "about 1 calls import 1 orders" in replayed(path, "--dry-run").out
        assert voucherify.calls == []

    def test_it_notes_once_that_an_import_fires_nothing(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        voucherify: VoucherifyStub,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(replay, "WINDOW_EVENTS", 1)
        assert FIRES_NOTHING not in replayed(history(identify("u1"), name="none.jsonl")).err
        orders = [track("u1", "Order Completed", f"m{number}", order_id=f"o{number}") for number in range(2)]
        ended = replayed(history(*orders), "--checkpoint", history(name="other.sqlite"))

        assert ended.err.count(FIRES_NOTHING) == 1
        assert paths(voucherify)[IMPORT] == 2

    def test_orders_before_a_deletion_are_skipped(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        switch_on(aws, "delete")
        deletion = {"type": "delete", "userId": "u1", "receivedAt": "2026-05-03T12:00:00.000Z"}
        replayed(history(deletion, name="first.jsonl"))
        old, late = (
            {**track("u1", "Order Completed", f"m{day}", order_id=f"o{day}"), "receivedAt": f"2026-05-0{day}T12:00:00Z"}
            for day in (2, 4)
        )
        files = history(old, late, track("u2", "Order Completed", "m5", order_id="o5"))
        ended = replayed(files, "--checkpoint", files.with_name("other.sqlite"), "--json")

        assert (ended.json["delivered"], ended.json["skipped"]) == (2, {"customer_deleted": 1})
        assert voucherify.orders.keys() == {"o4", "o5"}
        assert len(voucherify.events) == 2

    def test_an_import_is_not_repeated_once_its_custom_events_are_sent(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        """An order that the run before imported for an unsettled event would undo what a settled one changed."""
        aws.put_settings({"trackEventsFilter": '["Order Completed"]'})
        voucherify.row_rule = lambda row: "odd" if row["source_id"] == "o2" else None
        voucherify.rule = lambda call: Fault(401) if call.path == "/v1/events" else None
        path = history(
            track("u1", "Order Completed", "m1", order_id="o1"),
            track("u1", "Order Cancelled", "m2", order_id="o1"),
            track("u2", "Order Completed", "m3", order_id="o2"),
        )
        assert replayed(path).code == 3
        voucherify.rule = voucherify.row_rule = None
        ended = replayed(path, "--json")

        assert (ended.json["delivered"], ended.json["rejected"]) == (2, {"order_not_imported": 1})
        assert paths(voucherify)[IMPORT] == 1
        assert voucherify.orders["o1"]["status"] == "CANCELED"
        assert len(voucherify.events) == 2


class TestWhatItReads:
    def test_an_archive_in_s3_is_read_by_its_names(
        self, replayed: Replay, voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        s3 = boto3.client("s3", endpoint_url=aws.url)
        s3.create_bucket(Bucket="archive", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for key, name in (("logs/2/b.gz", "Second"), ("logs/1/a.gz", "First"), ("other/c.gz", "Other")):
            body = gzip.compress(json.dumps(identify("u1", name=name)).encode() + b"\n")
            s3.put_object(Bucket="archive", Key=key, Body=body)
        ended = replayed("s3://archive/logs/")

        assert ended.code == 0
        assert [call.json["name"] for call in voucherify.calls] == ["First", "Second"]
        assert "there are no objects under s3://archive/none" in replayed("s3://archive/none").err

    def test_files_of_every_shape_in_the_order_given(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        packed = history(identify("u1", name="1"), "", name="a.jsonl.gz")
        lines = history({"batch": [identify("u1", name="2"), identify("u1", name="3")]})
        document = history(json.dumps([identify("u1", name="4")], indent=2), name="b.json")
        replayed(packed, lines, document)

        assert [call.json["name"] for call in voucherify.calls] == ["1", "2", "3", "4"]

    def test_invalid_line_is_rejected(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, tmp_path: Path
    ) -> None:
        ended = replayed(history("{", identify("u1"), {"type": "identify"}, {"type": "alias", "userId": "x"}), "--json")

        assert ended.code == 1
        assert ended.json["rejected"] == {"unreadable": 1, "customer_id_missing": 1}
        assert ended.json["skipped"] == {"alias_not_supported": 1}
        first, _ = (tmp_path / "replay.sqlite.rejected.jsonl").read_text().splitlines()
        assert json.loads(first)["place"].endswith("history.jsonl:1")
        assert json.loads(first)["text"] == "{"

    def test_rejected_file_can_be_replayed(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, tmp_path: Path
    ) -> None:
        voucherify.next(Fault(400))
        assert replayed(history(track("u1", "Order Completed", "m1"))).code == 1
        again = tmp_path / "again.sqlite"
        ended = replayed(tmp_path / "replay.sqlite.rejected.jsonl", "--checkpoint", again)

        assert ended.code == 0
        assert len(voucherify.events) == 1

    def test_an_event_of_an_archive_that_its_sender_excluded_is_skipped(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        nobody, webhook = {"All": False, "Mixpanel": True}, {"All": False, "Webhooks (Actions)": True}
        stored = {"event": {**identify("u3"), "integrations": nobody}, "failure": {"stage": "deliver", "code": "x"}}
        events = [{**identify("u1"), "integrations": nobody}, {**identify("u2"), "integrations": webhook}, stored]
        ended = replayed(history(*events), "--json")

        assert ended.code == 0
        assert ended.json["skipped"] == {"opted_out": 1}
        assert voucherify.customers.keys() == {"u2", "u3"}

    def test_damaged_archive_is_reported(
        self, replayed: Replay, history: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = history(*crowd(2), name="a.jsonl.gz")
        path.write_bytes(path.read_bytes()[:-9])

        ended = replayed(path)
        assert ended.code == 1
        assert "cannot be unpacked" in ended.err


class TestWhatItSays:
    def test_a_dry_run_sends_nothing_and_counts_calls(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, tmp_path: Path
    ) -> None:
        events = [*crowd(150), track("u1", "Order Completed", "m1"), {"type": "page", "userId": "u1"}]
        ended = replayed(history(*events), "--dry-run", "--json")

        assert ended.code == 0
        assert ended.json == {
            "to_send": {"track_event": 1, "upsert_customer": 150},
            "skipped": {"page_disabled": 1},
            "rejected": 0,
            "calls": 4,
            "imports": {"orders": 0, "calls": 0},
        }
        assert voucherify.calls == []
        assert not (tmp_path / "replay.sqlite").exists()

    def test_dry_run_exits_1_on_rejections(self, replayed: Replay, history: Callable[..., Path]) -> None:
        assert replayed(history({"type": "identify"}), "--dry-run").code == 1

    def test_the_summary_names_each_outcome(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        order = track("u1", "Order Completed", "m1")
        ended = replayed(history(order, order, {"type": "alias", "userId": "x"}))

        _, *rows = [line.split("\t") for line in ended.out.splitlines() if "\t" in line]
        assert rows == [["delivered", "", "1"], ["duplicate", "", "1"], ["skipped", "alias_not_supported", "1"]]
        assert len(voucherify.events) == 1

    @pytest.mark.parametrize("rate", ["10", "0/s", "10/h", "x"])
    def test_invalid_rate_exits_2(self, replayed: Replay, history: Callable[..., Path], rate: str) -> None:
        ended = replayed(history(identify("u1")), "--rate", rate)

        assert (ended.code, ended.err.splitlines()[0]) == (2, f"✗ invalid rate: {rate}")


class TestNewestWins:
    """A replay of old events, and what newer ones have set since."""

    EARLY, LATE = "2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"

    @pytest.fixture
    def while_it_waits(self, clock: Time, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
        """Does something once, between the begin of a replay and its first call."""

        def prepare(act: Callable[[], object]) -> None:
            acts = [act]

            def sleep(seconds: float) -> None:
                clock.sleep(seconds)
                while acts:
                    acts.pop()()

            monkeypatch.setattr(replay, "SLEEP", sleep)

        return prepare

    def old(self, user: str, **traits: Any) -> dict[str, Any]:
        return {**identify(user, **traits), "timestamp": self.EARLY}

    @pytest.fixture
    def live(self, function: Function, clock: Time, while_it_waits: Callable[[Callable[[], object]], None]) -> None:
        """Delivers a newer event of u1 while the replay runs."""
        clock.now = time.time()  # that of the function
        newer = {**identify("u1", name="New"), "messageId": "live", "timestamp": self.LATE}
        start_cold()
        while_it_waits(lambda: function.post(newer))

    @pytest.mark.parametrize(("others", "option"), [(5, "--bulk"), (5, "--no-bulk"), (0, "--bulk")])
    @pytest.mark.usefixtures("live")
    def test_what_a_live_event_has_set_is_left_out(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        voucherify: VoucherifyStub,
        others: int,
        option: str,
    ) -> None:
        events = [self.old(f"o{number}", name="Old") for number in range(others)]
        ended = replayed(history(*events, self.old("u1", name="Old", email="u1@example.com")), option, "--json")

        assert (ended.code, ended.json["delivered"]) == (0, others + 1)
        assert (voucherify.customers["u1"]["name"], voucherify.customers["u1"]["email"]) == ("New", "u1@example.com")
        assert names(voucherify) == {**{f"o{number}": "Old" for number in range(others)}, "u1": "New"}

    @pytest.mark.parametrize("others", [0, 5])
    @pytest.mark.usefixtures("live")
    def test_event_of_which_nothing_is_left_is_skipped(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, others: int
    ) -> None:
        events = [self.old(f"o{number}", name="Old") for number in range(others)]
        ended = replayed(history(*events, self.old("u1", name="Old")), "--json")

        assert (ended.code, ended.json["skipped"]) == (0, {"superseded": 1})
        assert names(voucherify)["u1"] == "New"

    @pytest.mark.usefixtures("live")
    def test_custom_event_counts_and_its_old_attributes_do_not(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        replayed(history({**track("u1", "Moved", "m1", name="Old"), "timestamp": self.EARLY}))

        assert [event["event"] for event in voucherify.events] == ["Moved"]
        assert names(voucherify) == {"u1": "New"}

    @pytest.mark.parametrize("how", ["option", "setting"])
    @pytest.mark.usefixtures("live")
    def test_with_send_old_events_overwrite(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        voucherify: VoucherifyStub,
        aws: LocalAws,
        clock: Time,
        how: str,
    ) -> None:
        if how == "setting":
            aws.put_settings({"staleAttributes": "send"})
        options = ["--stale-attributes", "send"] if how == "option" else []
        began = clock.now
        assert replayed(history(self.old("u1", name="Old")), *options).code == 0

        assert names(voucherify) == {"u1": "Old"}
        assert clock.now == began, "it waits for nobody"

    def test_drop_overrides_the_setting(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, aws: LocalAws
    ) -> None:
        aws.put_settings({"staleAttributes": "send"})
        newer = {**identify("u1", name="New"), "timestamp": self.LATE}
        replayed(history(newer, self.old("u1", name="Old")), "--stale-attributes", "drop")

        assert names(voucherify) == {"u1": "New"}

    @pytest.mark.parametrize("others", [0, 5])
    def test_archive_in_any_order_ends_with_its_newest_events(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, others: int
    ) -> None:
        newer = [{**identify(f"u{number}", name="New"), "timestamp": self.LATE} for number in range(others + 1)]
        older = [self.old(f"u{number}", name="Old") for number in range(others + 1)]
        assert replayed(history(*newer, *older)).code == 0

        assert set(names(voucherify).values()) == {"New"}

    @pytest.mark.parametrize("option", ["--bulk", "--as-live"])
    def test_status_of_an_order_never_goes_back(
        self, replayed: Replay, history: Callable[..., Path], function: Function, option: str
    ) -> None:
        """Live events note the times of orders always."""
        function.put(orderEvents='{"Order Paid": "PAID", "Order Placed": "CREATED"}', trackEventsFilter='["none"]')
        start_cold()
        function.post({**track("u1", "Order Paid", "m1", order_id="o1"), "timestamp": self.LATE})
        placed = {**track("u1", "Order Placed", "m2", order_id="o1", coupon="SPRING"), "timestamp": self.EARLY}
        assert replayed(history(placed), option).code == 0

        order = function.voucherify.orders["o1"]
        assert (order["status"], order["metadata"]) == ("PAID", {"coupon": "SPRING"})

    def test_continued_replay_sends_what_it_has_noted(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        path = history(*(self.old(f"u{number}", name="Old") for number in range(6)))
        voucherify.rule = lambda call: Fault(503)
        assert replayed(path).code == 3
        voucherify.rule = None
        assert replayed(path).code == 0
        assert set(names(voucherify).values()) == {"Old"}

    def test_nothing_is_sent_where_live_events_cannot_learn_of_it(
        self, proxy: AwsProxy, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        proxy.rule = refuse("UpdateItem")
        ended = replayed(history(self.old("u1", name="Old")))

        assert ended.code == 3
        assert "newer events would be overwritten" in ended.err
        assert voucherify.calls == []

    @pytest.mark.parametrize("others", [0, 5])
    def test_attributes_that_dynamodb_cannot_compare_are_sent_and_noted(
        self, proxy: AwsProxy, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, others: int
    ) -> None:
        def refuse_times(call: AwsCall, forward: Forward) -> Any:
            return refusal() if "times#" in json.dumps(call.json) else forward(call)

        proxy.rule = refuse_times
        ended = replayed(history(*(self.old(f"u{number}", name="Old") for number in range(others + 1))))

        assert ended.code == 0
        assert len(voucherify.customers) == others + 1
        assert ended.err.count("DynamoDB could not say") == 1


class TestPace:
    def test_rate_is_kept(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, clock: Time
    ) -> None:
        began = clock.now
        ended = replayed(history(*crowd(4)), "--no-bulk", "--rate", "6/min")

        assert ended.code == 0
        assert 30 <= clock.now - began <= 40

    def test_long_wait_is_reported(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        voucherify.next(Fault(429, headers={"Retry-After": "3000"}))
        ended = replayed(history(identify("u1")))

        assert ended.code == 0
        assert "waiting for the rate limit: " in ended.err

    @pytest.mark.parametrize("bulk", ["--bulk", "--no-bulk"])
    def test_waits_for_rate_limit_windows(
        self, replayed: Replay, history: Callable[..., Path], clock: Time, aws: LocalAws, bulk: str
    ) -> None:
        limit = RateLimit(10, 60)
        with VoucherifyStub(api_key=API_KEY, api_token=API_TOKEN, clock=clock, limit=limit) as voucherify:
            aws.put_settings({"apiUrl": voucherify.url})
            began = clock.now
            ended = replayed(history(*crowd(25), *(track("u1", "Moved", f"m{n}") for n in range(15))), bulk)

        assert ended.code == 0
        assert (len(voucherify.customers), len(voucherify.events)) == (25, 15)
        assert [call.status for call in voucherify.calls].count(429) <= 1
        assert 40 <= clock.now - began <= 300  # the first window is open for 40 seconds more


class TestCheckpoint:
    def test_settled_events_are_not_sent_again(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        path = history(*crowd(3))
        assert replayed(path).code == replayed(path).code == 0
        assert len(voucherify.calls) == 3

    def test_added_inputs_are_continued(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        first, second = history(identify("u1"), name="a.jsonl"), history(identify("u2"), name="b.jsonl")
        replayed(first)
        assert replayed(first, second).code == 0
        assert [call.json["source_id"] for call in voucherify.calls] == ["u1", "u2"]

    def test_other_inputs_are_refused(self, replayed: Replay, history: Callable[..., Path]) -> None:
        replayed(history(identify("u1")))
        ended = replayed(history(identify("u2"), identify("u3")))

        assert ended.code == 2
        assert "belongs to other inputs" in ended.err
        assert "--checkpoint" in ended.err

    def test_other_mapping_is_refused(self, replayed: Replay, history: Callable[..., Path], aws: LocalAws) -> None:
        path = history(identify("u1"))
        replayed(path)
        aws.put_settings({"identifyMapping": '{"nick": "customer.name"}'})
        ended = replayed(path)

        assert ended.code == 2
        assert "belongs to another mapping" in ended.err

    @pytest.mark.parametrize("content", ["[]", "{}", "x" * 5000])
    def test_other_file_is_refused(
        self, replayed: Replay, history: Callable[..., Path], tmp_path: Path, content: str
    ) -> None:
        (tmp_path / "replay.sqlite").write_text(content)
        ended = replayed(history(identify("u1")))

        assert ended.code == 2
        assert "is not a checkpoint" in ended.err

    def test_empty_file_starts_a_replay(self, replayed: Replay, history: Callable[..., Path], tmp_path: Path) -> None:
        (tmp_path / "replay.sqlite").touch()
        assert replayed(history(identify("u1"))).code == 0

    def test_other_database_is_refused(self, replayed: Replay, history: Callable[..., Path], tmp_path: Path) -> None:
        with closing(sqlite3.connect(tmp_path / "replay.sqlite")) as database:
            database.execute("CREATE TABLE other (name)")
        ended = replayed(history(identify("u1")))

        assert ended.code == 2
        assert "is not a checkpoint" in ended.err

    def test_two_replays_cannot_share_it(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub, tmp_path: Path
    ) -> None:
        with closing(Checkpoint(tmp_path / "replay.sqlite", Identity([], "of another run"))):
            ended = replayed(history(identify("u1")))

        assert (ended.code, voucherify.calls) == (2, [])
        assert "is in use by another replay" in ended.err

    def test_files_are_private(self, replayed: Replay, history: Callable[..., Path], tmp_path: Path) -> None:
        replayed(history({"type": "identify"}))

        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("replay.sqlite*")} == {0o600}

    def test_windows_limit_memory(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        voucherify: VoucherifyStub,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(replay, "WINDOW_EVENTS", 20)
        replayed(history(*crowd(50)))

        assert [len(call.json) for call in voucherify.calls if call.path == BULK] == [20, 20, 10]


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "problem"), [(401, "answered 401"), (302, "answered 302"), (402, "answered 402")]
    )
    def test_operator_errors_end_the_replay(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        voucherify: VoucherifyStub,
        status: int,
        problem: str,
    ) -> None:
        voucherify.rule = lambda call: Fault(status)
        path = history(*crowd(8), track("u1", "Moved", "m1"))
        ended = replayed(path)

        assert ended.code == 3
        assert problem in ended.err
        voucherify.rule = None
        assert replayed(path).code == 0
        assert (len(voucherify.customers), len(voucherify.events)) == (8, 1)

    def test_event_that_keeps_failing_is_given_up(
        self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub
    ) -> None:
        voucherify.rule = lambda call: Fault(500) if call.json["event"] == "Cursed" else None
        ended = replayed(history(track("u1", "Cursed", "m1"), track("u1", "Moved", "m2")), "--json")

        assert ended.code == 1
        assert (ended.json["delivered"], ended.json["failed"]) == (1, {"voucherify_500": 1})

    @pytest.mark.parametrize("fault", [Fault(503), Fault(drop="before")])
    def test_outage_ends_the_replay(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        voucherify: VoucherifyStub,
        monkeypatch: pytest.MonkeyPatch,
        fault: Fault,
    ) -> None:
        monkeypatch.setattr(run, "MOST_FAILING", 3)
        voucherify.rule = lambda call: fault
        path = history(*(track(f"u{number}", "Moved", f"m{number}") for number in range(5)))
        ended = replayed(path)

        assert ended.code == 3
        voucherify.rule = None
        assert replayed(path).code == 0
        assert len(voucherify.events) == 5


# A little of everything: it must come out as if each event had been sent, once, after the one before it.
STORY = [
    *crowd(5),
    track("u1", "Renamed", "m1", name="By a track"),
    track("u3", "Order Paid", "m2", order_id="o1"),
    identify("u0", name="Second", metadata={"plan": "pro"}),
    *(identify(f"u{number}", email=f"u{number}@example.com") for number in range(1, 5)),
    {"type": "delete", "userId": "u4"},
    track("u3", "Order Cancelled", "m3", order_id="o1"),
    {"type": "identify"},
    identify("u4", name="Came back"),
    track("u4", "Order Completed", "m4"),
]
STORY_SETTINGS = {
    "orderEvents": '{"Order Paid": "PAID", "Order Cancelled": "CANCELED"}',
    "trackEventsFilter": '["Order Completed", "Order Paid", "Renamed"]',
}


# Without a write to DynamoDB for each event, which takes most of the time where that is not the point.
SENDS_ALL = ("--stale-attributes", "send")


class Story:
    """A replay of STORY that can begin again: under new ids, so that DynamoDB knows nothing of them."""

    def __init__(self, replayed: Replay, history: Callable[..., Path], voucherify: VoucherifyStub) -> None:
        self.options: Sequence[str] = SENDS_ALL
        self._replayed = replayed
        self._history = history
        self._voucherify = voucherify
        self._number = 0
        self._path = Path()

    def begin(self) -> None:
        self._number += 1
        self._voucherify.reset()
        self._path = self._history(*({**event, **self._ids(event)} for event in STORY))
        for path in self._path.parent.glob("replay.sqlite*"):
            path.unlink()

    def run(self) -> Ended:
        return self._replayed(self._path, "--json", *self.options)

    def check(self, ended: Ended) -> None:
        """The whole story is told, once."""
        assert ended.code == 1  # for the event without an id
        counts = ended.json
        skipped = sum(counts["skipped"].values()) if counts["skipped"] else 0
        assert counts["delivered"] + counts["duplicate"] + skipped + 1 == len(STORY)
        assert counts["failed"] == 0
        assert len(Path(counts["rejectedFile"]).read_text().splitlines()) == 1
        tracks = self._voucherify.events
        assert sorted((self._name(event["customer"]["source_id"]), event["event"]) for event in tracks) == [
            ("u1", "Renamed"),
            ("u3", "Order Paid"),
            ("u4", "Order Completed"),
        ]
        assert {key: order["status"] for key, order in self._voucherify.orders.items()} == {"o1": "CANCELED"}
        customers = {
            self._name(key): tuple(customer.get(part) for part in ("name", "email", "metadata"))
            for key, customer in self._voucherify.customers.items()
        }
        assert customers == {
            "u0": ("Second", None, {"n": 0, "plan": "pro"}),
            "u1": ("By a track", "u1@example.com", {"n": 1}),
            **{f"u{n}": (f"User {n}", f"u{n}@example.com", {"n": n}) for n in (2, 3)},
            "u4": ("Came back", None, {}),
        }

    def _ids(self, event: dict[str, Any]) -> dict[str, str]:
        return {name: f"{self._number}-{event[name]}" for name in ("userId", "messageId") if name in event}

    def _name(self, user: str) -> str:
        return user.removeprefix(f"{self._number}-")


class Crash(BaseException):
    """The process is gone: nothing tidies up."""


class FilesAtCrash:
    """The files of a checkpoint as they are on disk at the n-th of some statements."""

    def __init__(self, directory: Path, number: int, statements: tuple[str, ...]) -> None:
        self._directory = directory
        self._left = number
        self._statements = statements
        self._files: dict[str, bytes] | None = None

    def count(self, statement: str) -> None:
        """Count a statement, and crash from the n-th on."""
        self._left -= statement.startswith(self._statements)
        if self._left > 0:
            return
        if self._files is None:
            self._files = {path.name: path.read_bytes() for path in self._directory.glob("replay.sqlite*")}
        raise Crash

    def restore(self) -> None:
        assert self._files is not None
        for path in self._directory.glob("replay.sqlite*"):
            path.unlink()
        for name, content in self._files.items():
            (self._directory / name).write_bytes(content)


class CrashingDatabase(sqlite3.Connection):
    """A database that crashes before a statement that writes, or before a commit."""

    def __init__(self, files: FilesAtCrash, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._files = files

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self._files.count(sql)
        return super().execute(sql, parameters)

    def commit(self) -> None:
        self._files.count("COMMIT")
        super().commit()


@pytest.mark.slow
class TestInterruptions:
    """Each test goes through its replay again and again, until nothing is left to interrupt."""

    @pytest.fixture
    def story(self, replayed: Replay, history: Callable[..., Path], system: LocalSystem) -> Story:
        switch_on(system.aws, "delete")
        system.aws.put_settings(STORY_SETTINGS)
        return Story(replayed, history, system.voucherify)

    @pytest.mark.parametrize("fault", [Fault(503), pytest.param(Fault(drop="before"), marks=pytest.mark.long)])
    def test_each_voucherify_call_fails(
        self,
        story: Story,
        voucherify: VoucherifyStub,
        tmp_path: Path,
        fault: Fault,
    ) -> None:
        number, reached = 0, True
        while reached:
            number += 1
            story.begin()
            failing = number

            def rule(call: Request, failing: int = failing) -> Fault | None:
                return fault if call.number == failing else None

            voucherify.rule = rule
            story.check(story.run())
            reached = len(voucherify.calls) > number
        assert number >= 10

    @pytest.mark.long
    def test_each_upsert_is_ambiguous(self, story: Story, voucherify: VoucherifyStub) -> None:
        number, reached = 0, True
        while reached:
            number += 1
            story.begin()
            failing = number

            def rule(call: Request, failing: int = failing) -> Fault | None:
                return Fault(drop="after") if call.number == failing and call.path != "/v1/events" else None

            voucherify.rule = rule
            story.check(story.run())
            reached = len(voucherify.calls) > number

    @pytest.mark.parametrize("window", [replay.WINDOW_EVENTS, pytest.param(8, marks=pytest.mark.long)])
    def test_interrupt_at_each_call(
        self,
        story: Story,
        voucherify: VoucherifyStub,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        window: int,
    ) -> None:
        monkeypatch.setattr(replay, "WINDOW_EVENTS", window)

        def stop_at(number: int) -> Callable[[Call], None]:
            return lambda call: os.kill(os.getpid(), signal.SIGINT) if call.number == number else None

        number, reached = 0, True
        while reached:
            number += 1
            story.begin()
            voucherify.on_call = stop_at(number)
            ended = story.run()
            voucherify.on_call = None
            reached = ended.code == 130
            if reached:
                assert "run the same command to continue" in ended.json["error"]["advice"]
                ended = story.run()
            story.check(ended)
        assert number >= 10

    @pytest.mark.parametrize(
        ("window", "statements"),
        [
            (replay.WINDOW_EVENTS, ("INSERT INTO settled", "INSERT INTO imported")),
            # Of each transaction the first statement that writes and the last.
            pytest.param(
                8,
                ("BEGIN", "CREATE TABLE rejected", "COMMIT", "INSERT INTO counts", "UPDATE"),
                marks=pytest.mark.long,
            ),
        ],
        ids=["settled", "others"],
    )
    def test_crash_at_each_statement(
        self,
        story: Story,
        voucherify: VoucherifyStub,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        window: int,
        statements: tuple[str, ...],
    ) -> None:
        """The replay continues from the files as they are on disk at that moment."""
        monkeypatch.setattr(replay, "WINDOW_EVENTS", window)
        monkeypatch.setattr(project, "CONCURRENCY", 1)  # a crash ends every thread
        connect = sqlite3.connect
        number, reached = 0, True
        while reached:
            number += 1
            story.begin()
            files = FilesAtCrash(tmp_path, number, statements)
            monkeypatch.setattr(sqlite3, "connect", partial(connect, factory=partial(CrashingDatabase, files)))
            try:
                ended = story.run()
                reached = False
            except Crash:
                files.restore()
                monkeypatch.setattr(sqlite3, "connect", connect)
                ended = story.run()
            story.check(ended)
        assert number >= 15

    @pytest.mark.parametrize("option", ["--bulk", "--no-bulk", "--as-live"])
    @pytest.mark.parametrize("number", [1, 2])
    def test_order_does_not_undo_a_track_after_a_crash(
        self,
        replayed: Replay,
        history: Callable[..., Path],
        system: LocalSystem,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        option: str,
    ) -> None:
        system.aws.put_settings({"orderEvents": '{"Order Paid": "PAID"}'})
        path = history(
            track("u1", "Order Paid", "m1", order_id="o1", name="By an order"),
            track("u1", "Renamed", "m2", name="By a track"),
        )
        files = FilesAtCrash(tmp_path, number, ("INSERT INTO settled",))
        with monkeypatch.context() as crashing:
            crashing.setattr(project, "CONCURRENCY", 1)
            crashing.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=partial(CrashingDatabase, files)))
            with pytest.raises(Crash):
                replayed(path, option)
        files.restore()
        assert replayed(path, option).code == 0
        assert names(system.voucherify) == {"u1": "By a track"}
        assert [event["event"] for event in system.voucherify.events] == ["Order Paid", "Renamed"]

    @pytest.mark.parametrize("outage", [pytest.param(False, marks=pytest.mark.long), True])
    def test_each_aws_call_fails(
        self,
        proxy: AwsProxy,
        story: Story,
        voucherify: VoucherifyStub,
        monkeypatch: pytest.MonkeyPatch,
        outage: bool,
    ) -> None:
        story.options = ()
        monkeypatch.setattr(retry_loop, "MOST_TRIES", 1)  # in each of them botocore tries four times
        number, reached = 0, True
        while reached:
            number += 1
            story.begin()
            counted = Counter[str]()
            failing = number

            def rule(call: AwsCall, forward: Forward, counted: Counter[str] = counted, failing: int = failing) -> Any:
                counted["calls"] += 1
                fails = counted["calls"] >= failing if outage else counted["calls"] == failing
                return refusal() if fails else forward(call)

            proxy.rule = rule
            ended = story.run()
            reached = counted["calls"] >= number
            proxy.rule = None
            if outage and reached and ended.code != 1:
                assert ended.code == 3
                ended = story.run()
            story.check(ended)
        assert number >= 10


def test_default_checkpoint_name(
    run: Run, clock: Time, history: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = history(identify("u1"))
    monkeypatch.chdir(tmp_path)
    assert run("replay", str(path)).code == 0
    assert len(list(tmp_path.glob("replay-*.sqlite"))) == 1


def test_the_help_has_an_example() -> None:
    assert "replay s3://my-bucket/segment-logs/" in invoke("replay", "--help").out
