"""JSON as RFC 8259 defines it, and descriptions of decode errors that quote nothing.

Python's own decoder takes NaN and Infinity, which are not JSON. https://www.rfc-editor.org/rfc/rfc8259#section-6
"""

from __future__ import annotations

import json
import math
from typing import Any


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
