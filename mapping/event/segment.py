"""Normalise a raw Segment event: field names in Segment's casing, trimmed ids, a known type.

Source: Segment's spec of the common fields, https://segment.com/docs/connections/spec/common/
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mapping.errors import InvalidEvent, RejectReason, UnknownType
from mapping.event.casing import Casing, fold
from mapping.trace import LeftOut
from mapping.values import ConversionError, is_missing, kind_of, to_text

# https://segment.com/docs/connections/spec/ and, for delete, Segment's call to webhooks in a deletion request:
# https://segment.com/docs/connections/destinations/catalog/webhooks/#delete
TYPES = frozenset({"identify", "track", "page", "screen", "group", "alias", "delete"})

PAYLOADS = ("traits", "properties")

ENVELOPE = frozenset(
    {
        *PAYLOADS,
        "anonymousId",
        "channel",
        "context",
        "event",
        "groupId",
        "integrations",
        "messageId",
        "originalTimestamp",
        "previousId",
        "receivedAt",
        "sentAt",
        "timestamp",
        "type",
        "userId",
        "version",
    }
)

_BY_FOLDED_NAME = {fold(name): name for name in ENVELOPE}


def envelope_name(name: str) -> str | None:
    """Return the field of Segment's envelope that a name in any casing means, or None."""
    return name if name in ENVELOPE else _BY_FOLDED_NAME.get(fold(name))


class Event(NamedTuple):
    """A canonical event. `fields` has the envelope under Segment's own names, without missing values.

    `casing` finds the keys below the envelope in any casing.
    """

    type: str
    user_id: str | None
    anonymous_id: str | None
    fields: dict[str, Any]
    left_out: tuple[LeftOut, ...]
    casing: Casing

    @property
    def customer_id(self) -> str | None:
        """The customer's id in Segment: `userId`, otherwise `anonymousId`."""
        return self.user_id or self.anonymous_id

    @property
    def opts_out(self) -> bool:
        """Whether its `integrations` exclude Voucherify: by name or, where the name is not there, by `All`.

        https://segment.com/docs/connections/spec/common/#integrations
        """
        integrations = self.fields.get("integrations")
        if not integrations or not isinstance(integrations, dict):
            return False
        by_name = integrations.get("Voucherify")
        return (integrations.get("All") if by_name is None else by_name) is False


def normalise(raw: object) -> Event:
    """Return the canonical form of one raw event, which stays unchanged.

    A payload that is not an object is left out. Raises InvalidEvent where there is no object, no known type, or an id
    that is neither text nor a number: guessing another id would reward the wrong customer.
    """
    if not isinstance(raw, dict):
        raise InvalidEvent(RejectReason.INVALID_EVENT, "", f"an event must be a JSON object, not {kind_of(raw)}")
    fields = _canonical_names(raw)
    left_out = [
        LeftOut(payload, payload, f"{kind_of(fields.pop(payload))} is not an object")
        for payload in PAYLOADS
        if payload in fields and not isinstance(fields[payload], dict)
    ]
    return Event(
        _type_of(fields), _id_of(fields, "userId"), _id_of(fields, "anonymousId"), fields, tuple(left_out), Casing()
    )


def message_id_of(raw: object) -> str | None:
    """Return the `messageId` of anything that was posted as an event, or None."""
    if not isinstance(raw, dict):
        return None
    try:
        return _trimmed_text(_canonical_names(raw).get("messageId"))
    except ConversionError:
        return None


def _canonical_names(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with a value; of two casings of a name the exact one wins, otherwise the first."""
    fields: dict[str, Any] = {}
    for key, value in raw.items():
        if not value and is_missing(value):
            continue
        if key in ENVELOPE:
            fields[key] = value
        else:
            fields.setdefault(_BY_FOLDED_NAME.get(fold(key), key), value)
    return fields


def _type_of(fields: dict[str, Any]) -> str:
    given = fields.get("type")
    type_ = given.strip().lower() if isinstance(given, str) else ""
    if type_ in TYPES:
        return type_
    if not type_:
        raise InvalidEvent(RejectReason.INVALID_EVENT, "type", "type is missing")
    raise UnknownType


def _id_of(fields: dict[str, Any], name: str) -> str | None:
    try:
        return _trimmed_text(fields.get(name))
    except ConversionError as error:
        raise InvalidEvent(RejectReason.INVALID_EVENT, name, f"{name} cannot be used as an id: {error}") from error


def _trimmed_text(value: object) -> str | None:
    return None if value is None else to_text(value).strip() or None
