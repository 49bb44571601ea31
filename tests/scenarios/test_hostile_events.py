"""Odd events over the whole path: nothing crashes, and nothing invalid leaves.

The rules are cases in tests/mapping/cases and in tests/handler/api/test_body.py.
"""

from __future__ import annotations

import json

import pytest

from tests.function import Function

pytestmark = [pytest.mark.scenario(row=8), pytest.mark.scenario(row=9)]

TRAITS = {
    "a number beyond a float's range": ('{"description": 1e400}', {"description": "1e400"}),
    "its negative in metadata": ('{"metadata": {"n": -1e400}}', {"metadata": {"n": "-1e400"}}),
    "an integer past 2^53": ('{"metadata": {"n": 9007199254740993}}', {"metadata": {"n": 9007199254740993}}),
    "a repeated key": ('{"name": "Ada", "name": "Eve"}', {"name": "Eve"}),
    "an empty key": ('{"metadata": {"": 1}}', {"metadata": {"": 1}}),
    "a dotted key is no path": ('{"address.city": "London", "name": "Ada"}', {"name": "Ada"}),
    "half of a surrogate pair": ('{"name": "\\ud83e"}', {"name": "?"}),
    "a null character": ('{"name": "a\\u0000b"}', {"name": "a\0b"}),
    "nested ever deeper": ('{"metadata": ' + '{"a":' * 500 + "1" + "}" * 500 + "}", {}),
}


@pytest.mark.parametrize(("traits", "sent"), TRAITS.values(), ids=TRAITS)
def test_odd_json_is_delivered_by_its_rule(function: Function, traits: str, sent: dict[str, object]) -> None:
    answer = function.post(f'{{"type": "identify", "userId": "u-1", "traits": {traits}}}'.encode())
    assert answer.status == 200
    assert function.sent == [("POST", "/v1/customers", {"source_id": "u-1", **sent})]


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity"])
def test_invalid_literal_gives_400(function: Function, literal: str) -> None:
    body = f'{{"type": "identify", "userId": "u-1", "traits": {{"name": {literal}}}}}'.encode()
    assert function.post(body).status == 400
    assert function.sent == []


def test_ten_thousand_properties_are_delivered(function: Function) -> None:
    function.put(trackMapping='{"properties": "metadata"}')
    properties = {f"key {number}": number for number in range(10_000)}
    assert function.post({"type": "track", "userId": "u-1", "event": "e", "properties": properties}).status == 200
    assert function.sent[0][2]["metadata"] == properties


@pytest.mark.parametrize("name", ["userId", "anonymousId"])
@pytest.mark.parametrize("value", [[], {}, [1], True], ids=str)
def test_invalid_id_is_dead_lettered_with_its_path(function: Function, name: str, value: object) -> None:
    others = {"anonymousId": "a-1"} if name == "userId" else {}  # beside a good userId, no anonymousId is needed
    event = {"type": "identify", **others, name: value}
    answer = function.post(event)
    assert answer.status == 400
    assert answer.body["errors"][0]["reason"].startswith(name)
    (record,) = function.dead_letters
    assert (record["event"], record["failure"]["code"]) == (event, "invalid_event")
    assert json.dumps(value) == "true" or json.dumps(value) not in record["failure"]["message"]


def test_odd_envelope_fields_are_left_out(function: Function) -> None:
    events = [
        {"type": "identify", "userId": 7, "traits": "text"},
        {"type": "track", "userId": "u-1", "event": "e", "properties": None, "timestamp": "yesterday"},
        {"type": "identify", "userId": " \t", "anonymousId": "a-1", "timestamp": {"a": 1}},
    ]
    assert function.post_batch(events).body["delivered"] == 3
    assert [body for _, _, body in sorted(function.sent, key=str)] == [
        {"source_id": "7"},
        {"source_id": "a-1"},
        {"event": "e", "customer": {"source_id": "u-1"}},
    ]
