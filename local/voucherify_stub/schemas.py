"""The bodies that Voucherify's API accepts by its published schemas, and its error object.

Sources: https://docs.voucherify.io/api-reference and the OpenAPI file in
https://github.com/voucherifyio/voucherify-openapi. Where they say nothing, a comment gives the choice.
"""

import json
import math
from http import HTTPStatus
from typing import Any

from jsonschema import Draft202012Validator

Json = dict[str, Any]


def parse_json(raw: bytes) -> Any:
    """Return the value, or None where the bytes are not strict JSON. No endpoint accepts a bare null."""
    try:
        return _DECODER.decode(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits} does not fit a number")
    return number


# By default Python accepts NaN and Infinity, which are not JSON, and reads 1e400 as Infinity.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


# https://docs.voucherify.io/api-reference/errors lists no key for 401, 415, 429 and 5xx. The stub derives theirs from
# the status phrase, so no test should rely on them.
_DOCUMENTED_ERRORS = {
    400: ("invalid_payload", "Invalid payload"),
    404: ("not_found", "Resource not found"),
    405: ("method_not_allowed", "HTTP Method Not Allowed"),
    409: ("duplicate_found", "Duplicated resource found"),
}


# The messages of keys that a status does not imply.
_MESSAGES = {"metadata_validation_failed": "Metadata validation failed"}


def error_object(status: int, request_id: str, details: str = "", key: str = "", **resource: str) -> Json:
    if key:
        message = _MESSAGES[key]
    else:
        key, message = _DOCUMENTED_ERRORS.get(status) or _error_of_phrase(status)
    return {
        "code": status,
        "key": key,
        "message": message,
        "details": details,
        "request_id": request_id,
        **resource,
    }


def _error_of_phrase(status: int) -> tuple[str, str]:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown error"
    return phrase.lower().replace(" ", "_"), phrase


def _object(properties: Json, *required: str) -> Json:
    # No published schema forbids additional properties, and the reference says that other endpoints ignore them.
    return {"type": "object", "properties": properties, "required": list(required)}


def _validator(schema: Json) -> Draft202012Validator:
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


_TEXT = {"type": "string"}
_DATE = {"type": "string", "format": "date"}
_METADATA = {"type": "object"}
_ADDRESS = {
    "type": ["object", "null"],
    "properties": dict.fromkeys(("city", "state", "line_1", "line_2", "country", "postal_code"), _TEXT),
}
CUSTOMER_ATTRIBUTES: Json = {
    **dict.fromkeys(("name", "description", "email", "phone"), _TEXT),
    **dict.fromkeys(("birthday", "birthdate"), _DATE),
    "address": _ADDRESS,
}
_CUSTOMER = _object({"id": _TEXT, "source_id": _TEXT, **CUSTOMER_ATTRIBUTES, "metadata": _METADATA})

CUSTOMER = _validator(_CUSTOMER)
# Unlike a single customer, the published row has no `id`. The reference limits a call to 10 MB, gives no number of rows
# and requires no field. The stub accepts 100 rows, as cli/replay/bulk.py sends them, and requires a `source_id`.
CUSTOMERS_IN_BULK = _validator(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": 100,
        "items": _object(
            {"source_id": {**_TEXT, "minLength": 1}, **CUSTOMER_ATTRIBUTES, "metadata": _METADATA}, "source_id"
        ),
    }
)
EVENT = _validator(
    _object(
        {
            "event": {**_TEXT, "minLength": 1, "maxLength": 300},
            "customer": _CUSTOMER,
            "metadata": _METADATA,
            "loyalty": _object({"code": _TEXT}, "code"),
            "referral": _object({"code": _TEXT, "referrer_id": _TEXT}, "code"),
        },
        "event",
        "customer",
    )
)

_NUMBER = {"type": "integer", "minimum": 0}  # an amount in the smallest unit of the currency, or a quantity
_PRICE = {"type": "number", "minimum": 0}
_PRODUCT = {"id": _TEXT, "source_id": _TEXT, "override": {"type": "boolean"}, "price": _PRICE, "metadata": _METADATA}
ORDER_ITEM_ATTRIBUTES: Json = {
    **dict.fromkeys(("source_id", "product_id", "sku_id"), _TEXT),
    "related_object": {"type": "string", "enum": ["product", "sku"]},
    **dict.fromkeys(("quantity", "discount_quantity", "amount", "discount_amount", "initial_amount", "price"), _NUMBER),
    "initial_quantity": {"type": "integer", "minimum": 1},  # as in the published error of an import
    "product": _object({**_PRODUCT, "name": _TEXT}),
    "sku": _object({**_PRODUCT, "sku": _TEXT}),
    "metadata": _METADATA,
}
ORDER_ATTRIBUTES: Json = {
    "status": {"type": "string", "enum": ["CREATED", "PAID", "CANCELED", "FULFILLED"]},
    **dict.fromkeys(("amount", "initial_amount", "discount_amount"), _NUMBER),
    # The published item requires an `object`, which is none of its properties and in none of the published requests.
    # The stub does not require it.
    "items": {"type": "array", "maxItems": 500, "items": _object(ORDER_ITEM_ATTRIBUTES)},
    "created_at": {"type": "string", "format": "date-time"},
}
_ORDER = _object(
    {
        "id": _TEXT,
        "source_id": {"type": ["string", "null"]},
        **ORDER_ATTRIBUTES,
        "customer": _CUSTOMER,
        "referrer": _CUSTOMER,
        "referrer_id": {"type": ["string", "null"]},
        "metadata": _METADATA,
    }
)
ORDER = _validator(_ORDER)
# The reference gives no least number of orders. The stub requires one, as for customers in bulk.
ORDERS_IMPORT = _validator({"type": "array", "minItems": 1, "maxItems": 2_000, "items": _ORDER})
