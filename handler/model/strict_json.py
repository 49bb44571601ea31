"""JSON as its standard has it, and its faults in words that quote nothing.

RFC 8259 knows no NaN and no Infinity, which Python's decoder takes and makes.
"""

from __future__ import annotations

import json
import math
from typing import Any


def _finite(literal: str) -> float | str:
    """A number beyond a float's range stays as it was written, as text: infinity is not JSON."""
    number = float(literal)
    return number if math.isfinite(number) else literal


def _bounded(literal: str) -> int | str:
    """An integer of more digits than Python converts stays as it was written, as text."""
    try:
        return int(literal)
    except ValueError:
        return literal


def _refuse_constant(literal: str) -> Any:
    raise ValueError(f"{literal} is no JSON value")


DECODER = json.JSONDecoder(parse_float=_finite, parse_int=_bounded, parse_constant=_refuse_constant)


def describe_decode_error(error: Exception) -> str:
    """What is wrong with a text that could not be decoded, and where."""
    match error:
        case json.JSONDecodeError():
            problem = error.msg.removesuffix(" at")
            return f"{problem} at line {error.lineno} column {error.colno}"
        case UnicodeDecodeError():
            return f"byte {error.start} is not UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return str(error)
