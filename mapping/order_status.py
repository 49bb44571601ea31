"""The statuses of an order in Voucherify. https://docs.voucherify.io/api-reference/orders/create-order"""

from __future__ import annotations

from enum import StrEnum

from mapping.values import ConversionError, to_trimmed_text


class OrderStatus(StrEnum):
    CREATED = "CREATED"
    PAID = "PAID"
    CANCELED = "CANCELED"
    FULFILLED = "FULFILLED"


def to_order_status(value: object) -> str:
    """Return a status in any case, and `cancelled` in both spellings. Raises ConversionError."""
    text = to_trimmed_text(value).upper()
    try:
        return OrderStatus("CANCELED" if text == "CANCELLED" else text).value
    except ValueError as error:
        raise ConversionError(f"the status is none of {', '.join(OrderStatus)}") from error
