"""Every preset in events/presets/ maps its event to the requests that it shows, and all can be applied together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from handler.model.deadline import Deadline
from handler.settings.settings import check_settings
from handler.settings.sources import read_parameters
from local.stack.aws import SETTINGS_PATH, LocalAws
from mapping import MAPPING_SETTINGS, EventMapping, Request, explain, map_event, setting_of
from scripts.settings_schema import FILE
from tests.cli.conftest import Run, run
from tests.contract.published import assert_published

__all__ = ["run"]

PRESETS = Path(__file__).parents[2] / "events" / "presets"
FILES = sorted(PRESETS.glob("*.json"))

preset_of_each_file = pytest.mark.parametrize(
    "preset", [pytest.param(json.loads(path.read_text("utf-8")), id=path.stem) for path in FILES]
)


def requests_of(preset: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the requests that a preset shows."""
    return preset["requests"] if "requests" in preset else [preset["request"]]


def mapped(event: Any, mapping: EventMapping) -> list[dict[str, Any]]:
    """Return the requests of an event as a preset shows them. Nothing is left out."""
    first = map_event(event, mapping)
    assert isinstance(first, Request)
    found = []
    for one in (first, *first.also):
        assert isinstance(one, Request)
        assert one.left_out == ()
        found.append({"method": one.method, "path": one.path, "body": json.loads(one.to_json() or b"null")})
    return found


def text_of(value: Any) -> str:
    """Return JSON that tells `1`, `1.0` and `true` apart."""
    return json.dumps(value, sort_keys=True, indent=1)


def test_every_file_is_a_preset() -> None:
    assert {path.stem for path in FILES} == {
        *("identify", "group", "loyalty", "order_completed", "order_refunded", "orders", "product_viewed", "referral")
    }
    assert sorted(PRESETS.iterdir()) == FILES


@preset_of_each_file
def test_preset_has_a_title_and_a_purpose(preset: dict[str, Any]) -> None:
    assert list(preset) == ["title", "why", "settings", "event", "requests" if "requests" in preset else "request"]
    assert preset["title"]
    assert preset["why"].endswith(".")


@preset_of_each_file
def test_preset_sets_only_mappings(preset: dict[str, Any]) -> None:
    assert preset["settings"]
    assert {setting_of(name) for name in preset["settings"]} <= set(MAPPING_SETTINGS)
    Draft202012Validator(json.loads(FILE.read_text("utf-8"))).validate(preset["settings"])


@preset_of_each_file
def test_preset_maps_its_event_to_its_requests(preset: dict[str, Any]) -> None:
    made = mapped(preset["event"], EventMapping.compile(preset["settings"]))

    assert text_of(made) == text_of(requests_of(preset))


@preset_of_each_file
def test_every_row_of_a_preset_is_used(preset: dict[str, Any]) -> None:
    for explanation in explain(preset["event"], EventMapping.compile(preset["settings"])).all:
        if explanation.mapped_by.partition("[")[0] in preset["settings"]:
            assert explanation.empty == ()
            assert {reason for _, reason in explanation.unused} <= {"Voucherify has only customer.name"}


@preset_of_each_file
def test_requests_of_a_preset_fit_the_published_api(preset: dict[str, Any]) -> None:
    for request in requests_of(preset):
        assert_published(request["path"], request["body"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_preset_is_a_file_of_settings(run: Run, aws: LocalAws, path: Path) -> None:
    assert run("settings", "apply", str(path), "--yes").code == 0
    assert run("settings", "diff", str(path)).out == f"✓ no differences from {SETTINGS_PATH}\n"


def test_all_presets_apply_together(run: Run, aws: LocalAws) -> None:
    files = [str(path) for path in FILES]
    ended = run("settings", "apply", *files, "--yes", "--json")

    assert (ended.code, ended.json["faults"]) == (0, [])
    assert run("settings", "diff", *files).code == 0
    mapping = check_settings(
        "default", read_parameters(aws.ssm, SETTINGS_PATH, Deadline.after(3600.0))["default"]
    ).policy.mapping
    presets = {path.stem: json.loads(path.read_text("utf-8")) for path in FILES}
    for name, preset in presets.items():
        event, *orders = mapped(preset["event"], mapping)
        shown = presets["order_completed"] if name == "orders" else preset  # both are of one event
        assert text_of(event) == text_of(requests_of(shown)[0])
        assert len(orders) == (name in ("orders", "order_completed", "order_refunded"))
        if name == "orders":
            (order,), (_, expected) = orders, requests_of(preset)
            # The e-mail address is from the row of the custom event's mapping.
            assert order["body"].pop("customer") == {"source_id": "u-1815", "email": "ada@example.com"}
            assert expected["body"].pop("customer") == {"source_id": "u-1815"}
            assert text_of(order) == text_of(expected)
