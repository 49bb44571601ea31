"""The attributes that a request sets, of a customer and of an order, and a request without some of them.

Voucherify merges metadata key by key and replaces every other attribute as a whole:
https://docs.voucherify.io/api-reference/customers/create-customer
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mapping.event.segment import field_of
from mapping.requests.customer import key_of
from mapping.requests.request import Operation, Request

_IDS = ("id", "source_id")
_METADATA = "metadata."

# When the event happened, as exactly as it says: https://segment.com/docs/connections/spec/common/#timestamps
_TIMES = ("timestamp", "originalTimestamp", "sentAt", "receivedAt")


class Attributes(NamedTuple):
    """The attributes of one customer or order: its kind, its id, and the names of what the request sets of it."""

    kind: str
    id: str
    names: tuple[str, ...]


def attributes_of(request: Request) -> Iterator[Attributes]:
    """Yield what a request sets of its customer and of its order. A deletion sets nothing."""
    body = request.body or {}
    if request.operation is Operation.UPSERT_CUSTOMER:
        yield Attributes("customer", request.customer, tuple(_names(body)))
    elif request.operation in (Operation.TRACK_EVENT, Operation.UPSERT_ORDER):
        yield Attributes("customer", request.customer, tuple(_names(body["customer"])))
        if request.operation is Operation.UPSERT_ORDER:
            order = {name: value for name, value in body.items() if name != "customer"}
            yield Attributes("order", key_of(order), tuple(_names(order)))


def without_attributes(request: Request, kind: str, names: Collection[str]) -> Request | None:
    """Return a request without attributes of its customer or its order; None where nothing of it is left to set.

    A custom event is always left: it counts whatever its customer's attributes are.
    """
    body = request.body or {}
    if kind == "customer" and request.operation is not Operation.UPSERT_CUSTOMER:
        fitted = request._replace(body={**body, "customer": _without(body["customer"], names)})
    else:
        fitted = request._replace(body=_without(body, names))
    if request.operation is Operation.TRACK_EVENT or any(one.names for one in attributes_of(fitted)):
        return fitted
    return None


def time_of(raw: object, names: Sequence[str] = _TIMES) -> datetime | None:
    """Return when a raw event happened, in UTC, by the first of these fields that says; None where none does."""
    for name in names:
        try:
            moment = datetime.fromisoformat(field_of(raw, name))
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (TypeError, ValueError, OverflowError):  # of the year 1, in another time zone
            continue
    return None


# More keys of metadata count as one attribute: the record of a customer with thousands of keys would fill its item.
_MOST_KEYS = 200


def _names(body: Mapping[str, Any]) -> Iterator[str]:
    for name, value in body.items():
        if name == "metadata" and isinstance(value, dict) and len(value) <= _MOST_KEYS:
            yield from (f"{_METADATA}{key}" for key in value)
        elif name not in _IDS:
            yield name


def _without(body: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if name not in names}
    if isinstance(kept.get("metadata"), dict):
        metadata = {key: value for key, value in body["metadata"].items() if f"{_METADATA}{key}" not in names}
        kept |= {"metadata": metadata}
        if not metadata:
            del kept["metadata"]
    return kept
