"""Whatever JSON arrives as an event, the mapping answers with a request, a skip or its own error."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from mapping import EventMapping, InvalidEvent, Request, Skip, compile_track_mapping, map_event, message_id_of
from tests.contract import assert_published

# What a JSON body can hold, and a little more: numbers beyond a float, text with lone surrogates, keys of any kind.
TEXT = st.text(st.characters(codec=None), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALARS, lambda items: st.lists(items, max_size=3) | st.dictionaries(TEXT, items, max_size=3))

PAYLOAD = st.dictionaries(
    st.sampled_from(["name", "firstName", "lastName", "email", "address", "metadata", "phone", "born", "plan", "a.b"])
    | TEXT,
    JSON
    | st.fixed_dictionaries({}, optional={"city": JSON, "street": JSON, "line_1": JSON, "postalCode": JSON, "": JSON}),
    max_size=6,
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["identify", "track", "Track", "page", "purchase"]) | JSON},
    optional={
        "userId": SCALARS | JSON,
        "user_id": SCALARS,
        "anonymousId": SCALARS,
        "event": SCALARS | st.text(min_size=299, max_size=302),
        "traits": PAYLOAD | JSON,
        "properties": PAYLOAD | JSON,
        "messageId": JSON,
        "context": JSON,
    },
)
MAPPINGS = st.sampled_from(
    [
        EventMapping(),
        EventMapping(track_events_filter=frozenset({"Signed Up"})),
        EventMapping(
            track_rules=compile_track_mapping(
                {
                    "properties": "metadata",
                    "address": "customer.address",
                    "traits": "customer",
                    "name": "event",
                    "born": "customer.birthdate",
                    "plan": "customer.metadata.plan.deep",
                    "metadata": "customer.metadata",
                    "email": "referral.referrer_id",
                    "phone": "loyalty",
                }
            )
        ),
    ]
)

NESTED: Any = {}
for _ in range(100):
    NESTED = {"a": NESTED}


def no_constant(literal: str) -> None:
    raise AssertionError(f"{literal} is not strict JSON")


def outcome_of(event: Any, mapping: EventMapping) -> Request | Skip | InvalidEvent:
    try:
        return map_event(event, mapping)
    except InvalidEvent as error:
        return error


@given(event=EVENTS | JSON, mapping=MAPPINGS)
@example(event={"type": "identify", "userId": "u", "traits": {"metadata": {"x": float("inf")}}}, mapping=EventMapping())
@example(event={"type": "identify", "userId": "u", "traits": {"name": float("nan")}}, mapping=EventMapping())
@example(event={"type": "identify", "userId": "u", "traits": {"metadata": NESTED}}, mapping=EventMapping())
@example(event={"type": "track", "userId": "\ud800", "event": "\ud800"}, mapping=EventMapping())
def test_any_event_becomes_a_request_a_skip_or_a_typed_error(event: Any, mapping: EventMapping) -> None:
    before = copy.deepcopy(event)
    outcome = outcome_of(event, mapping)

    assert repr(event) == repr(before)  # NaN is not equal to itself
    match outcome:
        case Request():
            assert outcome.customer
            assert_published(outcome.path, json.loads(outcome.to_json(), parse_constant=no_constant))
            assert all(map(str, outcome.left_out))
        case Skip():
            assert outcome.reason
        case InvalidEvent():
            assert outcome.code
            assert str(outcome)


@given(event=EVENTS | JSON)
def test_anything_has_a_message_id_or_none(event: Any) -> None:
    message_id = message_id_of(event)
    assert message_id is None or message_id == message_id.strip() != ""


@given(payload=PAYLOAD)
def test_changing_the_request_does_not_change_the_event(payload: dict[str, Any]) -> None:
    """Metadata is copied: a batch may hold one object twice, and a retry stores the event as it came."""
    event = {"type": "track", "userId": "u", "event": "e", "properties": payload}
    before = repr(event)
    rules = compile_track_mapping({"properties": "metadata", "metadata": "customer.metadata"})
    request = map_event(event, EventMapping(track_rules=rules))
    assert isinstance(request, Request)
    request.body.get("metadata", {}).clear()
    request.body["customer"].clear()
    assert repr(event) == before
