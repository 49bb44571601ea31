"""The bodies of Segment's HTTP Tracking API, as Segment's libraries send them.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

from typing import Any

from handler.api.body import Body, read_json
from handler.model.errors import MalformedBody
from handler.model.reason_codes import RefusalCause
from mapping import InvalidEvent, normalise

WRITE_KEY = "writeKey"

# The fields that a batch has once for all of its events. An event's own fields win.
_COMMON = ("context", "integrations")


def decode_call(body: bytes, call: str) -> Body:
    """Return the events of a call: those of a `batch`, or the body as one event of the call's type.

    The write key, which some libraries send in the body, is removed from each event. Raises MalformedBody.
    """
    payload = _payload(body)
    if call != "batch":
        return Body([_without_write_key({**payload, "type": call})], is_batch=False)
    events = payload.get("batch")
    if not isinstance(events, list):
        raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, '"batch" is not an array')
    common = {name: payload[name] for name in _COMMON if isinstance(payload.get(name), dict)}
    return Body([_merge(common, event) for event in events], is_batch=True)


def write_key_of(body: bytes) -> str:
    """Return the write key in the body, empty where there is none. Raises MalformedBody."""
    write_key = _payload(body).get(WRITE_KEY)
    return write_key if isinstance(write_key, str) else ""


def delete_without_type(event: Any) -> dict[str, Any] | None:
    """Return a `delete` without its type, so that no later redrive deletes the customer; None for any other event.

    The Tracking API has no `delete`, and its write key may be public.
    """
    try:
        fields = normalise(event).fields
    except InvalidEvent:
        return None
    is_deletion = fields["type"].strip().lower() == "delete"
    return {name: value for name, value in fields.items() if name != "type"} if is_deletion else None


def _payload(body: bytes) -> dict[str, Any]:
    payload = read_json(body)
    if not isinstance(payload, dict):
        raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, "the body is not a JSON object")
    return payload


def _merge(common: dict[str, dict[str, Any]], event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    merged = dict(event)
    for name, value in common.items():
        own = event.get(name)
        if own is None or isinstance(own, dict):
            merged[name] = {**value, **(own or {})}
    return _without_write_key(merged)


def _without_write_key(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != WRITE_KEY}
