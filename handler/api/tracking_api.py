"""The bodies of Segment's HTTP Tracking API, as Segment's libraries send them.

https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import json
from typing import Any

from handler.api.api_gateway import MAX_BODY_BYTES
from handler.api.body import Body, Json, read_json
from handler.model.errors import BodyTooLarge, MalformedBody
from handler.model.reason_codes import RefusalCause
from handler.model.strict_json import MAX_DEPTH, is_too_deep

WRITE_KEY = "writeKey"

# Segment's own limits. https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/#max-request-size
MAX_CALL_BYTES = 32 * 1024
MAX_BATCH_BYTES = 500 * 1024

# The fields that a batch has once for all of its events. An event's own fields win.
_COMMON = ("context", "integrations")


def check_size(body: bytes, call: str) -> None:
    """Check the size of a call, before anything of it is read. Raises BodyTooLarge."""
    limit = MAX_BATCH_BYTES if call == "batch" else MAX_CALL_BYTES
    if len(body) > limit:
        raise BodyTooLarge(RefusalCause.BODY_TOO_LARGE, f"the body of {call} has more than {limit} bytes")


def decode_call(body: bytes, call: str) -> Body:
    """Return the events of a call: those of a `batch`, or the body as one event of the call's type.

    The write key, which some libraries send in the body, is removed from each event. Raises MalformedBody, or
    BodyTooLarge for a batch that would be too large with its common fields in each event.
    """
    payload, is_deep = _payload(body)
    if call != "batch":
        return Body([_without_write_key({**payload, "type": call})], is_batch=False, may_be_too_deep=is_deep)
    events = payload.get("batch")
    if not isinstance(events, list):
        raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, '"batch" is not an array')
    common = {name: payload[name] for name in _COMMON if isinstance(payload.get(name), dict)}
    if is_deep and is_too_deep(common):
        raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, f"the common context nests more than {MAX_DEPTH} levels")
    if len(body) + len(json.dumps(common)) * len(events) > MAX_BODY_BYTES:
        raise BodyTooLarge(RefusalCause.BODY_TOO_LARGE, "the common context is too large for so many events")
    return Body([_merge(common, event) for event in events], is_batch=True, may_be_too_deep=is_deep)


def write_key_of(body: bytes) -> str:
    """Return the write key in the body, empty where there is none. Raises MalformedBody."""
    write_key = _payload(body).value.get(WRITE_KEY)
    return write_key if isinstance(write_key, str) else ""


def _payload(body: bytes) -> Json:
    payload = read_json(body)
    if not isinstance(payload.value, dict):
        raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, "the body is not a JSON object")
    return payload


def _merge(common: dict[str, dict[str, Any]], event: Any) -> Any:
    if not isinstance(event, dict):
        return event
    merged = dict(event)
    for name, value in common.items():
        own = event.get(name)
        if own is None or own == {}:
            merged[name] = value  # shared, not copied: nothing changes an event
        elif isinstance(own, dict):
            merged[name] = {**value, **own}
    return _without_write_key(merged)


def _without_write_key(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != WRITE_KEY}
