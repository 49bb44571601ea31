"""The functions of expressions: JMESPath's own, with exact sums, and those that shops need beside them.

https://jmespath.org/specification.html#built-in-functions; `lower`, `upper`, `trim` and `split` are those of
https://jmespath.site/main/#functions
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import Functions, signature

from mapping.values import is_missing, trim

# 0.1 and 0.2 have no exact binary fraction, so that their binary sum is 0.30000000000000004. The decimal sum is exact.
_DECIMAL = Context(prec=50, rounding=ROUND_HALF_UP)

# JavaScript writes numbers from here on with an exponent.
_FIRST_EXPONENT = Decimal("1e21")

Number = int | float


# The value of a second argument that may be left out. The library has optional arguments only without a limit.
OPTIONAL_ARGUMENTS = {"round": 0}


class MappingFunctions(Functions):
    """JMESPath's functions and ours."""

    def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
        arguments = list(resolved_args)
        if function_name in OPTIONAL_ARGUMENTS and len(arguments) == 1:
            arguments.append(OPTIONAL_ARGUMENTS[function_name])
        return super().call_function(function_name, arguments)

    @signature({"types": ["array-number"]})
    def _func_sum(self, numbers: list[Number]) -> Number:
        return _sum(numbers)

    @signature({"types": ["array-number"]})
    def _func_avg(self, numbers: list[Number]) -> Number | None:
        return _number(_DECIMAL.divide(_decimal(_sum(numbers)), Decimal(len(numbers)))) if numbers else None

    @signature({"types": ["number"]}, {"types": ["number"]})
    def _func_multiply(self, number: Number, factor: Number) -> Number:
        if isinstance(number, int) and isinstance(factor, int):
            return number * factor
        return _number(_DECIMAL.multiply(_decimal(number), _decimal(factor)))

    @signature({"types": ["number"]}, {"types": ["number"]})
    def _func_round(self, number: Number, digits: Number) -> Number:
        if digits != int(digits):
            raise JMESPathTypeError("round", digits, "a fraction", ["a whole number of digits"])
        return _number(_decimal(number).quantize(Decimal(1).scaleb(-int(digits)), context=_DECIMAL))

    @signature({"types": ["number", "string"]})
    def _func_to_cents(self, amount: Number | str) -> Number:
        try:
            number = Decimal(trim(amount)) if isinstance(amount, str) else _decimal(amount)
        except InvalidOperation:
            raise JMESPathTypeError("to_cents", amount, "string", ["number"]) from None
        return int(_DECIMAL.multiply(number, Decimal(100)).quantize(Decimal(1), context=_DECIMAL))

    @signature({"types": ["string"]})
    def _func_lower(self, text: str) -> str:
        return text.lower()

    @signature({"types": ["string"]})
    def _func_upper(self, text: str) -> str:
        return text.upper()

    @signature({"types": ["string"]})
    def _func_trim(self, text: str) -> str:
        return trim(text)

    @signature({"types": []}, {"types": []})
    def _func_default(self, value: Any, fallback: Any) -> Any:
        return fallback if is_missing(value) else value

    @signature({"types": ["string"]}, {"types": ["string"]})
    def _func_split(self, text: str, separator: str) -> list[str]:
        return text.split(separator) if separator else list(text)


FUNCTIONS = MappingFunctions()


def _sum(numbers: list[Number]) -> Number:
    if all(isinstance(number, int) for number in numbers):
        return sum(numbers)
    total = Decimal(0)
    for number in numbers:
        total = _DECIMAL.add(total, _decimal(number))
    return _number(total)


def _decimal(number: Number) -> Decimal:
    """Return the number as it is written."""
    return Decimal(number) if isinstance(number, int) else Decimal(repr(number))


def _number(value: Decimal) -> Number:
    """Return a JSON number. A whole one has no fraction: `20`, as JavaScript writes it, and not `20.0`."""
    return int(value) if abs(value) < _FIRST_EXPONENT and value == value.to_integral_value() else float(value)
