"""Normalise a raw Segment event: field names in Segment's casing, trimmed ids, a known type.

Source: Segment's spec of the common fields, https://segment.com/docs/connections/spec/common/
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mapping.errors import InvalidEvent, RejectReason, UnknownType
from mapping.event.casing import Casing, fold
from mapping.event.integrations import opts_out
from mapping.placeholders import is_placeholder
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

    `user_id` and `anonymous_id` are None where they cannot be used. `id_error` says why the first that the event has
    cannot be. `nulls` are the fields that are `null`. `casing` finds the keys below the envelope in any casing.
    """

    type: str
    user_id: str | None
    anonymous_id: str | None
    id_error: InvalidEvent | None
    fields: dict[str, Any]
    nulls: frozenset[str]
    left_out: tuple[LeftOut, ...]
    casing: Casing
    currency: object = None

    @property
    def customer_id(self) -> str | None:
        """The customer's id in Segment: `userId`, otherwise `anonymousId`."""
        return self.user_id or self.anonymous_id

    def opts_out(self, *, is_routed: bool) -> bool:
        """Whether its `integrations` exclude Voucherify."""
        return opts_out(self.fields.get("integrations"), is_routed=is_routed)


def normalise(raw: object) -> Event:
    """Return the canonical form of one raw event, which stays unchanged.

    A payload that is not an object is left out. Raises InvalidEvent where there is no object, or no known type.
    """
    if not isinstance(raw, dict):
        raise InvalidEvent(RejectReason.INVALID_EVENT, "", f"an event must be a JSON object, not {kind_of(raw)}")
    fields, nulls = _canonical_names(raw)
    left_out = [
        LeftOut(payload, payload, f"{kind_of(fields.pop(payload))} is not an object")
        for payload in PAYLOADS
        if payload in fields and not isinstance(fields[payload], dict)
    ]
    user_id, anonymous_id, id_error = _ids_of(fields)
    return Event(_type_of(fields), user_id, anonymous_id, id_error, fields, frozenset(nulls), tuple(left_out), Casing())


def message_id_of(raw: object) -> str | None:
    """Return the `messageId` of anything that was posted as an event, or None."""
    try:
        return _trimmed_text(field_of(raw, "messageId"))
    except ConversionError:
        return None


def field_of(raw: object, name: str) -> Any:
    """Return the value of one field of anything that was posted as an event; None where it has none."""
    if not isinstance(raw, dict):
        return None
    value = raw.get(name)  # the exact name wins over all other casings of it
    return _canonical_names(raw)[0].get(name) if is_missing(value) else value


def _canonical_names(raw: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the fields with a value, and the names of those that are `null`.

    Of two casings of a name the exact one wins, otherwise the first.
    """
    fields: dict[str, Any] = {}
    nulls: set[str] = set()
    for key, value in raw.items():
        if not value and is_missing(value):
            if value is None:
                nulls.add(_BY_FOLDED_NAME.get(fold(key), key))
            continue
        if key in ENVELOPE:
            fields[key] = value
        else:
            fields.setdefault(_BY_FOLDED_NAME.get(fold(key), key), value)
    return fields, nulls


def _type_of(fields: dict[str, Any]) -> str:
    given = fields.get("type")
    type_ = given.strip().lower() if isinstance(given, str) else ""
    if type_ in TYPES:
        return type_
    if not type_:
        raise InvalidEvent(RejectReason.INVALID_EVENT, "type", "type is missing")
    raise UnknownType


def _ids_of(fields: dict[str, Any]) -> tuple[str | None, str | None, InvalidEvent | None]:
    """Return `userId` and `anonymousId`, and why the first that the event has cannot be used.

    `anonymousId` replaces a `userId` that is a placeholder, since its visitor has no id. It does not replace one of
    another type: guessing another id would reward the wrong customer.
    """
    user_id, user_error = _id_of(fields, "userId")
    anonymous_id, anonymous_error = _id_of(fields, "anonymousId")
    if user_id:
        return user_id, anonymous_id, None
    if user_error and user_error.code is not RejectReason.PLACEHOLDER_ID:
        return None, None, user_error
    return None, anonymous_id, user_error or anonymous_error


def _id_of(fields: dict[str, Any], name: str) -> tuple[str | None, InvalidEvent | None]:
    try:
        id_ = _trimmed_text(fields.get(name))
    except ConversionError as error:
        return None, InvalidEvent(RejectReason.INVALID_EVENT, name, f"{name} cannot be used as an id: {error}")
    if id_ and is_placeholder(id_):
        problem = f"{name} is the text that a client sends instead of a missing id, and there is no other id"
        return None, InvalidEvent(RejectReason.PLACEHOLDER_ID, name, problem)
    return id_, None


def _trimmed_text(value: object) -> str | None:
    return None if value is None else to_text(value).strip() or None
