"""An order as Voucherify answers it: its items with their amounts, and its totals.

Format: the example answers of https://docs.voucherify.io/api-reference/orders/create-order and
https://docs.voucherify.io/api-reference/orders/list-orders. The stub has no products: an item without a price in its
request has no amount, and no item gets the id of a product.
"""

from local.voucherify_stub.schemas import ORDER_ATTRIBUTES, ORDER_ITEM_ATTRIBUTES, Json

_TOTALS = ("items_discount_amount", "total_discount_amount", "total_amount")


def new_order(order_id: str, source_id: str | None, now: str) -> Json:
    return {
        "id": order_id,
        "source_id": source_id,
        "created_at": now,
        "updated_at": None,
        "status": "CREATED",
        "items": [],
        "metadata": {},
        "customer_id": None,
        "referrer_id": None,
        "object": "order",
    }


def changed_order(order: Json, given: Json) -> Json:
    """Return the order with the given attributes, except its customer and referrer. Metadata is set key by key."""
    changed = {key: value for key, value in order.items() if key not in _TOTALS}
    changed.update({key: given[key] for key in ORDER_ATTRIBUTES.keys() & given.keys()})
    changed["metadata"] = {**order["metadata"], **given.get("metadata", {})}
    if "items" in given:
        changed["items"] = [_calculated_item(item) for item in given["items"]]
        amounts = [item.get("amount") for item in changed["items"]]
        # The reference calls an order's amount the sum of its items' amounts, and does not say which of two that
        # differ counts. The stub takes the given one.
        if "amount" not in given and amounts and None not in amounts:
            changed["amount"] = sum(amounts)
    return {**changed, **_totals(changed)}


def _calculated_item(given: Json) -> Json:
    item = {"object": "order_item", **{key: value for key, value in given.items() if key in ORDER_ITEM_ATTRIBUTES}}
    related = given.get("sku") or given.get("product") or {}
    if isinstance(related.get("price"), int):  # a product's price may have decimals, an item's may not
        item.setdefault("price", related["price"])
    if item.keys() >= {"price", "quantity"}:
        item.setdefault("amount", item["price"] * item["quantity"])
    if "amount" in item:
        item["subtotal_amount"] = item["amount"] - item.get("discount_amount", 0)
    return item


def _totals(order: Json) -> Json:
    """Return the totals that are known. As in the example answers, an order has no discount of 0."""
    of_items = sum(item.get("discount_amount", 0) for item in order["items"])
    of_all = order.get("discount_amount", 0) + of_items
    totals: Json = {}
    if of_items:
        totals["items_discount_amount"] = of_items
    if of_all:
        totals["total_discount_amount"] = of_all
    if "amount" in order:
        totals["total_amount"] = order["amount"] - of_all
    return totals
