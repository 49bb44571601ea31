"""The explanation of an event as exact JSON: the origin of each field, and the values that were not sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mapping import EventMapping, explain

BOUGHT: dict[str, Any] = {
    "type": "Track",
    "user_id": " u-1 ",
    "event": "Order Completed",
    "context": {"Locale": "en-GB"},
    "properties": {
        "total": 27.5,
        "Email": "ada@example.com",
        "first-name": "Ada",
        "lastName": "Lovelace",
        "born": 642902400,
        "phone": 44,
        "coupon": "",
        "address": {"city": "London", "PostalCode": "SW1Y 4JH", "street": "12 St James's Square"},
        "order id": 7,
        "number": "N-7",
        "products": [{"SKU": "A-1"}, {"sku": "B-2"}],
        "card": {"no": 1},
        "referrer": "u-2",
    },
}
RICH: dict[str, object] = {
    "trackMapping": {
        "email": "customer.email",
        "firstName": "customer.firstName",
        "born": "customer.birthdate",
        "phone": "customer.phone",
        "address": "customer.address",
        "total": ["metadata.total", "customer.metadata.last_total"],
        "order_id": "metadata.id",
        "number": "metadata.id",
        "products[*].sku": "metadata.skus",
        "products.0.sku": "metadata.first",
        "products[9].sku || 'none'": "metadata.tenth",
        "context.locale": "customer.metadata.locale",
        "coupon": "metadata.coupon",
        "properties.gift || note": "metadata.gift",
        "card": "loyalty.code",
        "length(total)": "metadata.n",
        "referrer": "referral.referrer_id",
    }
}


def row(
    destination: str, source: str, found_at: str, given: object, value: object, *marks: str, **more: object
) -> dict[str, object]:
    """Return a filled field; `marks` are `converted` and `fallback`."""
    return {
        "destination": destination,
        "source": source,
        "foundAt": found_at,
        "given": given,
        "value": value,
        "isConverted": "converted" in marks,
        "isFallback": "fallback" in marks,
        **more,
    }


def explained(event: object, settings: dict[str, object]) -> dict[str, Any]:
    explanation = explain(event, EventMapping.compile(settings)).to_json()
    as_json: dict[str, Any] = json.loads(json.dumps(explanation, allow_nan=False))
    return {name: value for name, value in as_json.items() if name not in _OF_THE_WHOLE_EVENT}


# What the tests at the end of this file are about.
_OF_THE_WHOLE_EVENT = ("mappedBy", "notSent", "also")


def assert_same_json(actual: object, expected: object) -> None:
    """Compare with the order of keys; `1`, `1.0` and `true` are three values."""
    assert json.dumps(actual, indent=1) == json.dumps(expected, indent=1)


def test_a_rich_event_is_explained_in_full() -> None:
    assert_same_json(
        explained(BOUGHT, RICH),
        {
            "request": {
                "method": "POST",
                "path": "/v1/events",
                "body": {
                    "event": "Order Completed",
                    "customer": {
                        "source_id": "u-1",
                        "email": "ada@example.com",
                        "birthdate": "1990-05-17",
                        "phone": "44",
                        "address": {"city": "London", "postal_code": "SW1Y 4JH"},
                        "metadata": {"last_total": 27.5, "locale": "en-GB"},
                        "name": "Ada Lovelace",
                    },
                    "metadata": {
                        "total": 27.5,
                        "id": "N-7",
                        "skus": ["A-1", "B-2"],
                        "first": "A-1",
                        "tenth": "none",
                    },
                },
            },
            "filled": [
                row("customer.email", "email", "properties.Email", "ada@example.com", "ada@example.com"),
                row("customer.birthdate", "born", "properties.born", 642902400, "1990-05-17", "converted"),
                row("customer.phone", "phone", "properties.phone", 44, "44", "converted"),
                row("customer.address.city", "address.city", "properties.address.city", "London", "London"),
                row(
                    "customer.address.postal_code",
                    "address.PostalCode",
                    "properties.address.PostalCode",
                    "SW1Y 4JH",
                    "SW1Y 4JH",
                ),
                row("metadata.total", "total", "properties.total", 27.5, 27.5),
                row("customer.metadata.last_total", "total", "properties.total", 27.5, 27.5),
                row("metadata.id", "number", "properties.number", "N-7", "N-7"),
                row("metadata.skus", "products[*].sku", "products[*].sku", ["A-1", "B-2"], ["A-1", "B-2"]),
                row("metadata.first", "products.0.sku", "properties.products.0.SKU", "A-1", "A-1"),
                row("metadata.tenth", "products[9].sku || 'none'", "products[9].sku || 'none'", "none", "none"),
                row("customer.metadata.locale", "context.locale", "context.Locale", "en-GB", "en-GB"),
                row("customer.source_id", "userId", "userId", " u-1 ", "u-1", "converted", "fallback"),
                row(
                    "customer.name",
                    "firstName and properties.lastName",
                    "properties.first-name and properties.lastName",
                    ["Ada", "Lovelace"],
                    "Ada Lovelace",
                    "converted",
                    "fallback",
                ),
                row("event", "event", "event", "Order Completed", "Order Completed", "fallback"),
            ],
            "unused": [
                row("metadata.id", "order_id", "properties.order id", 7, 7, reason="replaced by number"),
                row(
                    "customer.firstName",
                    "firstName",
                    "properties.first-name",
                    "Ada",
                    "Ada",
                    reason="Voucherify has only customer.name",
                ),
                row(
                    "referral.referrer_id",
                    "referrer",
                    "properties.referrer",
                    "u-2",
                    "u-2",
                    reason="its code is missing",
                ),
            ],
            "empty": [
                {"source": "coupon", "destination": "metadata.coupon"},
                {"source": "properties.gift || note", "destination": "metadata.gift"},
            ],
            "leftOut": [
                {
                    "source": "address.street",
                    "destination": "customer.address.street",
                    "reason": "Voucherify has no such field",
                },
                {"source": "card", "destination": "loyalty.code", "reason": "an object is not text"},
                {
                    "source": "length(total)",
                    "destination": "metadata.n",
                    "reason": "length() takes string or array or object, not number",
                },
                {"source": "", "destination": "referral", "reason": "its code is missing"},
            ],
        },
    )


def test_the_fallbacks_of_an_unnamed_event_are_explained() -> None:
    explanation = explained({"type": "Track", "anonymous_id": 7, "properties": {"LAST_NAME": "King"}}, {})
    assert_same_json(
        explanation["filled"],
        [
            row("customer.source_id", "anonymousId", "anonymousId", 7, "7", "converted", "fallback"),
            row(
                "customer.name",
                "properties.lastName",
                "properties.LAST_NAME",
                ["King"],
                "King",
                "converted",
                "fallback",
            ),
            row("event", "type", "type", "Track", "track", "converted", "fallback"),
        ],
    )
    assert_same_json(
        explanation["unused"],
        [
            row(
                "customer.lastName",
                "properties.lastName",
                "properties.LAST_NAME",
                "King",
                "King",
                reason="Voucherify has only customer.name",
            )
        ],
    )
    assert len(explanation["empty"]) == 11
    assert {"source": "properties.address.city", "destination": "customer.address.city"} in explanation["empty"]


def test_trimmed_and_blank_text_and_an_object_that_is_text_are_explained() -> None:
    explanation = explained(
        {
            "type": "identify",
            "userId": "u-1",
            "traits": {"email": " ada@example.com", "phone": " ", "address": "London"},
        },
        {
            "identifyMapping": {
                "email": "customer.email",
                "phone": "customer.phone",
                "address.city": "customer.address.city",
                "address.state": "customer.address.state",
                "plan.name": "customer.metadata.plan",
            }
        },
    )
    assert explanation["request"]["body"] == {"source_id": "u-1", "email": "ada@example.com"}
    assert explanation["filled"][0] == row(
        "customer.email", "email", "traits.email", " ada@example.com", "ada@example.com", "converted"
    )
    assert explanation["empty"] == [
        {"source": "phone", "destination": "customer.phone"},
        {"source": "plan.name", "destination": "customer.metadata.plan"},
    ]
    assert explanation["leftOut"] == [
        {"source": "address", "destination": "customer.address…", "reason": "text is not an object"}
    ]


def test_a_name_from_the_payload_that_no_row_maps_is_a_fallback() -> None:
    explanation = explained(
        {"type": "identify", "userId": "u-1", "traits": {"first_name": "Ada"}}, {"identifyMapping": {}}
    )
    assert explanation["filled"][1:] == [
        row("customer.name", "traits.firstName", "traits.first_name", ["Ada"], "Ada", "converted", "fallback")
    ]


@pytest.mark.parametrize("given", [0, 404])
def test_a_number_as_event_name_is_found_in_the_event(given: int) -> None:
    explanation = explained({"type": "track", "userId": "u-1", "event": given}, {"trackMapping": {}})
    assert_same_json(
        explanation["filled"][-1], row("event", "event", "event", given, str(given), "converted", "fallback")
    )


def test_a_pages_name_is_explained_and_is_not_the_customers() -> None:
    explanation = explained(
        {"type": "page", "userId": "u-1", "Name": "Home", "properties": {"name": "Home"}},
        {"pageDisabled": False, "pageMapping": {"name": "customer.name"}},
    )
    assert_same_json(
        explanation,
        {
            "request": {
                "method": "POST",
                "path": "/v1/events",
                "body": {"event": "Viewed Home Page", "customer": {"source_id": "u-1"}},
            },
            "filled": [
                row("customer.source_id", "userId", "userId", "u-1", "u-1", "fallback"),
                row("event", "name", "Name", "Home", "Viewed Home Page", "converted", "fallback"),
            ],
            "unused": [
                row(
                    "customer.name",
                    "name",
                    "properties.name",
                    "Home",
                    "Home",
                    reason="it is the name of the page or screen",
                )
            ],
            "empty": [],
            "leftOut": [],
        },
    )


def test_values_that_merge_are_all_filled_and_replaced_values_are_unused() -> None:
    explanation = explained(
        {"type": "identify", "userId": "u-1", "traits": {"all": {"plan": "old"}, "plan": "new", "x": {"k": 1}, "y": 2}},
        {
            "identifyMapping": {
                "all": "customer.metadata",
                "plan": "customer.metadata.plan",
                "x.k": "customer.metadata.x.k",
                "x": "customer.metadata.x",
                "y": "customer.metadata.x",
            }
        },
    )
    assert explanation["request"]["body"]["metadata"] == {"plan": "new", "x": 2}
    assert [filled["source"] for filled in explanation["filled"]] == ["all", "plan", "y", "userId"]
    assert [(unused["source"], unused["reason"]) for unused in explanation["unused"]] == [
        ("x.k", "replaced by y"),
        ("x", "replaced by y"),
    ]


def test_two_objects_that_merge_at_one_place_are_both_filled() -> None:
    explanation = explained(
        {"type": "identify", "userId": "u-1", "traits": {"a": {"x": 1}, "b": {"y": 2}}},
        {"identifyMapping": {"a": "customer.metadata", "b": "customer.metadata"}},
    )
    assert explanation["request"]["body"]["metadata"] == {"x": 1, "y": 2}
    assert [filled["source"] for filled in explanation["filled"]] == ["a", "b", "userId"]
    assert explanation["unused"] == []


def test_a_value_is_shown_without_the_later_values_that_merged_into_it() -> None:
    explanation = explained(
        {"type": "identify", "userId": "u-1", "traits": {"all": {"a": 1}, "b": 2}},
        {"identifyMapping": {"all": "customer.metadata", "b": "customer.metadata.b"}},
    )
    assert explanation["request"]["body"]["metadata"] == {"a": 1, "b": 2}
    assert explanation["filled"][0] == row("customer.metadata", "all", "traits.all", {"a": 1}, {"a": 1})


@pytest.mark.parametrize(
    ("source", "found_at"),
    [
        ("$", "$"),
        ("$.User_ID", "userId"),
        ("utm['SOURCE.id']", 'properties.utm."source.id"'),
        ('"order id"', "properties.Order Id"),
        ("list[-1].x", "properties.list.-1.X"),
    ],
)
def test_the_place_in_the_event_has_its_own_casing(source: str, found_at: str) -> None:
    event = {
        "type": "track",
        "user_id": "u-1",
        "event": "Bought",
        "properties": {"utm": {"source.id": "news"}, "Order Id": 7, "list": [1, {"X": 2}]},
    }
    filled = explained(event, {"trackMapping": {source: "metadata.a"}})["filled"]
    assert (filled[0]["source"], filled[0]["foundAt"]) == (source, found_at)


def test_a_deletion_fills_nothing() -> None:
    assert_same_json(
        explained({"type": "delete", "userId": "a/b", "traits": 5}, {"deleteDisabled": False}),
        {
            "request": {"method": "POST", "path": "/v1/customers/a%2Fb/permanent-deletion", "body": None},
            "filled": [],
            "unused": [],
            "empty": [],
            "leftOut": [{"source": "traits", "destination": "traits", "reason": "a number is not an object"}],
        },
    )


NOTHING: dict[str, object] = {"filled": [], "unused": [], "empty": [], "leftOut": []}


@pytest.mark.parametrize(
    ("event", "settings", "reason"),
    [
        ({"type": "track", "event": "Bought", "integrations": {"Voucherify": False}}, {}, "opted_out"),
        ({"type": "alias"}, {}, "alias_not_supported"),
        ({"type": "track", "properties": {"name": "Ada", "email": []}}, {"requireUserId": True}, "user_id_required"),
        ({"type": "page", "properties": 5}, {}, "page_disabled"),
        ({"type": "track", "event": "Bought"}, {"trackEventsFilter": ["Order *"]}, "track_events_filter"),
    ],
)
def test_a_skip_is_explained_by_its_reason(event: object, settings: dict[str, object], reason: str) -> None:
    assert_same_json(explained(event, settings), {"skip": reason, **NOTHING})


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (
            [1],
            {
                "stage": "normalise",
                "code": "invalid_event",
                "path": "",
                "problem": "an event must be a JSON object, not an array",
            },
        ),
        ({}, {"stage": "normalise", "code": "invalid_event", "path": "type", "problem": "type is missing"}),
        (
            {"type": "purchase"},
            {
                "stage": "normalise",
                "code": "unknown_type",
                "path": "type",
                "problem": "type is not one of Segment's calls",
            },
        ),
        (
            {"type": "track", "userId": [1]},
            {
                "stage": "normalise",
                "code": "invalid_event",
                "path": "userId",
                "problem": "userId cannot be used as an id: an array is not text",
            },
        ),
    ],
)
def test_an_invalid_event_is_explained_by_its_error(event: object, error: dict[str, str]) -> None:
    assert_same_json(explained(event, {"trackMapping": {}}), {"error": error, **NOTHING})


def test_an_event_that_fails_late_is_explained_up_to_the_failure() -> None:
    event = {"type": "track", "event": "Bought", "properties": {"mail": "ada@example.com", "age": [36]}}
    mapping = {"mail": "customer.email", "age": "customer.phone", "plan": "metadata.plan"}
    assert_same_json(
        explained(event, {"trackMapping": mapping}),
        {
            "error": {
                "stage": "map",
                "code": "customer_id_missing",
                "path": "userId",
                "problem": "no userId or anonymousId: send one of them, or map a field to customer.source_id",
            },
            "filled": [row("customer.email", "mail", "properties.mail", "ada@example.com", "ada@example.com")],
            "unused": [],
            "empty": [{"source": "plan", "destination": "metadata.plan"}],
            "leftOut": [{"source": "age", "destination": "customer.phone", "reason": "an array is not text"}],
        },
    )


ORDER = {
    "type": "track",
    "userId": "u-1",
    "event": "Order Completed",
    "properties": {"order_id": "o-1", "total": 12, "products": [{"sku": "A-1"}], "gift": {"wrap": True, "text": ""}},
}


def test_every_request_of_an_event_is_explained() -> None:
    settings: dict[str, object] = {
        "orderEvents": {"Order *": "PAID"},
        "trackMapping": {"Order Completed": {"order_id": "metadata.id"}},
        "orderMapping.shop": {"order_id": "order.source_id", "coupon": "order.metadata.coupon"},
    }
    explanation = explain(ORDER, EventMapping.compile(settings)).to_json()
    assert explanation["mappedBy"] == "trackMapping['Order Completed']"
    assert explanation["request"]["path"] == "/v1/events"
    (also,) = explanation["also"]
    assert_same_json(
        also,
        {
            "request": {
                "method": "POST",
                "path": "/v1/orders",
                "body": {"source_id": "o-1", "status": "PAID", "customer": {"source_id": "u-1"}},
            },
            "mappedBy": "orderMapping.shop",
            "filled": [
                row("order.source_id", "order_id", "properties.order_id", "o-1", "o-1"),
                row("customer.source_id", "userId", "userId", "u-1", "u-1", "fallback"),
                row("order.status", "orderEvents", "event", "Order Completed", "PAID", "converted", "fallback"),
            ],
            "unused": [],
            "empty": [{"source": "coupon", "destination": "order.metadata.coupon"}],
            "leftOut": [],
        },
    )
    assert explanation["notSent"] == ["total", "products", "gift.wrap"]


def test_a_request_that_cannot_be_made_is_explained_beside_the_other() -> None:
    event = {**ORDER, "properties": {}}
    explanation = explain(event, EventMapping.compile({"orderEvents": {"*": "PAID"}})).to_json()
    assert explanation["request"]["path"] == "/v1/events"
    assert [one["error"]["code"] for one in explanation["also"]] == ["order_id_missing"]


@pytest.mark.parametrize(
    ("name", "mapped_by"),
    [
        ("Order Completed", "trackMapping['Order Completed']"),
        ("Order Updated", "trackMapping.orders['Order *']"),
        ("Signed Up", "the default mapping"),
    ],
)
def test_the_mapping_of_an_event_is_named(name: str, mapped_by: str) -> None:
    settings: dict[str, object] = {"trackMapping": {"Order Completed": {}}, "trackMapping.orders": {"Order *": {}}}
    explanation = explain({**ORDER, "event": name}, EventMapping.compile(settings))
    assert explanation.mapped_by == mapped_by


@pytest.mark.parametrize(
    ("source", "not_sent"),
    [
        ("properties", []),
        ("$", []),
        ("@", []),
        ("products[*].sku", ["order_id", "total", "gift.wrap"]),
        ("products[?sku=='A-1'].sku | [0]", ["order_id", "total", "gift.wrap"]),
        ("gift.wrap", ["order_id", "total", "products"]),
        ("gift.{a: wrap}", ["order_id", "total", "products"]),
        ("Order-ID", ["total", "products", "gift.wrap"]),
        ("total || order_id", ["products", "gift.wrap"]),
        ("join('', [order_id, to_string(total)])", ["products", "gift.wrap"]),
        ("context.ip", ["order_id", "total", "products", "gift.wrap"]),
        ("sum(products[*].multiply(price, quantity))", ["order_id", "total", "gift.wrap"]),
    ],
)
def test_properties_that_no_row_reads_are_named(source: str, not_sent: list[str]) -> None:
    explanation = explain(ORDER, EventMapping.compile({"trackMapping": {source: "metadata.x"}}))
    assert list(explanation.not_sent) == not_sent


def test_what_a_fallback_uses_is_sent() -> None:
    event = {
        "type": "identify",
        "userId": "u-1",
        "traits": {"firstName": "Ada", "last_name": "Lovelace", "plan": "a.b"},
    }
    explanation = explain(event, EventMapping.compile({"identifyMapping": {"email": "customer.email"}}))
    assert explanation.not_sent == ("plan",)


def test_key_with_white_space_around_it_is_quoted() -> None:
    event = {"type": "track", "userId": "u-1", "event": "A", "properties": {": ": 1, "a b": 2}}
    assert explain(event, EventMapping.compile({})).not_sent == ('": "', "a b")
    row = {'properties.": "': "metadata.x"}
    assert explain(event, EventMapping.compile({"trackMapping": row})).not_sent == ("a b",)
