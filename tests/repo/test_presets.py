"""Every preset in events/presets/ maps its event to the request that it shows."""

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
def test_preset_has_a_title_and_a_purpose(preset: dict[str, Any]) -> None:
    assert list(preset) == ["title", "why", "settings", "event", "request"]
    assert preset["title"]
    assert preset["why"].endswith(".")


@preset_of_each_file
def test_preset_sets_only_mappings(preset: dict[str, Any]) -> None:
    assert preset["settings"]
    assert preset["settings"].keys() <= SETTINGS


@preset_of_each_file
def test_preset_maps_its_event_to_its_request(preset: dict[str, Any]) -> None:
    request = map_event(preset["event"], EventMapping.compile(preset["settings"]))

    assert isinstance(request, Request)
    as_json = {"method": request.method, "path": request.path, "body": json.loads(request.to_json() or b"null")}
    assert json.dumps(as_json, sort_keys=True, indent=1) == json.dumps(preset["request"], sort_keys=True, indent=1)
    assert request.left_out == ()


@preset_of_each_file
def test_every_row_of_a_preset_is_used(preset: dict[str, Any]) -> None:
    explanation = explain(preset["event"], EventMapping.compile(preset["settings"]))
    assert explanation.empty == ()
    assert {reason for _, reason in explanation.unused} <= {"Voucherify has only customer.name"}


@preset_of_each_file
def test_request_of_a_preset_fits_the_published_api(preset: dict[str, Any]) -> None:
    assert_published(preset["request"]["path"], preset["request"]["body"])
