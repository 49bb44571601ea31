"""`plan`: what fits into a Voucherify plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ended, invoke


def planned(*arguments: str) -> Any:
    return invoke("--json", "plan", *arguments).json


def written(path: Path, *documents: Any) -> str:
    path.write_text("\n".join(map(json.dumps, documents)), "utf-8")
    return str(path)


def track(name: str, number: int) -> dict[str, Any]:
    properties = {"order_id": f"o-{number}", "total": 10}
    return {
        "type": "track",
        "event": name,
        "userId": f"u-{number}",
        "messageId": f"m-{number}",
        "properties": properties,
    }


def test_a_small_shop_fits_and_its_events_are_delivered_at_once() -> None:
    ended = invoke("--json", "plan", "--events", "30000/month", "--identify", "40%", "--limit", "100/min")
    assert ended.code == 0
    found = ended.json
    assert found["fits"] is True
    assert found["events"]["perDay"] == 1000
    assert found["events"]["shares"] == {"identify": 0.4, "track": 0.6}
    assert found["calls"]["perDay"] == 1000
    assert found["calls"]["allowedPerDay"] == 0.8 * 100 * 60 * 24
    assert found["calls"]["perCycle"] == 30_000
    assert found["peak"]["deliveredAtOnce"] > 0.99
    assert found["peak"]["shareAnswered429"] == 0
    assert found["peak"]["dead"] == 0
    assert found["dollarsPerMonth"]["API Gateway"] == 0.03


def test_a_peak_beyond_the_plan_waits_and_is_drained_before_the_next_one() -> None:
    ended = invoke("--json", "plan", "--events", "20000/day", "--limit", "20/min", "--peak", "8", "--peak-hours", "0.2")
    peak = ended.json["peak"]
    assert ended.code == 0
    assert peak["deliveredAtOnce"] < 0.5
    assert peak["mostWaiting"] > 500
    assert 0 < peak["delaySeconds"]["median"] < peak["delaySeconds"]["p95"] < peak["drainedInSeconds"] < 24 * 3600


def test_more_calls_than_the_plan_has_never_fit() -> None:
    arguments = ("plan", "--events", "50000/day", "--limit", "20/min", "--peak", "2", "--peak-hours", "0.2")
    ended = invoke(*arguments)
    assert ended.code == 1
    assert "✗ a day: 50,000 calls, 217 % of our 23,040\n  the backlog grows every day" in ended.out
    assert "at no time: the backlog grows" in ended.out
    assert invoke("--json", *arguments).json["peak"]["drainedInSeconds"] is None


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--calls-per-month", "20000"), "✗ a billing cycle of 30 days: 30,000 calls, 150 % of the plan's 20,000"),
        (("--calls-per-day", "500"), "✗ a day: 1,000 calls, 200 % of our 500"),
    ],
)
def test_budgets_of_calls_are_compared(arguments: tuple[str, ...], problem: str) -> None:
    ended = invoke("plan", "--events", "30000/month", *arguments)
    assert ended.code == 1
    assert problem in ended.out


def test_requests_beyond_api_gateways_throttle_do_not_fit_unless_they_are_batches() -> None:
    arguments = ("plan", "--events", "30/s", "--limit", "1000000/min", "--peak", "5", "--peak-hours", "0.01")
    ended = invoke(*arguments)
    assert ended.code == 1
    assert "✗ 150.0 requests a second of 100 (RequestsPerSecond)" in ended.out
    assert invoke(*arguments, "--batch", "10").code == 0


def test_the_mix_of_files_counts_with_the_mapping_applied(tmp_path: Path) -> None:
    events = written(
        tmp_path / "events.jsonl",
        {"type": "identify", "userId": "u-1", "messageId": "m-1", "traits": {"email": "a@example.com"}},
        {"type": "page", "userId": "u-1", "messageId": "m-2"},
        track("Order Completed", 3),
        track("Product Viewed", 4),
    )
    mapping = written(tmp_path / "mapping.json", {"orderEvents": {"Order Completed": "PAID"}})
    arguments = ("--events", "1000/day", "--from", events)
    found = planned(*arguments, "--mapping", mapping)
    assert found["events"]["shares"] == {
        "customer": 0.25,
        "skipped": 0.25,
        "order and custom event": 0.25,
        "custom event": 0.25,
    }
    assert found["calls"]["perEvent"] == 1.0  # one, none, two and one
    assert planned(*arguments, "--mapping", "classic")["calls"]["perEvent"] == 0.75


def test_the_output_fits_80_columns() -> None:
    for ended in (shown("--identify", "40%", "--orders", "5%"), shown("--calls-per-month", "100000", "--batch", "10")):
        assert max(map(len, ended.out.splitlines())) <= 80


def shown(*arguments: str) -> Ended:
    return invoke("plan", "--events", "2000000/month", "--limit", "2000/min", "--peak-hours", "0.1", *arguments)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--events", "many"), "invalid --events: many"),
        (("--events", "0/day"), "invalid --events: 0/day"),
        (("--events", "10/day", "--limit", "1.5/min"), "invalid --limit: 1.5/min"),
        (("--events", "10/day", "--identify", "120%"), "invalid --identify: 120%"),
        (("--events", "10/day", "--identify", "60%", "--orders", "60%"), "more than 100% together"),
        (("--events", "10/day", "--peak", "20", "--peak-hours", "2"), "cannot last 2 hours"),
        (("--events", "10/day", "--from", "x.json", "--identify", "10%"), "--from has the mix"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: tuple[str, ...], problem: str) -> None:
    ended = invoke("plan", *arguments)
    assert ended.code == 2
    assert problem in ended.err
