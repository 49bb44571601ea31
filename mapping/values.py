"""Values made valid: what becomes text, a date or an object, and what cannot.

Each function returns the valid value or raises ConversionError with the reason, which names kinds and never values.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from typing import Any

# Deeper nesting is no shop's metadata, and Python's own recursion stays far away.
MAX_DEPTH = 64

MAX_EVENT_NAME = 300

# Of more than 4,300 digits Python makes no text, and a sum may have them:
# https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
_MAX_BITS = 14_000


class ConversionError(ValueError):
    """A value that cannot be made valid for its field."""


def kind_of(value: object) -> str:
    """How JSON calls the value."""
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
    """Text as it is; a number as JavaScript writes it, so that `1.0` is `1`."""
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
    """An identifier: trimmed text with something in it."""
    text = to_text(value).strip()
    if not text:
        raise ConversionError("the text is blank")
    return text


def to_event_name(value: object) -> str:
    """A custom event's name: 1 to 300 characters, as Voucherify's POST /v1/events asks."""
    name = to_text(value)
    if len(name) > MAX_EVENT_NAME:
        raise ConversionError(f"has {len(name)} characters, Voucherify takes 1 to {MAX_EVENT_NAME}")
    return name


def to_date(value: object) -> str:
    """A date, `YYYY-MM-DD`: of an ISO 8601 date or date-time as it is written there, with no change of time zone; of a
    number, or of its digits as text, the day in UTC so many seconds or milliseconds after 1970 began.

    From 10^10 on a number counts milliseconds: in seconds that would be after 2286, or before 1653.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ConversionError(f"{kind_of(value)} is no date")
    text = value.strip() if isinstance(value, str) else ""
    if not isinstance(value, str) or _EPOCH.fullmatch(text):
        return _day_of(text or value)
    try:
        return datetime.fromisoformat(text).date().isoformat()
    except ValueError as error:
        raise ConversionError("the text is no ISO 8601 date and no epoch time") from error


# Nine digits or more; the eight of `18151210` are an ISO 8601 date.
_EPOCH = re.compile(r"-?\d{9,16}(\.\d+)?")

_FIRST_MILLISECONDS = 1e10


def _day_of(epoch: str | float) -> str:
    try:
        number = float(epoch)
        seconds = number if abs(number) < _FIRST_MILLISECONDS else number / 1000
        return (date(1970, 1, 1) + timedelta(days=math.floor(seconds / 86400))).isoformat()
    except (OverflowError, ValueError) as error:  # infinite, not a number, or beyond the calendar
        raise ConversionError("the number is no epoch time") from error


def to_json_value(value: Any) -> Any:
    """A copy of any JSON value. What strict JSON cannot say, such as a number that is not finite, is unfit."""
    return _copy(value, MAX_DEPTH)


def to_object(value: object) -> dict[str, Any]:
    """A copy of an object."""
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
        return {str(key): _copy(item, depth - 1) for key, item in value.items()}
    if kind is list:
        return [_copy(item, depth - 1) for item in value]
    if kind is int and value.bit_length() > _MAX_BITS:
        raise ConversionError("a number in it is too long")
    if kind is float and not math.isfinite(value):
        raise ConversionError("a number in it is not finite")
    if kind is int or kind is float:
        return value
    raise ConversionError(f"{kind_of(value)} is not JSON")
