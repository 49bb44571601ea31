"""Requests that create, update and delete a customer, and the customer part that custom events share with them.

Sources: https://docs.voucherify.io/reference/create-customer (an existing `source_id` is updated) and
https://docs.voucherify.io/reference/permanently-deletes-customer
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from mapping.errors import InvalidEvent, RejectReason
from mapping.event.segment import Event
from mapping.requests.request import Operation, Request
from mapping.rules.rule import Rules, apply_rules
from mapping.trace import Filled, MappingTrace
from mapping.values import trimmed_text_or_none

_PARTS_OF_NAME = ("firstName", "lastName")


def identify_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """Return `POST /v1/customers` with the mapped customer. Raises InvalidEvent."""
    return _upsert(event, rules, trace, "traits")


def group_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """Return `POST /v1/customers`, without a name from the traits, which are the group's. Raises InvalidEvent."""
    return _upsert(event, rules, trace, None)


def deletion_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """Return `POST /v1/customers/{source_id}/permanent-deletion`. Raises InvalidEvent."""
    source_id = event.customer_id
    if not source_id:
        problem = "no userId or anonymousId: a delete call needs one of them"
        raise event.id_error or InvalidEvent(RejectReason.CUSTOMER_ID_MISSING, "userId", problem)
    if source_id in (".", ".."):
        problem = "an id of one or two dots cannot be part of a URL; delete this customer in Voucherify"
        raise InvalidEvent(RejectReason.INVALID_CUSTOMER_ID, "userId", problem)
    path = f"/v1/customers/{quote(source_id, safe='', errors='replace')}/permanent-deletion"
    return Request(Operation.DELETE_CUSTOMER, "POST", path, None, source_id, tuple(trace.left_out))


def complete_customer(body: dict[str, Any], event: Event, trace: MappingTrace, payload: str | None) -> dict[str, Any]:
    """Return the `customer` of `body` with the fallbacks of `source_id` and `name`, which no mapping switches off.

    `payload` is the field of the event with the customer's name, if there is one. Raises InvalidEvent.
    """
    customer: dict[str, Any] = body.get("customer", {})
    if "source_id" not in customer:
        if source_id := event.customer_id:
            customer = {"source_id": source_id, **customer}
            source = "userId" if event.user_id else "anonymousId"
            given = event.fields[source]
            if event.id_error:
                trace.leave_out("userId", "customer.source_id", "the text is a placeholder, not an id")
            trace.record_filled(Filled("customer.source_id", source, source, given, source_id, is_fallback=True))
        elif "id" not in customer:
            problem = "no userId or anonymousId: send one of them, or map a field to customer.source_id"
            raise event.id_error or InvalidEvent(RejectReason.CUSTOMER_ID_MISSING, "userId", problem)
    _complete_name(customer, event, trace, payload)
    return customer


def key_of(resource: dict[str, Any]) -> str:
    """Return the id that identifies a customer or an order."""
    key: str = resource.get("source_id") or resource["id"]
    return key


def _upsert(event: Event, rules: Rules, trace: MappingTrace, payload: str | None) -> Request:
    customer = complete_customer(apply_rules(rules, event, trace), event, trace, payload)
    key = key_of(customer)
    return Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", customer, key, tuple(trace.left_out))


def _complete_name(customer: dict[str, Any], event: Event, trace: MappingTrace, payload: str | None) -> None:
    """Set a missing `name` from `firstName` and `lastName`, each mapped or otherwise from the payload.

    Voucherify has no such two fields, so they leave the customer.
    """
    texts: list[str] = []
    sources: list[str] = []
    places: list[str] = []
    fields: dict[str, Any] = event.fields.get(payload, {}) if payload else {}
    is_cleared = all(customer.get(part, "") is None for part in _PARTS_OF_NAME)
    for part in _PARTS_OF_NAME:
        text: str | None = customer.pop(part, None)
        filled = trace.withdraw(f"customer.{part}", "Voucherify has only customer.name")
        if text is not None:
            source, place = (filled.source, filled.found_at) if filled else ("", "")
        else:
            key = event.casing.key(fields, part)
            text, source, place = trimmed_text_or_none(fields.get(key)), f"{payload}.{part}", f"{payload}.{key}"
        if text:
            texts.append(text)
            sources.append(source)
            places.append(place)
    if is_cleared and not texts and "name" not in customer:  # with one part alone, the rest of the name is not known
        customer["name"] = None
        trace.record_filled(Filled("customer.name", "firstName and lastName", "", None, None, is_fallback=True))
    if texts and customer.get("name") is None:
        customer["name"] = name = " ".join(texts)
        source, place = " and ".join(sources), " and ".join(places)
        trace.record_filled(Filled("customer.name", source, place, texts, name, is_fallback=True))
