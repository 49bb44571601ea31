"""The promises of orders: exact amounts in any currency, whole events unchanged, valid bodies for any JSON.

Cases with their exact requests are in cases/orders.json.
"""

from __future__ import annotations

import copy
import decimal
import json
import re
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mapping import EventMapping, InvalidEvent, LeftOut, Request, Skip, explain, map_event
from mapping.event_names import ByName
from mapping.money import digits_of, to_minor_units
from mapping.values import MAX_EVENT_NAME, ConversionError
from tests.contract.published import assert_published
from tests.mapping.test_event_filter import is_match

# An own table: the digits of ISO 4217, https://www.iso.org/iso-4217-currency-codes.html
DIGITS = {"EUR": 2, "USD": 2, "GBP": 2, "HUF": 2, "JPY": 0, "KRW": 0, "VND": 0, "KWD": 3, "TND": 3, "CLF": 4, "XYZ": 2}
CALCULATOR = decimal.Context(prec=1000, rounding=ROUND_HALF_UP)
LARGEST = 2**53 - 1

ORDER_ALONE = {"orderEvents": {"*": "PAID"}, "trackEventsFilter": ["Signed Up"]}
DEFAULT = EventMapping.compile(ORDER_ALONE)


def of_products(products: object, currency: object = None, name: str = "Order Completed") -> dict[str, Any]:
    properties = {"order_id": "o-1", "currency": currency, "products": products}
    return {"type": "track", "userId": "u-1", "event": name, "properties": properties}


def order_of(event: object, mapping: EventMapping = DEFAULT) -> tuple[dict[str, Any], tuple[LeftOut, ...]]:
    request = map_event(event, mapping)
    assert isinstance(request, Request)
    assert request.path == "/v1/orders"
    assert isinstance(request.body, dict)
    return request.body, request.left_out


def rounded(exact: Decimal) -> int:
    return int(exact.quantize(Decimal(1), context=CALCULATOR))


def minor_units(amount: str, currency: str, quantity: int = 1) -> int:
    """The definition: the exact product in minor units, half a unit rounded up."""
    in_units = CALCULATOR.scaleb(CALCULATOR.create_decimal(amount), DIGITS[currency])
    return rounded(CALCULATOR.multiply(in_units, Decimal(quantity)))


TEXT = st.text(st.characters(codec=None), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALARS, lambda items: st.lists(items, max_size=3) | st.dictionaries(TEXT, items, max_size=3))

# Prices as they are written, with up to 25 digits behind the point; quantities; and the same as JSON numbers.
WRITTEN = st.from_regex(r"(0|[1-9][0-9]{0,6})(\.[0-9]{1,25})?", fullmatch=True)
NUMBERS = st.integers(0, 10**7) | st.floats(0, 1e7, allow_subnormal=False).filter(lambda number: not 0 < number < 1e-90)
PRICES = WRITTEN | NUMBERS
CURRENCIES = st.sampled_from(sorted(DIGITS))


def as_written(price: object) -> str:
    """A JSON number has the digits that JSON writes."""
    return price if isinstance(price, str) else json.dumps(price)


def units_or_reason(value: object, currency: object) -> int | str:
    try:
        return to_minor_units(value, currency)
    except ConversionError as error:
        return str(error)


