"""The mapping's behaviour as data: each case of cases/*.json, compared exactly in both directions.

A case has a name, an event, perhaps settings, and what becomes of the event: a request, a skip or an error. What is
left out is listed; a case that lists nothing leaves nothing out. `source` is where its event was published.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mapping import CALLS, EventMapping, InvalidEvent, Request, Skip, map_event

CASES = Path(__file__).parent / "cases"


def outcome_of(event: object, mapping: EventMapping) -> dict[str, Any]:
    """What becomes of an event, in the words of a case."""
    try:
        result = map_event(event, mapping)
    except InvalidEvent as error:
        return {"error": {"code": error.code, "stage": error.stage, "path": error.path}}
    if isinstance(result, Skip):
        return {"skip": result.reason}
    assert isinstance(result, Request)
    body = result.to_json()
    request = {"method": result.method, "path": result.path, **({"body": json.loads(body)} if body else {})}
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
    event, mapping = copy.deepcopy(case["event"]), EventMapping.compile(case.get("settings", {}))
    expected = {key: case[key] for key in case.keys() - {"name", "source", "event", "settings"}}

    assert_same_json(outcome_of(event, mapping), expected)
    assert_same_json(event, case["event"])  # the input stays as it was


def test_every_row_of_the_default_mappings_has_a_case() -> None:
    mapped = [call for call in CALLS.values() if call.default_mapping is not None]
    assert [call.name for call in mapped] == ["identify", "track", "page", "screen", "group"]
    for call in mapped:
        named = {case["name"] for case in json.loads((CASES / f"default_{call.name}_mapping.json").read_text("utf-8"))}
        assert set(call.default_mapping or {}) <= named


def test_no_two_cases_have_one_name() -> None:
    ids = [case.id for case in cases()]
    assert len(ids) == len(set(ids))
