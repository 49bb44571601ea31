"""Destinations: the fields of a Voucherify request, what each must be, and how a value gets to its place.

Sources: https://docs.voucherify.io/reference/create-customer,
https://docs.voucherify.io/reference/track-custom-event and
https://docs.voucherify.io/api-reference/orders/create-order
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from mapping.birthdates import latest_birthdate, to_birthdate
from mapping.event.segment import Event
from mapping.money import to_minor_units
from mapping.order_status import to_order_status
from mapping.spelling import nearest
from mapping.values import (
    kind_of,
    to_array,
    to_event_name,
    to_id,
    to_json_value,
    to_object,
    to_text,
    to_trimmed_text,
)

Path = tuple[str, ...]
Field = Callable[..., Any] | Mapping[str, Any]  # a field's conversion, or the fields of an object with known names

FIELDS: Mapping[str, Field] = {
    "event": to_event_name,
    "customer": {
        "id": to_id,
        "source_id": to_id,
        "name": to_trimmed_text,
        # Segment's parts of a name. Voucherify has no such fields: `mapping.requests.customer` joins them.
        "firstName": to_trimmed_text,
        "lastName": to_trimmed_text,
        "email": to_trimmed_text,
        "phone": to_trimmed_text,
        "description": to_text,
        "birthdate": to_birthdate,
        "address": {
            "city": to_trimmed_text,
            "state": to_trimmed_text,
            "line_1": to_trimmed_text,
            "line_2": to_trimmed_text,
            "country": to_trimmed_text,
            "postal_code": to_trimmed_text,
        },
        "metadata": to_object,
    },
    "metadata": to_object,
    "loyalty": {"code": to_id},
    "referral": {"code": to_id, "referrer_id": to_id},
    "order": {
        "id": to_id,
        "source_id": to_id,
        "status": to_order_status,
        "amount": to_minor_units,
        "initial_amount": to_minor_units,
        "discount_amount": to_minor_units,
        "items": to_array,  # products, which `mapping.requests.order` makes the order's items
        "metadata": to_object,
    },
}

# The parts of the requests that the mapping settings fill. Only `orderMapping` fills an order.
CUSTOMER_PARTS = frozenset({"customer"})
EVENT_PARTS = frozenset(FIELDS) - {"order"}
ORDER_PARTS = frozenset({"order", "customer"})

# Conversions that need another field of the event, each with its reader.
NEEDS_OF_EVENT: Mapping[Callable[..., Any], Callable[[Event], Any]] = {
    to_birthdate: lambda event: latest_birthdate(event.fields),
    to_minor_units: lambda event: event.currency,
}


def fillable_parts(sent: Collection[str]) -> frozenset[str]:
    """Return the parts that a mapping may name, by the parts that are sent: others than `order.*` are then left out."""
    return ORDER_PARTS if "order" in sent else EVENT_PARTS


def parse_destination(name: Any, parts: Collection[str] = EVENT_PARTS) -> tuple[Path, Field]:
    """Return a destination's path and field, which begins with one of these parts.

    Raises ValueError with what is wrong and what to write instead.
    """
    fields = {part: FIELDS[part] for part in FIELDS if part in parts}
    if not isinstance(name, str):
        raise ValueError(f"the destination must be text or a list of texts, not {kind_of(name)}")
    path = tuple(name.split("."))
    if not all(part.strip() for part in path):
        problem = "has an empty part between its dots" if name.strip() else "is empty"
        raise ValueError(f"the destination {problem}; {_allowed(fields)}")
    if path[0] in FIELDS and path[0] not in fields:
        advice = "use orderMapping for it" if path[0] == "order" else _allowed(fields)
        raise ValueError(f"{name!r} is no part of this request; {advice}")
    field = _field_at(path, fields)
    if field is None:
        advice = nearest(name, _names(fields)) or f"; {_allowed(fields)}"
        raise ValueError(f"{name!r} is not a Voucherify field{advice}")
    return path, field


def _allowed(fields: Mapping[str, Field]) -> str:
    *names, last = (f"{name}.*" if field is not to_event_name else name for name, field in fields.items())
    return f"use {', '.join(names)} or {last}"


def put(target: dict[str, Any], path: Path, value: Any) -> None:
    """Put `value` at `path` in `target`, with new objects on the way; an object merges into one that is there.

    `target` must own its objects, `value` too: a later value may be written into it. Raises ValueError where something
    other than an object is in the way.
    """
    for name in path[:-1]:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise ValueError(f"{name} is not an object")
    existing = target.get(path[-1])
    if isinstance(existing, dict) and isinstance(value, dict):
        existing.update(value)
    else:
        target[path[-1]] = value


def destination_schema(parts: Collection[str]) -> dict[str, Any]:
    """Return the JSON Schema of a mapping's destination: a fixed name, or a path below a free object."""
    fields = {part: FIELDS[part] for part in FIELDS if part in parts}
    names = _names(fields)
    free = [name.replace(".", "[.]") for name in names if _field_at(tuple(name.split(".")), fields) is to_object]
    return {"type": "string", "anyOf": [{"enum": names}, {"pattern": rf"^({'|'.join(free)})([.][^.]+)+$"}]}


def _field_at(path: Path, fields: Mapping[str, Field]) -> Field | None:
    """Return the field at `path`, or None. Below a free object, such as metadata, it is any JSON."""
    field: Field = fields
    for part in path:
        if field is to_object or field is to_json_value:
            field = to_json_value
        elif isinstance(field, Mapping) and part in field:
            field = field[part]
        else:
            return None
    return field


def _names(fields: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return every fixed name, dotted and sorted."""
    names = []
    for name, field in fields.items():
        names.append(prefix + name)
        if isinstance(field, Mapping):
            names += _names(field, f"{prefix}{name}.")
    return sorted(names)
