"""`send`: events through the real URL, signed as Segment signs them."""

from __future__ import annotations

import json
from pathlib import Path

from local.stack.cold import start_cold
from local.stack.system import LocalSystem
from local.voucherify_stub.stub import Fault
from tests.cli.conftest import Run

IDENTIFY = {"type": "identify", "userId": "u-1", "messageId": "i-1", "traits": {"email": "ada@example.com"}}


def test_events_are_delivered_and_one_without_id_gets_one(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    start_cold()
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(json.dumps(one) for one in (IDENTIFY, {**IDENTIFY, "userId": "u-2", "messageId": None})))
    document = run("send", str(file), "--json").json
    assert [one["answer"]["delivered"] for one in document["events"]] == [1, 1]
    assert document["events"][0]["messageId"] == "i-1"
    assert len(document["events"][1]["messageId"]) == 36
    assert sorted(system.voucherify.customers) == ["u-1", "u-2"]

    ended = run("send", str(file), "--source", "app")
    assert (ended.code, ended.out.splitlines()[1]) == (0, f"{file}:1\ti-1\t200 delivered")


def test_an_event_that_is_not_delivered_at_once_exits_1(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    start_cold()
    system.voucherify.next(Fault(503))
    file = tmp_path / "event.json"
    file.write_text(json.dumps(IDENTIFY))
    ended = run("send", str(file))
    assert ended.code == 1
    assert "\ti-1\t202 queued" in ended.out
    assert "trace MESSAGE_ID" in ended.out
