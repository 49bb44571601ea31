"""`clearOnNull`: the fields that an explicit `null` clears.

Voucherify's API description marks `address` alone as nullable; its own SDK marks each field of a customer as nullable,
and Segment's "Voucherify (Actions)" sends `null` for each. Cases are checked by the description: these are not there.
"""

from __future__ import annotations

from typing import Any

import pytest

from mapping import EventMapping, InvalidMapping, Request, explain, map_event
from mapping.defaults import ACTIONS_MAPPINGS, DefaultSet

FIELDS = ("name", "email", "phone", "description")
CLEARING: dict[str, Any] = {"clearOnNull": True}


def customer(traits: Any, **settings: Any) -> dict[str, Any]:
    event = {"type": "identify", "userId": "u-1", "traits": traits}
    outcome = map_event(event, EventMapping.compile({**CLEARING, **settings}))
    assert isinstance(outcome, Request)
    assert outcome.body
    assert outcome.body.pop("source_id") == "u-1"
    assert explain(event, EventMapping.compile({**CLEARING, **settings})).to_json()["filled"]
    return outcome.body


@pytest.mark.parametrize("default_set", DefaultSet)
@pytest.mark.parametrize("field", FIELDS)
def test_null_clears_a_text(field: str, default_set: DefaultSet) -> None:
    assert customer({field: None}, defaultMapping=default_set) == {field: None}
    assert customer({field.upper(): None}, defaultMapping=default_set) == {field: None}
    assert customer({field: ""}, defaultMapping=default_set) == {}
    assert customer({field: None}, defaultMapping=default_set, clearOnNull=False) == {}


def test_null_clears_a_date_and_a_whole_metadata() -> None:
    rows = {"born": "customer.birthdate", "all": "customer.metadata"}
    assert customer({"born": None, "all": None}, identifyMapping=rows) == {"birthdate": None, "metadata": None}


def test_null_clears_each_field_of_an_address() -> None:
    assert customer({"address": {"city": None, "country": "UK"}}) == {"address": {"city": None, "country": "UK"}}
    cleared = {"city": None, "state": None, "country": None, "line_1": None, "postal_code": None}
    assert customer({"address": None}) == {"address": cleared}


def test_of_a_whole_customer_each_null_clears_its_field_but_the_ids() -> None:
    traits = {
        "id": None,
        "source_id": None,
        "email": None,
        "Address": {"CITY": None},
        "metadata": {"a": None},
        "x": None,
    }
    expected = {"email": None, "address": {"city": None}, "metadata": {"a": None}}
    assert customer(traits, identifyMapping={"traits": "customer"}) == expected


def test_a_value_of_another_row_or_casing_wins_over_null() -> None:
    rows = {"a": "customer.email", "b": "customer.email"}
    assert customer({"a": "ada@example.com", "b": None}, identifyMapping=rows) == {"email": "ada@example.com"}
    assert customer({"a": None, "b": "ada@example.com"}, identifyMapping=rows) == {"email": "ada@example.com"}
    assert customer({"email": None, "Email": "ada@example.com"}) == {"email": "ada@example.com"}
    assert customer(
        {"metadata": None, "plan": "x"},
        identifyMapping={"metadata": "customer.metadata", "plan": "customer.metadata.plan"},
    ) == {"metadata": {"plan": "x"}}
    both = {"metadata": "customer.metadata", "plan": "customer.metadata.plan"}
    assert customer({"metadata": None, "plan": None}, identifyMapping=both) == {"metadata": None}


def test_a_name_is_cleared_by_both_of_its_parts_or_by_itself() -> None:
    assert customer({"firstName": None, "lastName": None}) == {"name": None}
    assert customer({"firstName": None}) == {}
    assert customer({"firstName": None, "lastName": "Lovelace"}) == {"name": "Lovelace"}
    assert customer({"name": None, "firstName": "Ada"}) == {"name": "Ada"}
    assert customer({"name": "Ada", "firstName": None, "lastName": None}) == {"name": "Ada"}


def test_a_track_clears_the_customers_fields_and_none_of_its_own() -> None:
    settings = {"clearOnNull": True, "trackMapping": {"email": "customer.email", "card": "loyalty.code", "n": "event"}}
    event = {"type": "track", "userId": "u-1", "event": "E", "properties": {"email": None, "card": None, "n": None}}
    outcome = map_event(event, EventMapping.compile(settings))
    assert isinstance(outcome, Request)
    assert outcome.body == {"event": "E", "customer": {"source_id": "u-1", "email": None}}


def test_an_explanation_shows_what_is_cleared() -> None:
    event = {"type": "identify", "userId": "u-1", "traits": {"email": None}}
    explanation = explain(event, EventMapping.compile({**CLEARING, "identifyMapping": {"email": "customer.email"}}))
    cleared = explanation.filled[0]
    assert (cleared.destination, cleared.source, cleared.value) == ("customer.email", "email", None)
    assert explanation.empty == ()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"clearOnNull": "yes"}, "clearOnNull: must be true or false, not text"),
        ({"requireUserId": 1}, "requireUserId: must be true or false, not a number"),
        ({"defaultMapping": "modern"}, "defaultMapping: must be classic or actions"),
        ({"defaultMapping": []}, "defaultMapping: must be classic or actions"),
    ],
)
def test_a_faulty_setting_is_named(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidMapping) as raised:
        EventMapping.compile(settings)
    assert str(raised.value) == fault


def test_every_row_of_the_actions_defaults_is_mapped_by_a_call() -> None:
    rules = EventMapping.compile({"defaultMapping": "actions"}).rules
    for call, rows in ACTIONS_MAPPINGS.items():
        default = rules[f"{call}Mapping"].default
        assert [(rule.source.text, rule.destination) for rule in default.rules] == list(rows.items())
