"""The request that creates or updates an order.

Sources: https://docs.voucherify.io/api-reference/orders/create-order (an existing `source_id` is updated) and, for the
event, https://segment.com/docs/connections/spec/ecommerce/v2/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mapping.errors import InvalidEvent, RejectReason
from mapping.event.casing import fold
from mapping.event.segment import Event
from mapping.money import digits_of, multiplied, scaled, to_amount, to_minor_units, to_quantity
from mapping.order_status import OrderStatus
from mapping.requests.customer import complete_customer, key_of
from mapping.requests.request import Operation, Request
from mapping.rules.rule import Rules, apply_rules
from mapping.trace import Filled, MappingTrace
from mapping.values import ConversionError, is_missing, to_id, to_object, to_trimmed_text

MAX_ITEMS = 500

_WITH_CURRENCY = (("order",), ("order", "metadata"), ("order", "metadata", "currency"))
_REFUND = fold("Order Refunded")

# What describes the whole order. The refund of a part of it has other values here: those of that part.
_OF_WHOLE_ORDER = ("status", "amount", "initial_amount", "discount_amount", "items")


def order_request(event: Event, rules: Rules, trace: MappingTrace, status: OrderStatus) -> Request:
    """Return `POST /v1/orders` with `{source_id, status, amount, items, customer, metadata, …}`.

    Raises InvalidEvent where the customer's or the order's id is missing: another id would be a second order.
    """
    event = event._replace(currency=_currency_of(event, rules))
    body = apply_rules(rules, event, trace)
    customer = complete_customer(body, event, trace, "properties")
    order: dict[str, Any] = body.get("order", {})
    if not (order.get("source_id") or order.get("id")):
        raise _without_id(trace)
    if "items" in order:
        _complete_items(order, event, trace)
    name = event.fields.get("event")
    is_refund = isinstance(name, str) and fold(name) == _REFUND
    if is_refund and "status" not in order and _is_partial(order, trace):
        _reduce_to_refund(order, trace)
    elif "status" not in order:
        order["status"] = status.value
        trace.record_filled(Filled("order.status", "orderEvents", "event", name, status.value, is_fallback=True))
    sent = {**order, "customer": customer}
    return Request(Operation.UPSERT_ORDER, "POST", "/v1/orders", sent, key_of(customer), tuple(trace.left_out))


def _currency_of(event: Event, rules: Rules) -> object:
    """Return the currency that the mapping gives the order's metadata; otherwise that of the event's properties."""
    of_metadata = tuple(rule for rule in rules if rule.path in _WITH_CURRENCY)
    metadata = apply_rules(of_metadata, event, MappingTrace()).get("order", {}).get("metadata", {})
    return metadata.get("currency") or event.casing.get(event.fields.get("properties", {}), "currency")


def _without_id(trace: MappingTrace) -> InvalidEvent:
    for left_out in trace.left_out:
        if left_out.destination in ("order.source_id", "order.id"):
            problem = f"the order's id cannot be used, from {left_out.source}: {left_out.reason}"
            return InvalidEvent(RejectReason.ORDER_ID_MISSING, left_out.source, problem)
    problem = "no order_id: send it, or map a field to order.source_id"
    return InvalidEvent(RejectReason.ORDER_ID_MISSING, "properties.order_id", problem)


def _is_partial(order: dict[str, Any], trace: MappingTrace) -> bool:
    """Return whether a refund may be of a part of the order: the event has products or an amount, even unusable ones.

    An event cannot say that its amount is all of the order. Without both it is the whole order, as Segment's
    destinations for Google have it: https://segment.com/docs/connections/destinations/catalog/google-analytics/
    """
    is_left_out = any(one.destination.startswith(("order.amount", "order.items")) for one in trace.left_out)
    return is_left_out or bool(order.get("items")) or "amount" in order


def _reduce_to_refund(order: dict[str, Any], trace: MappingTrace) -> None:
    """Leave the order as it was, but for the amount that was refunded, where the event says all of it."""
    refunded = order["amount"] if "amount" in order else _amount_of_items(order.get("items", []), trace)
    for name in _OF_WHOLE_ORDER:
        order.pop(name, None)
        trace.withdraw(f"order.{name}", "the event refunds a part of the order")
    if refunded is None:
        trace.leave_out("", "order.metadata.refunded_amount", "the event has no usable amount for all that it refunds")
    elif refunded:
        order["metadata"] = {**order.get("metadata", {}), "refunded_amount": refunded}
        filled = Filled("order.metadata.refunded_amount", "the refund", "", refunded, refunded, is_fallback=True)
        trace.record_filled(filled)


def _amount_of_items(items: list[dict[str, Any]], trace: MappingTrace) -> int | None:
    """Return the sum of the items, or None where a product has no usable amount or was left out."""
    if not items or any(_leaves_amount_open(one.destination) for one in trace.left_out):
        return None
    if not all("amount" in item or "price" in item for item in items):
        return None
    amounts = (item["amount"] if "amount" in item else item["price"] * item.get("quantity", 1) for item in items)
    refunded: int = sum(amounts)
    return refunded


def _leaves_amount_open(destination: str) -> bool:
    """Return whether what was left out there is a whole product, or a part of what it costs."""
    return destination.startswith("order.items[") and destination.endswith(("]", ".price", ".quantity", ".amount"))


def _complete_items(order: dict[str, Any], event: Event, trace: MappingTrace) -> None:
    """Replace products, as Segment or a row's expression has them, by the order's items."""
    products: list[Any] = order.pop("items")
    if len(products) > MAX_ITEMS:
        trace.leave_out("", f"order.items[{MAX_ITEMS}:]", f"an order has {MAX_ITEMS} items; {len(products)} were given")
    items = [
        item
        for place, product in enumerate(products[:MAX_ITEMS])
        if (item := _item(product, event, f"order.items[{place}]", trace))
    ]
    if items:
        order["items"] = items
        trace.replace("order.items", items)
    else:
        trace.withdraw("order.items", "there is no product that can be sent")


def _item(product: Any, event: Event, place: str, trace: MappingTrace) -> dict[str, Any] | None:
    """Return the item that a product becomes; None where it has no id."""
    if not isinstance(product, dict):
        trace.leave_out("", place, "it is not an object")
        return None
    found = dict(_parts_of(product, event, place, trace))
    source_id = found.pop("source_id", None)
    if source_id is None:
        trace.leave_out("", place, "it has no product_id and no sku")
        return None
    name = found.pop("name", None)
    try:
        if "amount" not in found and (amount := _amount_of_part_units(product, event, found)) is not None:
            found["amount"] = amount
    except ConversionError as error:
        trace.leave_out("", f"{place}.amount", str(error))
    item: dict[str, Any] = {"source_id": source_id, "related_object": "product", **found}
    of_product = {key: value for key, value in (("name", name), ("price", found.get("price"))) if value is not None}
    if of_product:
        item["product"] = {**of_product, "override": True}
    return item


def _amount_of_part_units(product: dict[str, Any], event: Event, found: dict[str, Any]) -> int | None:
    """Return the item's amount where its price, which is rounded to whole units, times its quantity would be another.

    `0.333` times 3 is `1.00` and not `0.99`. Raises ConversionError.
    """
    if "price" not in found or "quantity" not in found:
        return None
    exact = multiplied(to_amount(event.casing.get(product, "price")), found["quantity"])
    amount = scaled(exact, digits_of(event.currency))
    return amount if amount != found["price"] * found["quantity"] else None


def _parts_of(product: dict[str, Any], event: Event, place: str, trace: MappingTrace) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an item, each from the first of its names in the product that has a usable value."""
    for field, names in _ITEM_FIELDS.items():
        problems: list[str] = []
        for name in names:
            given = event.casing.get(product, name)
            if is_missing(given):
                continue
            try:
                value = _ITEM_CONVERSIONS[field](given, event.currency)
            except ConversionError as error:
                problems.append(str(error))
                continue
            if not is_missing(value):
                yield field, value
                break
        else:
            if problems:
                trace.leave_out("", f"{place}.{field}", problems[0])


_ITEM_FIELDS: Mapping[str, tuple[str, ...]] = {
    "source_id": ("source_id", "product_id", "sku"),
    "quantity": ("quantity",),
    "price": ("price",),
    "amount": ("amount",),
    "discount_amount": ("discount_amount",),
    "name": ("name",),
    "metadata": ("metadata",),
}

_ITEM_CONVERSIONS: Mapping[str, Callable[[Any, object], Any]] = {
    "source_id": lambda value, _: to_id(value),
    "quantity": lambda value, _: to_quantity(value),
    "price": to_minor_units,
    "amount": to_minor_units,
    "discount_amount": to_minor_units,
    "name": lambda value, _: to_trimmed_text(value),
    "metadata": lambda value, _: to_object(value),
}
