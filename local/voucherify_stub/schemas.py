"""The bodies that Voucherify's API takes, by its published schemas, and its error object.

Sources: https://docs.voucherify.io/api-reference and the OpenAPI file in
https://github.com/voucherifyio/voucherify-openapi. Where they are silent, a comment says what was
chosen.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from http import HTTPStatus
from typing import Any

Json = dict[str, Any]
# Takes a value and its path, and yields what is wrong with it.
Check = Callable[[object, str], Iterator[str]]


def parse_json(raw: bytes) -> Any:
    """The value, or None where the bytes are not strict JSON (no endpoint takes a bare null)."""
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


# Python's default takes NaN and Infinity, which are not JSON, and makes Infinity of 1e400.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


# https://docs.voucherify.io/api-reference/errors lists no key for the statuses that are missing
# here (401, 415, 429, 5xx); theirs are made of the status phrase, so nothing should lean on them.
_DOCUMENTED_ERRORS = {
    400: ("invalid_payload", "Invalid payload"),
    404: ("not_found", "Resource not found"),
    405: ("method_not_allowed", "HTTP Method Not Allowed"),
    409: ("duplicate_found", "Duplicated resource found"),
}


def error_object(status: int, request_id: str, details: str = "", **resource: str) -> Json:
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


def text(min_length: int = 0, max_length: float = math.inf) -> Check:
    def check(value: object, path: str) -> Iterator[str]:
        if not isinstance(value, str):
            yield f"{path} must be a string"
        elif not min_length <= len(value) <= max_length:
            yield f"{path} must have {min_length} to {max_length} characters"

    return check


def calendar_date(value: object, path: str) -> Iterator[str]:
    try:
        # fromisoformat alone would also take 20220101 and 2022-W01-1.
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", value, re.ASCII):
            date.fromisoformat(value)
            return
    except ValueError:
        pass
    yield f"{path} must be a date such as 2022-01-01"


def object_of(fields: Mapping[str, Check], required: tuple[str, ...] = (), nullable: bool = False) -> Check:
    """Keys that are not in `fields` pass and are not stored.

    No published schema forbids additional properties, and the reference says of other endpoints
    that they skip what they do not know. Null is refused where the schema is not `nullable`.
    """

    def check(value: object, path: str) -> Iterator[str]:
        if value is None and nullable:
            return
        if not isinstance(value, dict):
            yield f"{path or 'the request body'} must be an object"
            return
        prefix = f"{path}." if path else ""
        yield from (f"{prefix}{key} is required" for key in required if key not in value)
        for key in fields.keys() & value.keys():
            yield from fields[key](value[key], prefix + key)

    return check


def list_of(item: Check, longest: int) -> Check:
    def check(value: object, path: str) -> Iterator[str]:
        if not isinstance(value, list):
            yield f"{path or 'the request body'} must be an array"
        elif not 1 <= len(value) <= longest:
            yield f"{path or 'the request body'} must have 1 to {longest} items"
        else:
            for index, one in enumerate(value):
                yield from item(one, f"{path}[{index}]")

    return check


METADATA = object_of({})
ADDRESS = object_of(
    dict.fromkeys(("city", "state", "line_1", "line_2", "country", "postal_code"), text()),
    nullable=True,
)
CUSTOMER_ATTRIBUTES: dict[str, Check] = {
    "name": text(),
    "description": text(),
    "email": text(),
    "phone": text(),
    "birthday": calendar_date,
    "birthdate": calendar_date,
    "address": ADDRESS,
}
CUSTOMER = object_of({"id": text(), "source_id": text(), **CUSTOMER_ATTRIBUTES, "metadata": METADATA})
# Unlike the single one, the published row has no `id`. The reference limits a call to 10 MB, names no number of rows
# and requires no field: the stub takes 100 rows, as cli/replay/bulk.py sends them, and none without a `source_id`.
CUSTOMERS_IN_BULK = list_of(
    object_of({"source_id": text(min_length=1), **CUSTOMER_ATTRIBUTES, "metadata": METADATA}, required=("source_id",)),
    longest=100,
)
EVENT = object_of(
    {
        "event": text(min_length=1, max_length=300),
        "customer": CUSTOMER,
        "metadata": METADATA,
        "loyalty": object_of({"code": text()}, required=("code",)),
        "referral": object_of({"code": text(), "referrer_id": text()}, required=("code",)),
    },
    required=("event", "customer"),
)