class TestAmounts:
    @given(st.lists(st.tuples(PRICES, st.integers(0, 10_000)), min_size=1, max_size=5), CURRENCIES)
    @example([("0.333", 3), (0.333, 3), (1.15, 1), ("19.99", 7)], "EUR")
    @example([("0.5", 3), (1200, 2)], "JPY")
    @example([("1.2345", 2), (0.0005, 1)], "KWD")
    @example([("0.50249999999999999999999999999", 2)], "EUR")
    def test_prices_times_quantities_sum_to_what_a_decimal_calculator_gives(
        self, lines: list[tuple[Any, int]], currency: str
    ) -> None:
        products = [{"sku": f"s-{n}", "price": price, "quantity": count} for n, (price, count) in enumerate(lines)]
        body, left_out = order_of(of_products(products, currency))
        amounts = [item.get("amount", item["price"] * item["quantity"]) for item in body["items"]]
        expected = [minor_units(as_written(price), currency, count) for price, count in lines]
        assert amounts == expected
        assert sum(amounts) == sum(expected)
        assert [item["price"] for item in body["items"]] == [minor_units(as_written(p), currency) for p, _ in lines]
        assert left_out == ()
        assert_published("/v1/orders", body)

    @given(st.lists(st.tuples(PRICES, st.integers(0, 10_000)), min_size=1, max_size=5), CURRENCIES)
    def test_a_refund_of_products_is_the_sum_of_their_exact_amounts(
        self, lines: list[tuple[Any, int]], currency: str
    ) -> None:
        products = [{"sku": f"s-{n}", "price": price, "quantity": count} for n, (price, count) in enumerate(lines)]
        body, _ = order_of(of_products(products, currency, "Order Refunded"))
        refunded = sum(minor_units(as_written(price), currency, count) for price, count in lines)
        assert body["metadata"].get("refunded_amount", 0) == refunded
        assert body.keys() == {"source_id", "metadata", "customer"}

    @given(PRICES, CURRENCIES)
    def test_the_total_is_exact(self, total: Any, currency: str) -> None:
        event = of_products(None, currency)
        event["properties"] |= {"total": total, "discount": total}
        body, _ = order_of(event)
        assert body["amount"] == body["discount_amount"] == minor_units(as_written(total), currency)

    @given(WRITTEN, CURRENCIES)
    def test_an_amount_is_off_by_at_most_half_a_unit_and_never_negative(self, amount: str, currency: str) -> None:
        units = to_minor_units(amount, currency)
        exact = CALCULATOR.scaleb(CALCULATOR.create_decimal(amount), DIGITS[currency])
        assert units >= 0
        assert abs(CALCULATOR.subtract(Decimal(units), exact)) <= Decimal("0.5")

    @given(st.integers(0, LARGEST), CURRENCIES)
    def test_whole_units_stay_as_they_are(self, units: int, currency: str) -> None:
        text = str(CALCULATOR.scaleb(Decimal(units), -DIGITS[currency]))
        assert to_minor_units(text, currency) == units

    @given(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=12)
        | st.from_regex(r"[-+.\d,eE_ ]+"),
        st.none() | CURRENCIES | st.text(max_size=4),
    )
    @example(10**5000, "EUR")
    @example("9" * 5000, "EUR")
    @example("1e99", "CLF")
    @example(float("inf"), "EUR")
    @example(5e-324, "EUR")
    def test_any_other_value_is_refused_with_a_reason(self, value: Any, currency: Any) -> None:
        units = units_or_reason(value, currency)
        if isinstance(units, str):
            assert units
            return
        assert type(units) is int
        assert 0 <= units <= LARGEST
        written = value.strip(" \t\n\r\f\v\x1c\x1d\x1e\x1f\x85\xa0") if isinstance(value, str) else json.dumps(value)
        assert re.search(r"[0-9]", written)

    @given(CURRENCIES, st.sampled_from([str.lower, str.upper, str.title, lambda code: f" {code} "]))
    def test_a_currency_is_known_in_any_casing(self, currency: str, write: Any) -> None:
        assert digits_of(write(currency)) == DIGITS[currency]

    @given(WRITTEN, st.integers(1, 10_000), st.integers(1, 30))
    def test_the_calling_programs_decimal_context_changes_nothing(self, price: str, quantity: int, digits: int) -> None:
        event = of_products([{"sku": "s-1", "price": price, "quantity": quantity}], "EUR")
        expected = order_of(event)
        with decimal.localcontext() as context:
            context.prec, context.rounding = digits, decimal.ROUND_DOWN
            assert order_of(event) == expected


class TestItems:
    @pytest.mark.parametrize("count", [499, 500])
    def test_500_items_are_sent(self, count: int) -> None:
        body, left_out = order_of(of_products([{"sku": f"s-{n}"} for n in range(count)]))
        assert [item["source_id"] for item in body["items"]] == [f"s-{n}" for n in range(count)]
        assert left_out == ()
        assert_published("/v1/orders", body)

    @pytest.mark.parametrize("count", [501, 1234])
    def test_more_items_are_left_out_and_named(self, count: int) -> None:
        body, left_out = order_of(of_products([{"sku": f"s-{n}"} for n in range(count)]))
        assert [item["source_id"] for item in body["items"]] == [f"s-{n}" for n in range(500)]
        assert left_out == (LeftOut("", "order.items[500:]", f"an order has 500 items; {count} were given"),)

    def test_the_refund_of_more_items_has_no_amount(self) -> None:
        products = [{"sku": f"s-{n}", "price": 1, "quantity": 1} for n in range(501)]
        body, left_out = order_of(of_products(products, name="Order Refunded"))
        assert body == {"source_id": "o-1", "customer": {"source_id": "u-1"}}
        assert [one.destination for one in left_out] == ["order.items[500:]", "order.metadata.refunded_amount"]
        body, left_out = order_of(of_products(products[:500], name="Order Refunded"))
        assert body["metadata"] == {"refunded_amount": 50_000}
        assert left_out == ()

    def test_a_product_that_is_left_out_makes_no_room_for_a_later_one(self) -> None:
        body, left_out = order_of(of_products([{}, *({"sku": f"s-{n}"} for n in range(500))]))
        assert [item["source_id"] for item in body["items"]] == [f"s-{n}" for n in range(499)]
        assert [one.destination for one in left_out] == ["order.items[500:]", "order.items[0]"]


