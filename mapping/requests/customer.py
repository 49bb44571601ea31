"""The requests that create, update and delete a customer, and the customer part that custom events share with them.

Sources: https://docs.voucherify.io/reference/create-customer (an existing `source_id` is updated) and
https://docs.voucherify.io/reference/permanently-deletes-customer
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mapping.errors import UnmappableEvent
from mapping.event.segment import Event
from mapping.requests.request import Operation, Request
from mapping.rules.rule import Rules, apply_rules
from mapping.trace import Filled, MappingTrace
from mapping.values import ConversionError, to_text


def identify_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """identify: `POST /v1/customers`. Raises UnmappableEvent where nothing says whose event it is."""
    body = apply_rules(rules, event, trace)
    return _upsert(complete_customer(body, event, trace, "traits"), trace)


def group_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """group: `POST /v1/customers`. Its traits are the group's and name no customer. Raises UnmappableEvent."""
    body = apply_rules(rules, event, trace)
    return _upsert(complete_customer(body, event, trace, None), trace)


def deletion_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """delete: `POST /v1/customers/{source_id}/permanent-deletion`. Raises UnmappableEvent."""
    source_id = event.any_id
    if not source_id:
        raise UnmappableEvent("customer_id_missing", "userId", "and anonymousId are missing: who is to be deleted?")
    if source_id in (".", ".."):
        raise UnmappableEvent("invalid_customer_id", "userId", "cannot stand in the path of a URL")
    return Request(
        operation=Operation.DELETE_CUSTOMER,
        method="POST",
        path=f"/v1/customers/{quote(source_id, safe='', errors='replace')}/permanent-deletion",
        body=None,
        customer=source_id,
        left_out=tuple(trace.left_out),
    )


def complete_customer(body: dict[str, Any], event: Event, trace: MappingTrace, payload: str | None) -> dict[str, Any]:
    """The `customer` of `body` with the fallbacks that hold whatever the mapping says: `source_id` and `name`.

    `payload` is where the event says who the customer is, if anywhere. Raises UnmappableEvent.
    """
    customer: dict[str, Any] = body.get("customer", {})
    source_id = event.any_id
    if source_id and "source_id" not in customer:
        customer = {"source_id": source_id, **customer}
        if trace.is_full:
            source = "userId" if event.user_id else "anonymousId"
            given = event.fields[source]
            trace.fill(Filled("customer.source_id", source, source, given, source_id, is_fallback=True))
    elif "source_id" not in customer and "id" not in customer:
        raise UnmappableEvent("customer_id_missing", "userId", "and anonymousId are missing: whose event is it?")
    _complete_name(customer, event, trace, payload)
    return customer


def customer_key(customer: dict[str, Any]) -> str:
    """What tells this customer from others."""
    key: str = customer.get("source_id") or customer["id"]
    return key


def _upsert(customer: dict[str, Any], trace: MappingTrace) -> Request:
    return Request(
        operation=Operation.UPSERT_CUSTOMER,
        method="POST",
        path="/v1/customers",
        body=customer,
        customer=customer_key(customer),
        left_out=tuple(trace.left_out),
    )


_NAME_PARTS = (("firstName", "customer.firstName"), ("lastName", "customer.lastName"))


def _complete_name(customer: dict[str, Any], event: Event, trace: MappingTrace, payload: str | None) -> None:
    """`name` from `firstName` and `lastName`, mapped or else from the payload. Voucherify has no such two fields."""
    texts: list[str] = []
    sources: list[str] = []
    places: list[str] = []
    for part, destination in _NAME_PARTS:
        text: str | None = customer.pop(part, None)
        if text is not None:
            filled = trace.set_aside(destination, "Voucherify has only a name")
            source, found_at = (filled.source, filled.found_at) if filled else ("", "")
        else:
            text, key = _text_in(event, payload, part)
            source, found_at = f"{payload}.{part}", f"{payload}.{key}"
        if text:
            texts.append(text)
            sources.append(source)
            places.append(found_at)
    if texts and "name" not in customer:
        customer["name"] = name = " ".join(texts)
        if trace.is_full:
            source, found_at = " and ".join(sources), " and ".join(places)
            trace.fill(Filled("customer.name", source, found_at, texts, name, is_fallback=True))


def _text_in(event: Event, payload: str | None, name: str) -> tuple[str | None, str]:
    """The text under a name in a payload, and the key that it has there."""
    fields: dict[str, Any] = event.fields.get(payload, {}) if payload else {}
    key = event.casing.key(fields, name)
    try:
        return to_text(fields.get(key)) or None, key
    except ConversionError:
        return None, key
