"""What each field of a Voucherify request must be: one table, in the shape of the request bodies.

Sources: https://docs.voucherify.io/reference/create-customer and
https://docs.voucherify.io/reference/track-custom-event
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mapping.rules.paths import Path
from mapping.values import to_date, to_event_name, to_id, to_json_value, to_object, to_text

Convert = Callable[[Any], Any]
Field = Convert | Mapping[str, Any]  # a field's conversion, or the fields of an object with known names

FIELDS: Mapping[str, Field] = {
    "event": to_event_name,
    "customer": {
        "id": to_id,
        "source_id": to_id,
        "name": to_text,
        # Parts of a name, as Segment sends them. Voucherify has no such fields: `mapping.requests.customer` joins them.
        "firstName": to_text,
        "lastName": to_text,
        "email": to_text,
        "phone": to_text,
        "description": to_text,
        "birthdate": to_date,
        "address": {
            "city": to_text,
            "state": to_text,
            "line_1": to_text,
            "line_2": to_text,
            "country": to_text,
            "postal_code": to_text,
        },
        "metadata": to_object,
    },
    "metadata": to_object,
    "loyalty": {"code": to_id},
    "referral": {"code": to_id, "referrer_id": to_id},
}


def field_at(path: Path) -> Field | None:
    """The field at `path`, or None where Voucherify has none. Below a free object, such as metadata, any JSON goes."""
    field: Field = FIELDS
    for part in path:
        if field is to_object or field is to_json_value:
            field = to_json_value
        elif isinstance(field, Mapping) and part in field:
            field = field[part]
        else:
            return None
    return field


def destinations() -> list[str]:
    """Every destination with a fixed name, dotted, for messages."""
    return sorted(_names("", FIELDS))


def _names(prefix: str, fields: Mapping[str, Any]) -> list[str]:
    names = []
    for name, field in fields.items():
        names.append(prefix + name)
        if isinstance(field, Mapping):
            names += _names(f"{prefix}{name}.", field)
    return names


def destination_schema() -> dict[str, Any]:
    """A JSON Schema of what a mapping's destination may be: one of the fixed names, or a path below a free object."""
    free = [name for name in destinations() if field_at(tuple(name.split("."))) is to_object]
    return {
        "type": "string",
        "anyOf": [
            {"enum": destinations()},
            {"pattern": rf"^({'|'.join(name.replace('.', '[.]') for name in free)})([.][^.]+)+$"},
        ],
    }
