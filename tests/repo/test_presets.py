"""Every preset of events/presets/ does what it shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mapping import CALLS, TRACK_EVENTS_FILTER, EventMapping, Request, explain, map_event
from tests.contract.published import assert_published

PRESETS = Path(__file__).parents[2] / "events" / "presets"
FILES = sorted(PRESETS.glob("*.json"))
SETTINGS = {
    *(call.disabled_setting for call in CALLS.values()),
    *(call.mapping_setting for call in CALLS.values() if call.default_mapping is not None),
    TRACK_EVENTS_FILTER,
}

preset_of_each_file = pytest.mark.parametrize(
    "preset", [pytest.param(json.loads(path.read_text("utf-8")), id=path.stem) for path in FILES]
)


def test_every_file_is_a_preset() -> None:
    assert {path.stem for path in FILES} == {
        *("identify", "group", "loyalty", "order_completed", "order_refunded", "product_viewed", "referral")
    }
    assert sorted(PRESETS.iterdir()) == FILES


@preset_of_each_file
def test_a_preset_has_a_title_and_says_what_it_is_for(preset: dict[str, Any]) -> None:
    assert list(preset) == ["title", "why", "settings", "event", "request"]
    assert preset["title"]
    assert 1 <= preset["why"].count(".") <= 2
    assert preset["why"].endswith(".")


@preset_of_each_file
def test_a_preset_sets_the_mapping_and_nothing_else(preset: dict[str, Any]) -> None:
    assert preset["settings"]
    assert preset["settings"].keys() <= SETTINGS


@preset_of_each_file
def test_a_presets_event_becomes_its_request_and_nothing_is_left_out(preset: dict[str, Any]) -> None:
    request = map_event(preset["event"], EventMapping.compile(preset["settings"]))

    assert isinstance(request, Request)
    as_json = {"method": request.method, "path": request.path, "body": json.loads(request.to_json() or b"null")}
    assert json.dumps(as_json, sort_keys=True, indent=1) == json.dumps(preset["request"], sort_keys=True, indent=1)
    assert request.left_out == ()


@preset_of_each_file
def test_every_row_of_a_preset_fills_something(preset: dict[str, Any]) -> None:
    explanation = explain(preset["event"], EventMapping.compile(preset["settings"]))
    assert explanation.empty == ()
    assert {reason for _, reason in explanation.unused} <= {"Voucherify has only customer.name"}


@preset_of_each_file
def test_a_presets_request_is_one_that_voucherify_publishes(preset: dict[str, Any]) -> None:
    assert_published(preset["request"]["path"], preset["request"]["body"])
