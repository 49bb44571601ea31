"""Amounts of money: decimal numbers or text in, whole minor units out (`19.99` EUR is `1999`). Exact, never negative.

Currencies and their digits: ISO 4217, https://www.six-group.com/en/products-services/financial-information/data-standards.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

from mapping.values import ConversionError, kind_of, trim

# The currencies whose minor unit is not a hundredth, by its digits. An unknown or missing currency has two.
_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_DIGITS: Mapping[str, int] = {code: digits for digits, codes in _CODES.items() for code in codes.split()}
_USUAL_DIGITS = 2

# No sign but a minus, which is named as the fault, no thousands' separators, no symbols: they would be guesses.
_AMOUNT = re.compile(r"-?(\d{1,30}(\.\d{0,30})?|\.\d{1,30})([eE][+-]?\d{1,2})?", re.ASCII)

_EXACT = Context(prec=200, rounding=ROUND_HALF_UP)

# JavaScript holds no larger integer exactly: https://tc39.es/ecma262/#sec-number.max_safe_integer
_MAX_AMOUNT = 2**53 - 1


def digits_of(currency: object) -> int:
    """Return the number of decimal digits of a currency's minor unit, by its ISO 4217 code in any case."""
    return _DIGITS.get(trim(currency).upper(), _USUAL_DIGITS) if isinstance(currency, str) else _USUAL_DIGITS


def to_minor_units(value: object, currency: object) -> int:
    """Return an amount in whole minor units; half a unit is rounded up. Raises ConversionError."""
    return scaled(to_amount(value), digits_of(currency))


def to_amount(value: object) -> Decimal:
    """Return an amount as it is written. Raises ConversionError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ConversionError(f"{kind_of(value)} is not an amount")
    text = trim(value) if isinstance(value, str) else repr(value) if isinstance(value, float) else _digits(value)
    if not _AMOUNT.fullmatch(text):
        raise ConversionError(f"{kind_of(value)} is not an amount, such as 19.99")
    amount = Decimal(text)
    if amount < 0:
        raise ConversionError("the amount is negative")
    return amount


def scaled(amount: Decimal, digits: int) -> int:
    """Return an amount in minor units that have this many digits. Raises ConversionError."""
    units = int(_EXACT.quantize(_EXACT.scaleb(amount, digits), Decimal(1)))
    if units > _MAX_AMOUNT:
        raise ConversionError("the amount is too large")
    return units


def multiplied(amount: Decimal, quantity: int) -> Decimal:
    """Return an amount times a quantity, with all its digits: those of Python's default are rounded to 28."""
    return _EXACT.multiply(amount, Decimal(quantity))


def to_quantity(value: Any) -> int:
    """Return a whole number of pieces. Raises ConversionError."""
    amount = to_amount(value)
    if amount != amount.to_integral_value():
        raise ConversionError("the quantity is not a whole number")
    return scaled(amount, 0)


def _digits(number: int) -> str:
    """Return an integer as text; one of more digits than any amount has is none."""
    return str(number) if abs(number) < 10**30 else ""
