"""The bodies of Segment's HTTP Tracking API, as its libraries send them.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

from typing import Any

from handler.api.body import Body, read_json
from handler.model.errors import MalformedBody
from mapping import InvalidEvent, normalise

WRITE_KEY = "writeKey"

# What a batch says once for all of its events; what an event says itself goes over it.
_COMMON = ("context", "integrations")


def decode_call(body: bytes, call: str) -> Body:
    """The events of one call: of a `batch` those in it, of any other the one that the body is, of that type.

    No event holds the write key, which the libraries send in the body too. Raises MalformedBody.
    """
    payload = _payload(body)
    if call != "batch":
        return Body([_without_write_key({**payload, "type": call})], is_batch=False)
    events = payload.get("batch")
    if not isinstance(events, list):
        raise MalformedBody("unknown_shape", '"batch" is not an array')
    common = {name: payload[name] for name in _COMMON if isinstance(payload.get(name), dict)}
    return Body([_with(common, event) for event in events], is_batch=True)


def write_key_of(body: bytes) -> str:
    """The write key in the body, empty where there is none. Raises MalformedBody."""
    write_key = _payload(body).get(WRITE_KEY)
    return write_key if isinstance(write_key, str) else ""


def disarmed(event: Any) -> dict[str, Any] | None:
    """What is left of a `delete`, which the Tracking API does not have: no type, so that nothing carries it out.

    None for any other event.
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
        raise MalformedBody("unknown_shape", "the body is not a JSON object")
    return payload


def _with(common: dict[str, dict[str, Any]], event: Any) -> Any:
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
