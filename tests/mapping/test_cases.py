"""The mapping's behaviour as data: each case of cases/*.json, compared exactly in both directions.

A case has a name, an event, perhaps settings, and what becomes of the event: a request, a skip or an error. What is
left out is listed; a case that lists nothing leaves nothing out.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapping import (
    EventMapping,
    InvalidEvent,
    Request,
    Skip,
    compile_identify_mapping,
    compile_track_mapping,
    map_event,
)

CASES = Path(__file__).parent / "cases"

_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "identifyDisabled": ("identify_disabled", bool),
    "identifyMapping": ("identify_rules", compile_identify_mapping),
    "trackDisabled": ("track_disabled", bool),
    "trackEventsFilter": ("track_events_filter", frozenset),
    "trackMapping": ("track_rules", compile_track_mapping),
}


def event_mapping(settings: dict[str, Any]) -> EventMapping:
    fields = {_FIELDS[name][0]: _FIELDS[name][1](value) for name, value in settings.items()}
    return EventMapping(**fields)


def outcome_of(event: object, mapping: EventMapping) -> dict[str, Any]:
    """What becomes of an event, in the words of a case."""
    try:
        result = map_event(event, mapping)
    except InvalidEvent as error:
        return {"error": {"code": error.code, "stage": error.stage, "path": error.path}}
    if isinstance(result, Skip):
        return {"skip": result.reason}
    assert isinstance(result, Request)
    request = {"method": result.method, "path": result.path, "body": json.loads(result.to_json())}
    left_out = [item._asdict() for item in result.left_out]
    return {"request": request, **({"leftOut": left_out} if left_out else {})}


def assert_same_json(actual: object, expected: object) -> None:
    """As JSON, since Python holds `1`, `1.0` and `True` for equal."""
    assert json.dumps(actual, sort_keys=True, indent=1) == json.dumps(expected, sort_keys=True, indent=1)


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}")
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))
    ]


@pytest.mark.parametrize("case", cases())
def test_case(case: dict[str, Any]) -> None:
    event, mapping = copy.deepcopy(case["event"]), event_mapping(case.get("settings", {}))
    expected = {key: case[key] for key in case.keys() - {"name", "event", "settings"}}

    assert_same_json(outcome_of(event, mapping), expected)
    assert_same_json(event, case["event"])  # the input stays as it was


def test_every_row_of_the_default_mappings_has_a_case() -> None:
    for call, payload in (("identify", "traits"), ("track", "properties")):
        named = {case["name"] for case in json.loads((CASES / f"default_{call}_mapping.json").read_text("utf-8"))}
        rules = getattr(EventMapping(), f"{call}_rules")
        assert {rule.source for rule in rules} <= named
        assert all(rule.source.startswith(f"{payload}.") for rule in rules)
