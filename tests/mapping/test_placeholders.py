"""Texts that clients send as an id when they have none."""

from __future__ import annotations

import pytest

from mapping import EventMapping, InvalidEvent, RejectReason, Request, map_event

MAPPING = EventMapping.compile({})


@pytest.mark.parametrize(
    "text",
    [
        *("undefined", "UNDEFINED", " Undefined\n", "null", "Null", "NaN", "nan", "None", "nil", "(null)", "<null>"),
        *("<nil>", "'undefined'", "true", "False", "undefined undefined", "null-null", "undefined_null"),
        *("[object Object]", "[object object]", " [object Object] ", "[object Promise]", "[object Undefined]"),
        "00000000-0000-0000-0000-000000000000",
    ],
)
def test_a_placeholder_is_no_id(text: str) -> None:
    event = {"type": "track", "event": "Order Completed", "userId": text}
    with pytest.raises(InvalidEvent) as raised:
        map_event(event, MAPPING)
    assert (raised.value.code, raised.value.path) == (RejectReason.PLACEHOLDER_ID, "userId")
    assert raised.value.stage == "map"
    assert text.strip() not in str(raised.value)

    outcome = map_event({**event, "anonymousId": "a-1"}, MAPPING)
    assert isinstance(outcome, Request)
    assert outcome.customer == "a-1"


@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "-", "undefined-1", "nullable", "null@example.com", "none.smith", "nancy", "object", "[object]"),
        *("void", "guest", "anonymous", "00000000-0000-0000-0000-000000000001", "undefined " * 50 + "x"),
    ],
)
def test_any_other_text_is_an_id(text: str) -> None:
    outcome = map_event({"type": "identify", "userId": text}, MAPPING)
    assert isinstance(outcome, Request)
    assert outcome.customer == text.strip()
