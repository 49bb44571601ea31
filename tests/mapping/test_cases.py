"""The mapping's behaviour as data: each case of cases/*.json, compared exactly in both directions.

A case has a name, an event, perhaps settings, and the outcome: a request, a skip or an error. `leftOut` lists all that
is left out. `also` has the further requests of the event, each in the same shape, or the error of one. `source` is
where the event was published. `isRouted` is false for an event that no webhook of Segment's has delivered. Each
expected request must be one that Voucherify's API takes.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mapping import CALLS, MAPPINGS, EventMapping, InvalidEvent, RejectReason, Request, Skip, SkipReason, map_event
from mapping.defaults import ACTIONS_MAPPINGS
from mapping.event.segment import TYPES
from tests.contract.published import assert_published

CASES = Path(__file__).parent / "cases"
SCENARIOS = {"envelope": pytest.mark.scenario(row=9), "switches": pytest.mark.scenario(row=10)}


def outcome_of(event: object, mapping: EventMapping, *, is_routed: bool = True) -> dict[str, Any]:
    """Return the outcome of an event as a case has it."""
    try:
        result = map_event(event, mapping, is_routed=is_routed)
    except InvalidEvent as error:
        return {"error": {"code": error.code, "stage": error.stage, "path": error.path}}
    if isinstance(result, Skip):
        return {"skip": result.reason}
    assert isinstance(result, Request)
    also = [_part_of(one) for one in result.also]
    return {**_part_of(result), **({"also": also} if also else {})}


def _part_of(part: Request | InvalidEvent) -> dict[str, Any]:
    if isinstance(part, InvalidEvent):
        return {"error": {"code": part.code, "stage": part.stage, "path": part.path}}
    body = part.to_json()
    request = {"method": part.method, "path": part.path, **({"body": json.loads(body)} if body else {})}
    left_out = [item._asdict() for item in part.left_out]
    return {"request": request, **({"leftOut": left_out} if left_out else {})}


def assert_same_json(actual: object, expected: object) -> None:
    """Compare as JSON: for Python `1`, `1.0` and `True` are equal."""
    assert json.dumps(actual, sort_keys=True, indent=1) == json.dumps(expected, sort_keys=True, indent=1)


def cases() -> list[Any]:
    return [
        pytest.param(case, id=f"{path.stem}: {case['name']}", marks=SCENARIOS.get(path.stem, ()))
        for path in sorted(CASES.glob("*.json"))
        for case in json.loads(path.read_text("utf-8"))
    ]


@pytest.mark.parametrize("case", cases())
def test_case(case: dict[str, Any]) -> None:
    event, mapping = copy.deepcopy(case["event"]), EventMapping.compile(case.get("settings", {}))
    expected = {key: case[key] for key in case.keys() - {"name", "source", "event", "settings", "isRouted"}}

    assert_same_json(outcome_of(event, mapping, is_routed=case.get("isRouted", True)), expected)
    assert_same_json(event, case["event"])  # unchanged
    for request in (one["request"] for one in (case, *case.get("also", [])) if "request" in one):
        assert request["method"] == "POST"
        assert_published(request["path"], request.get("body"))


def test_every_row_of_the_default_mappings_has_a_case() -> None:
    assert list(MAPPINGS) == [f"{name}Mapping" for name in ("identify", "track", "page", "screen", "group", "order")]
    for mapping in MAPPINGS.values():
        file = CASES / f"default_{mapping.name.removesuffix('Mapping')}_mapping.json"
        assert set(mapping.classic) <= {case["name"] for case in json.loads(file.read_text("utf-8"))}
    named = {case["name"] for case in json.loads((CASES / "default_actions_mapping.json").read_text("utf-8"))}
    assert {f"{call}: {source}" for call, rows in ACTIONS_MAPPINGS.items() for source in rows} <= named


def test_every_reason_has_a_case() -> None:
    outcomes = [param.values[0] for param in cases()]
    assert {case["skip"] for case in outcomes if "skip" in case} == set(SkipReason)
    assert {case["error"]["code"] for case in outcomes if "error" in case} == set(RejectReason)


def test_every_call_and_every_other_type_has_a_reason_to_skip_it() -> None:
    assert {f"{call}_disabled" for call in CALLS} <= set(SkipReason)
    assert {f"{type_}_not_supported" for type_ in TYPES - CALLS.keys()} <= set(SkipReason)


def test_no_two_cases_have_one_name() -> None:
    ids = [case.id for case in cases()]
    assert len(ids) == len(set(ids))
