"""JSON as RFC 8259 defines it, and descriptions of decode errors that quote nothing.

Python's own decoder takes NaN and Infinity, which are not JSON. https://www.rfc-editor.org/rfc/rfc8259#section-6
"""

from __future__ import annotations

import json
import math
import re
from itertools import accumulate
from typing import Any

# Events nest a few levels. Python refuses to encode about 900 on a deep stack, so that without a limit an event
# could be accepted that cannot be stored.
MAX_DEPTH = 600


def _finite(literal: str) -> float | str:
    """Return a number beyond the range of a float as the text that was written: infinity is not JSON."""
    number = float(literal)
    return number if math.isfinite(number) else literal


def _bounded(literal: str) -> int | str:
    """Return an integer with more digits than Python converts as the text that was written."""
    try:
        return int(literal)
    except ValueError:
        return literal


def _refuse_constant(literal: str) -> Any:
    raise ValueError(f"{literal} is not a JSON value")


DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_bounded, parse_constant=_refuse_constant)


def may_be_too_deep(text: str) -> bool:
    """Return whether a JSON text nests more than MAX_DEPTH levels."""
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return False
    return max(accumulate(map(_STEPS.__getitem__, _BRACKET.findall(_STRING.sub("", text))))) > MAX_DEPTH


def is_too_deep(value: Any) -> bool:
    """Return whether a decoded value nests more than MAX_DEPTH levels."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return any(isinstance(child, dict | list) for child in level)


def _children(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}


def describe_decode_error(error: Exception) -> str:
    """Return what is wrong with a text that could not be decoded, and where."""
    match error:
        case json.JSONDecodeError():
            problem = error.msg.removesuffix(" at")
            return f"{problem} at line {error.lineno} column {error.colno}"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return str(error)
