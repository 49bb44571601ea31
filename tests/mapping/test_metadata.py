"""Metadata and the project's schema: each conversion that loses nothing, and each that would lose something."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from mapping import LeftOut, MetadataSchemas, Operation, Request

CASES = json.loads(Path(__file__).with_name("metadata_cases.json").read_text(encoding="utf-8"))


def schema(related_object: str, properties: dict[str, Any], **parts: Any) -> dict[str, Any]:
    defaults = {"array": False, "optional": True, "objectType": None}
    definitions = {key: {**defaults, **definition} for key, definition in properties.items()}
    return {"related_object": related_object, "properties": definitions, "allow_defined_only": False, **parts}


PAYMENT = schema("payment", {"tax": {"type": "number"}, "method": {"type": "string", "optional": False}})


def schemas(*found: dict[str, Any]) -> MetadataSchemas:
    return MetadataSchemas.read({"object": "list", "data_ref": "schemas", "schemas": list(found)})


def identify(metadata: Any) -> Request:
    body = {"source_id": "c-1", "email": "ada@example.com", "metadata": metadata}
    return Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", body, "c-1")


def track(metadata: Any, customer: Any = None, event: str = "Order Completed") -> Request:
    body = {
        "event": event,
        "customer": {"source_id": "c-1", **({"metadata": customer} if customer else {})},
        "metadata": metadata,
    }
    return Request(Operation.TRACK_EVENT, "POST", "/v1/events", body, "c-1")


def body_of(request: Request) -> dict[str, Any]:
    assert request.body is not None
    return request.body


@pytest.mark.parametrize(
    ("definition", "given", "fitted"),
    [(case["schema"], given, fitted) for case in CASES for given, fitted in case["fits"]],
)
def test_value_is_made_to_fit_where_nothing_is_lost(definition: dict[str, Any], given: Any, fitted: Any) -> None:
    request = identify({"key": given})
    before = copy.deepcopy(request)
    found = schemas(schema("customer", {"key": definition}), PAYMENT).fit(request)
    assert json.dumps(body_of(found)["metadata"]) == json.dumps({"key": fitted})
    assert found.left_out == ()
    assert request == before


@pytest.mark.parametrize(
    ("definition", "given"), [(case["schema"], given) for case in CASES for given in case["does_not_fit"]]
)
def test_value_that_would_lose_something_is_left_out_and_named(definition: dict[str, Any], given: Any) -> None:
    request = identify({"key": given, "other": "x"})
    found = schemas(schema("customer", {"key": definition}), PAYMENT).fit(request)
    assert body_of(found)["metadata"] == {"other": "x"}
    (left_out,) = found.left_out
    assert left_out.destination == "customer.metadata.key"
    assert left_out.reason.startswith("does not fit Voucherify's metadata schema: ")


def test_metadata_without_a_schema_stays_as_it_is() -> None:
    assert schemas(schema("voucher", {"key": {"type": "number"}})).fit(identify({"key": "a"})) == identify({"key": "a"})


def test_key_that_is_not_defined_is_left_out_in_strict_mode_only() -> None:
    assert schemas(schema("customer", {})).fit(identify({"key": 1})) == identify({"key": 1})
    found = schemas(schema("customer", {}, allow_defined_only=True)).fit(identify({"key": 1}))
    assert "metadata" not in body_of(found), "empty metadata is left out"
    assert [left_out.destination for left_out in found.left_out] == ["customer.metadata.key"]


def test_deleted_definition_is_not_defined_in_strict_mode() -> None:
    deleted = schema("customer", {"key": {"type": "string", "deleted": True}}, allow_defined_only=True)
    assert "metadata" not in body_of(schemas(deleted).fit(identify({"key": "a"})))


def test_part_of_a_nested_object_is_left_out_alone() -> None:
    customer = schema("customer", {"payment": {"type": "object", "objectType": "payment"}})
    found = schemas(customer, PAYMENT).fit(identify({"payment": {"tax": "much", "method": "card"}}))
    assert body_of(found)["metadata"] == {"payment": {"method": "card"}}
    assert [left_out.destination for left_out in found.left_out] == ["customer.metadata.payment.tax"]


def test_event_and_its_customer_fit_their_own_schemas() -> None:
    order = schema("Order Completed", {"key": {"type": "string"}})
    found = schemas(order, schema("customer", {"key": {"type": "number"}})).fit(track({"key": 1}, {"key": "1"}))
    assert body_of(found)["metadata"] == {"key": "1"}
    assert body_of(found)["customer"] == {"source_id": "c-1", "metadata": {"key": 1}}


@pytest.mark.parametrize("related_object", ["custom_event", "event"])
def test_schema_of_all_events_holds_where_an_event_has_none_of_its_own(related_object: str) -> None:
    common = schema(related_object, {"key": {"type": "string"}})
    own = schema("Order Completed", {"key": {"type": "number"}})
    assert body_of(schemas(common, own).fit(track({"key": "1"})))["metadata"] == {"key": 1}
    assert body_of(schemas(common, own).fit(track({"key": 1}, event="Other")))["metadata"] == {"key": "1"}


@pytest.mark.parametrize("event", ["order", "payment"])
def test_event_named_like_another_object_does_not_get_its_schema(event: str) -> None:
    properties = {"key": {"type": "number"}, "how": {"type": "object", "objectType": "payment"}}
    found = schemas(schema("order", properties, allow_defined_only=True), PAYMENT)
    assert found.fit(track({"key": "a"}, event=event)) == track({"key": "a"}, event=event)


def test_earlier_left_out_fields_are_kept() -> None:
    earlier = LeftOut("traits.phone", "customer.phone", "an object is not text")
    request = identify({"key": "a"})._replace(left_out=(earlier,))
    found = schemas(schema("customer", {"key": {"type": "number"}})).fit(request)
    assert [left_out.destination for left_out in found.left_out] == ["customer.phone", "customer.metadata.key"]


def test_missing_required_keys_are_named() -> None:
    required = {"type": "string", "optional": False}
    found = schemas(schema("customer", {"plan": required, "age": {"type": "number"}}), schema("e", {"store": required}))
    assert found.missing(identify({"age": 1})) == ["customer.metadata.plan"]
    assert found.missing(identify({"plan": "pro"})) == []
    assert found.missing(track({}, event="e")) == ["customer.metadata.plan", "metadata.store"]


@pytest.mark.parametrize("metadata", [{}, None])
def test_empty_metadata_stays_as_it_is(metadata: object) -> None:
    found = schemas(schema("customer", {"plan": {"type": "string", "optional": False}}, allow_defined_only=True))
    assert found.fit(identify(metadata)) == identify(metadata)
    assert found.missing(identify(metadata)) == ["customer.metadata.plan"]


def test_deletion_has_no_metadata() -> None:
    deletion = Request(Operation.DELETE_CUSTOMER, "POST", "/v1/customers/c-1/permanent-deletion", None, "c-1")
    found = schemas(schema("customer", {"plan": {"type": "string", "optional": False}}))
    assert (found.fit(deletion), found.missing(deletion)) == (deletion, [])


@pytest.mark.parametrize(
    "document",
    [None, [], "x", {}, {"schemas": None}, {"schemas": [1, {}, {"related_object": 1}]}],
)
def test_answer_without_schemas_changes_nothing(document: object) -> None:
    assert MetadataSchemas.read(document).fit(identify({"key": 1})) == identify({"key": 1})


@pytest.mark.parametrize("properties", [None, [], {"key": None}, {"key": {}}, {"key": {"type": 1, "eq": 7}}])
def test_definition_that_cannot_be_read_changes_nothing(properties: object) -> None:
    found = MetadataSchemas.read({"schemas": [{"related_object": "customer", "properties": properties}]})
    assert found.fit(identify({"key": 1})) == identify({"key": 1})
