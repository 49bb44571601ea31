"""Convert values to text and objects.

Each function returns the valid value or raises ConversionError with the reason, which names kinds and never values.
"""

from __future__ import annotations

import math
from typing import Any

from mapping.placeholders import is_placeholder

# More than any shop's metadata, and far from Python's recursion limit.
MAX_DEPTH = 64

MAX_EVENT_NAME = 300

# Python converts no integer of more than 4,300 digits to text, and a sum can have more:
# https://docs.python.org/3/library/stdtypes.html#integer-string-conversion-length-limitation
_MAX_BITS = 14_000

# All white space, and what is as invisible: soft hyphen, zero-width characters, direction marks (which phones put
# around copied numbers) and the byte order mark.
_BLANKS = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
    "\0\xad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064"
    "\u2066\u2067\u2068\u2069\u2800\u3164\ufeff"
)


class ConversionError(ValueError):
    """A value that cannot be made valid for its field."""


def is_missing(value: object) -> bool:
    """Whether the value counts as missing: `null` and the empty string do.

    `0`, `false`, an empty object, an empty array and a blank string are values.
    """
    return value is None or value == ""


def is_blank(value: object) -> bool:
    """Whether the value is missing, or text that has no visible character."""
    return value is None or (isinstance(value, str) and not trim(value))


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


def trim(text: str) -> str:
    """Return the text without white space and invisible characters around it."""
    return text.strip(_BLANKS)


def to_trimmed_text(value: object) -> str:
    """Return trimmed text, which is missing where it is blank."""
    return trim(to_text(value))


def trimmed_text_or_none(value: object) -> str | None:
    """Return trimmed text, or None where it is blank or the value cannot be text."""
    try:
        return to_trimmed_text(value) or None
    except ConversionError:
        return None


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


def to_array(value: object) -> list[Any]:
    """Return a copy of an array; an object counts as an array of one."""
    if not isinstance(value, list | dict):
        raise ConversionError(f"{kind_of(value)} is not an array")
    copy: list[Any] = to_json_value(value if isinstance(value, list) else [value])
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
