"""The request that creates or updates a customer, and the customer part that custom events share with it.

Source: https://docs.voucherify.io/reference/create-customer (an existing `source_id` is updated)
"""

from __future__ import annotations

from typing import Any

from mapping.errors import UnmappableEvent
from mapping.paths import is_missing
from mapping.request import Request
from mapping.rules import Rules, apply_rules
from mapping.segment import Event
from mapping.values import Unfit, to_text


def customer_request(event: Event, rules: Rules) -> Request:
    """identify: `POST /v1/customers`. Raises UnmappableEvent where nothing says whose event it is."""
    body, left_out = apply_rules(rules, event.fields)
    customer = complete_customer(body, event, "traits")
    return Request(
        method="POST",
        path="/v1/customers",
        body=customer,
        customer=customer_key(customer),
        idempotent=True,
        left_out=(*event.left_out, *left_out),
    )


def complete_customer(body: dict[str, Any], event: Event, payload: str) -> dict[str, Any]:
    """The `customer` of `body` with the fallbacks that hold whatever the mapping says: `source_id` and `name`."""
    customer: dict[str, Any] = body.get("customer", {})
    source_id = event.user_id or event.anonymous_id
    if source_id:
        customer = {"source_id": source_id, **customer}
    elif "source_id" not in customer and "id" not in customer:
        raise UnmappableEvent("customer_id_missing", "userId", "and anonymousId are missing: whose event is it?")
    first_and_last = [_name_part(part, customer, event.fields.get(payload, {})) for part in ("firstName", "lastName")]
    name = " ".join(filter(None, first_and_last))
    if name:
        customer.setdefault("name", name)
    return customer


def customer_key(customer: dict[str, Any]) -> str:
    """What tells this customer from others."""
    key: str = customer.get("source_id") or customer["id"]
    return key


def _name_part(part: str, customer: dict[str, Any], payload: dict[str, Any]) -> str | None:
    """One part of the name, mapped or else from the payload; it leaves `customer`, Voucherify has no such field."""
    mapped: str | None = customer.pop(part, None)
    value = payload.get(part)
    if mapped is not None or is_missing(value):
        return mapped
    try:
        return to_text(value)
    except Unfit:
        return None
