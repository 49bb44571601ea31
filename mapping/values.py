"""Convert values to text, dates and objects.

Each function returns the valid value or raises ConversionError with the reason, which names kinds and never values.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from typing import Any

from mapping.placeholders import is_placeholder

# More than any shop's metadata, and far from Python's recursion limit.
MAX_DEPTH = 64

MAX_EVENT_NAME = 300

# Python converts no integer of more than 4,300 digits to text, and a sum can have more:
# https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
_MAX_BITS = 14_000


class ConversionError(ValueError):
    """A value that cannot be made valid for its field."""


def is_missing(value: object) -> bool:
    """Whether the value counts as missing: `null` and the empty string do.

    `0`, `false`, an empty object, an empty array and a blank string are values.
    """
    return value is None or value == ""


def kind_of(value: object) -> str:
    """Return JSON's name of the value's type, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "an array"
        case dict():
            return "an object"
    return f"a Python {type(value).__name__}"


def to_text(value: object) -> str:
    """Return text unchanged, and a number as JavaScript writes it, so that `1.0` is `1`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConversionError(f"{kind_of(value)} is not text")
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ConversionError("the number is not finite")
        if not value.is_integer() or abs(value) >= 1e21:
            return repr(value)
    try:
        return str(int(value))
    except ValueError as error:  # more digits than Python converts
        raise ConversionError("the number is too long") from error


def to_id(value: object) -> str:
    """Return an identifier: trimmed text that is neither blank nor a placeholder such as `undefined`."""
    text = to_text(value).strip()
    if not text:
        raise ConversionError("the text is blank")
    if is_placeholder(text):
        raise ConversionError("the text is a placeholder, not an id")
    return text


def to_event_name(value: object) -> str:
    """Return a custom event's name: 1 to 300 characters, as Voucherify's POST /v1/events requires."""
    name = to_text(value)
    if len(name) > MAX_EVENT_NAME:
        raise ConversionError(f"the text has {len(name)} characters; Voucherify accepts 1 to {MAX_EVENT_NAME}")
    return name


def to_date(value: object) -> str:
    """Return a date, `YYYY-MM-DD`.

    An ISO 8601 date or date-time keeps its day, without a change of time zone. A number, or its digits as text, is
    epoch time and becomes the day in UTC. From 10^10 on it counts milliseconds: seconds would be after 2286, or before
    1653.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConversionError(f"{kind_of(value)} is not a date")
    text = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str) or _EPOCH.fullmatch(text):
        return _day_of(text or value)
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError as error:
        raise ConversionError("the text is neither an ISO 8601 date nor an epoch time") from error


# Nine digits or more; the eight of `18151210` are an ISO 8601 date.
_EPOCH = re.compile(r"-?\d{9,16}(\.\d+)?")

_FIRST_MILLISECONDS = 1e10


def _day_of(epoch: str | float) -> str:
    try:
        number = float(epoch)
        seconds = number if abs(number) < _FIRST_MILLISECONDS else number / 1000
        return (date(1970, 1, 1) + timedelta(days=math.floor(seconds / 86400))).isoformat()
    except (OverflowError, ValueError) as error:  # infinite, NaN, or beyond the calendar
        raise ConversionError("the number is not an epoch time") from error


def to_json_value(value: Any) -> Any:
    """Return a copy of any JSON value, without the `null` fields of its objects, which are missing.

    Strict JSON has no infinity, for instance, which raises ConversionError.
    """
    return _copy(value, MAX_DEPTH)


def to_object(value: object) -> dict[str, Any]:
    """Return a copy of an object."""
    if not isinstance(value, dict):
        raise ConversionError(f"{kind_of(value)} is not an object")
    copy: dict[str, Any] = to_json_value(value)
    return copy


def _copy(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ConversionError(f"nested deeper than {MAX_DEPTH} levels")
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is dict:
        return {str(key): _copy(item, depth - 1) for key, item in value.items() if item is not None}
    if kind is list:
        return [_copy(item, depth - 1) for item in value]
    if kind is int and value.bit_length() > _MAX_BITS:
        raise ConversionError("a number in it is too long")
    if kind is float and not math.isfinite(value):
        raise ConversionError("a number in it is not finite")
    if kind is int or kind is float:
        return value
    raise ConversionError(f"{kind_of(value)} is not JSON")