def test_null_clears_fields_of_the_customer_alone() -> None:
    event = of_products(None)
    event["properties"] |= {"phone": None, "total": None, "coupon": None}
    body, _ = order_of(event, EventMapping.compile({**ORDER_ALONE, "clearOnNull": True}))
    assert body == {"source_id": "o-1", "status": "PAID", "customer": {"source_id": "u-1", "phone": None}}


MONEY = JSON | PRICES | st.just(10**4000) | st.sampled_from(["-1", "1,999.00", "$5", "9" * 30, "1e99"])
PRODUCT = JSON | st.fixed_dictionaries(
    {},
    optional={
        "product_id": JSON | st.just("p-1"),
        "sku": JSON | st.just("s-1"),
        "Price": MONEY,
        "price": MONEY,
        "quantity": MONEY | st.integers(0, LARGEST),
        "amount": MONEY,
        "discount_amount": MONEY,
        "name": JSON,
        "metadata": JSON,
        "source_id": JSON,
    },
)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "order_id": st.just("o-1") | JSON,
        "total": MONEY,
        "revenue": MONEY,
        "discount": MONEY,
        "currency": CURRENCIES | JSON,
        "coupon": JSON,
        "shipping": MONEY,
        "products": st.lists(PRODUCT, max_size=4) | PRODUCT,
        "email": JSON,
        "metadata": JSON,
        "state": st.sampled_from(["paid", "cancelled", "shipped"]) | JSON,
        "extra": JSON | st.dictionaries(st.sampled_from(["amount", "items", "currency", "id", "metadata"]), MONEY),
    },
)
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track"] * 5 + ["page", "identify"]),
        "properties": st.just({"order_id": "o-1"}).flatmap(lambda known: PROPERTIES.map(lambda other: known | other)),
    },
    optional={
        "userId": st.just("u-1") | SCALARS,
        "anonymousId": SCALARS,
        "event": st.sampled_from(["Order Completed", "Order Refunded", "order_refunded", "Signed Up"]) | JSON,
        "traits": JSON,
        "context": JSON,
    },
)
MAPPINGS = st.sampled_from(
    [
        EventMapping.compile({**ORDER_ALONE, **other})
        for other in (
            {},
            {"trackEventsFilter": [], "pageDisabled": False},
            {"clearOnNull": True, "defaultMapping": "actions"},
            {"requireUserId": True},
            {"orderMapping": {"order_id": "order.source_id", "extra": "order", "products": "order.items"}},
            {
                "orderMapping": {
                    "extra": ["order.metadata", "customer"],
                    "order_id": "order.id",
                    "state": "order.status",
                }
            },
            {
                "clearOnNull": True,
                "trackMapping": {"Order *": {"properties": "customer.metadata", "email": "customer.email"}},
                "orderMapping": {
                    "*": {
                        "order_id": "order.source_id",
                        "sum(products[].price) || total": ["order.amount", "order.initial_amount"],
                        "products[].{source_id: sku, price: price, quantity: quantity}": "order.items",
                        "extra.currency || currency": "order.metadata.currency",
                        "metadata": ["order.metadata", "customer.metadata"],
                    }
                },
            },
        )
    ]
)


def requests_of(outcome: Request | Skip) -> list[Request]:
    if isinstance(outcome, Skip):
        return []
    return [outcome, *(one for one in outcome.also if isinstance(one, Request))]


def no_constant(literal: str) -> None:
    raise AssertionError(f"{literal} is not strict JSON")


@pytest.mark.slow
class TestAnyEvent:
    @given(EVENTS, MAPPINGS)
    @example({"type": "track", "userId": "u-1", "event": 10**5000, "properties": {"order_id": "o-1"}}, DEFAULT)
    @example(of_products([{"sku": "s-1", "price": 90000000000000, "quantity": 90000000000000}]), DEFAULT)
    @example(of_products([{"sku": "s-1", "price": "9" * 15, "quantity": LARGEST, "amount": "9" * 15}]), DEFAULT)
    def test_nothing_crashes_and_each_order_is_as_published(self, event: Any, mapping: EventMapping) -> None:
        try:
            outcome = map_event(event, mapping)
        except InvalidEvent:
            return
        for request in requests_of(outcome):
            body = json.loads(request.to_json() or b"null", parse_constant=no_constant)
            assert_published(request.path, body)
            if request.path == "/v1/orders":
                assert body.get("source_id") or body.get("id")
                assert "status" in body or "order" in str(event["event"]).lower()
                for item in body.get("items", []):
                    assert item["source_id"]
                    assert all(0 <= item.get(name, 0) <= LARGEST for name in ("price", "amount", "quantity"))

    @given(EVENTS, MAPPINGS)
    def test_the_event_stays_unchanged(self, event: Any, mapping: EventMapping) -> None:
        before = copy.deepcopy(event)
        for call in (map_event, explain):
            try:
                outcome = call(event, mapping)
            except InvalidEvent:
                continue
            for request in requests_of(outcome) if isinstance(outcome, Request | Skip) else []:
                if isinstance(request.body, dict):
                    deface(request.body)  # what the caller does to the request does not reach the event either
            assert repr(event) == repr(before)

    @given(EVENTS, MAPPINGS)
    def test_explain_has_the_same_outcomes(self, event: Any, mapping: EventMapping) -> None:
        explanation = explain(event, mapping)
        try:
            outcome: Any = map_event(event, mapping)
        except InvalidEvent as error:
            outcome = error
        also = outcome.also if isinstance(outcome, Request) else ()
        alone = outcome._replace(also=()) if isinstance(outcome, Request) else outcome
        assert repr(explanation.outcome) == repr(alone)
        if isinstance(outcome, Request):
            assert [repr(one.outcome) for one in explanation.also] == [repr(one) for one in also]

    @given(EVENTS, MAPPINGS)
    def test_the_custom_event_is_the_same_without_orders(self, event: Any, mapping: EventMapping) -> None:
        settings: dict[str, Any] = {"trackMapping": {"email": "customer.email", "properties": "metadata"}}
        with_orders = EventMapping.compile({**settings, "orderEvents": {"*": "PAID"}})
        try:
            expected = map_event(event, EventMapping.compile(settings))
        except InvalidEvent:
            assume(False)
            return
        outcome = map_event(event, with_orders)
        assert repr(outcome._replace(also=()) if isinstance(outcome, Request) else outcome) == repr(expected)


def deface(value: Any) -> None:
    """Empty every object and array of a body, the innermost first."""
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        deface(inner)
    if isinstance(value, dict | list):
        value.clear()


NAMES = st.text("ab*", max_size=6)


class TestByName:
    @given(st.lists(NAMES.filter(bool), max_size=6, unique=True), NAMES)
    def test_the_exact_name_then_the_longest_then_the_first_in_the_alphabet(self, keys: list[str], name: str) -> None:
        matching = [key for key in keys if "*" in key and is_match(key, name)]
        longest = sorted(key for key in matching if len(key) == max(map(len, matching)))
        expected = name if name in keys else longest[0] if longest else None
        assert ByName.of({key: key for key in keys}).find(name) == expected

    @given(st.lists(NAMES.filter(bool), max_size=6, unique=True), st.randoms(use_true_random=False), NAMES)
    def test_the_order_of_the_names_does_not_count(self, keys: list[str], random: Any, name: str) -> None:
        shuffled = random.sample(keys, len(keys))
        assert ByName.of({key: key for key in keys}).find(name) == ByName.of({key: key for key in shuffled}).find(name)

    @pytest.mark.parametrize("name", [None, 5, 5.0, True, ["a"], {"a": 1}])
    def test_a_name_that_is_no_text_is_matched_by_any_event_alone(self, name: object) -> None:
        assert ByName.of({"*": 1, "**": 2, "5": 3}).find(name) == 1
        assert ByName.of({"**": 2, "5": 3}).find(name) is None

    def test_a_name_that_is_too_long_is_found_where_it_is_exact(self) -> None:
        long = "a" * (MAX_EVENT_NAME + 1)
        assert ByName.of({long: 1, "a*": 2}).find(long) == 1
        assert ByName.of({"a*": 2}).find(long) is None
        assert ByName.of({"a*": 2}).find(long[:-1]) == 2
