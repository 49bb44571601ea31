"""The body of a request: the bytes that Segment signed, and the events in it.

One event object, an array of events, `{"batch": [...]}`, or an array of `{"json": {...}}` (Segment's Extensible
Webhook). One strict JSON decoder reads both, so that the signed bytes and the delivered events cannot differ.
"""

from __future__ import annotations

import re
from codecs import BOM_UTF8, getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from handler.model.errors import MalformedBody
from handler.model.failure_record import MAX_MESSAGE_BYTES
from handler.model.reason_codes import RefusalCause
from handler.model.strict_json import DECODER, describe_decode_error, may_be_too_deep

# The first element of an array is read before the sender is known. A larger one could not be stored.
MAX_SIGNED_BYTES = MAX_MESSAGE_BYTES


# Segment wraps an event in an object with one member. Reading each of very many would cost a stranger nothing and the
# function a second.
MAX_WRAPPER_MEMBERS = 16


class Json(NamedTuple):
    """A decoded JSON value. `may_be_too_deep`: some value in it nests more levels than can be stored."""

    value: Any
    may_be_too_deep: bool


@dataclass(frozen=True, slots=True)
class Body:
    """The raw events of a request.

    `is_batch` tells an array of one event from an event; `may_be_too_deep` is that of the body's JSON.
    """

    events: list[Any]
    is_batch: bool
    may_be_too_deep: bool = False


def read_json(body: bytes) -> Json:
    """Return the JSON value in a body. Raises MalformedBody."""
    try:
        text = body.removeprefix(BOM_UTF8).decode("utf-8")
        return Json(DECODER.decode(text), may_be_too_deep(text))
    except (ValueError, RecursionError) as error:
        raise MalformedBody(RefusalCause.NOT_JSON, f"the body is not JSON: {describe_decode_error(error)}") from error


def decode(body: bytes) -> Body:
    """Return the events in a body. Raises MalformedBody where it is not JSON or none of the known shapes."""
    value, is_deep = read_json(body)
    match value:
        case [] | {"batch": []}:
            raise MalformedBody(RefusalCause.NO_EVENTS, "the body holds no events")
        case {"batch": list(events)}:
            return Body(events, is_batch=True, may_be_too_deep=is_deep)
        case {"batch": _}:
            raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, '"batch" is not an array')
        case dict():
            return Body([value], is_batch=False, may_be_too_deep=is_deep)
        case list():
            return Body([_unwrap(item) for item in value], is_batch=True, may_be_too_deep=is_deep)
    raise MalformedBody(RefusalCause.UNKNOWN_SHAPE, "the body is neither an event nor an array of events")


def signed_bytes(body: bytes) -> bytes:
    """Return the part of the body that Segment signs: all of it, or the first element of an array.

    These are raw bytes, never serialised again: `1.0` stays `1.0`. Of `{"json": ...}` they are the inner object's. A
    body that cannot be read that far is returned as it is, so that a stranger learns nothing about it.
    """
    opening = _ARRAY.match(body)
    if opening is None:
        return body
    try:
        text = _leading_text(body[opening.end() : opening.end() + MAX_SIGNED_BYTES])
        start = _skip_space(text, 0)
        element, end = DECODER.raw_decode(text, start)
        if _unwrap(element) is not element:
            # The last value of a repeated key counts, in Python's JSON as in JavaScript's.
            members = list(islice(_members(text, start), MAX_WRAPPER_MEMBERS + 1))
            if len(members) > MAX_WRAPPER_MEMBERS:
                return body
            start, end = [span for key, *span in members if key == "json"][-1]
    except (ValueError, RecursionError):
        return body
    return text[start:end].encode("utf-8")


def _leading_text(part: bytes) -> str:
    """Return the text of a part of a body, which may end within a character. Raises UnicodeDecodeError."""
    return getincrementaldecoder("utf-8")().decode(part)


def _unwrap(item: Any) -> Any:
    match item:
        case {"json": dict(inner)} if "type" not in item and len(item) <= MAX_WRAPPER_MEMBERS:
            return inner
    return item


def _members(text: str, start: int) -> Iterator[tuple[str, int, int]]:
    """Yield each key of the valid object at `start`, with the start and the end of its value."""
    delimiter = start
    while text[delimiter] != "}":
        key, colon = DECODER.raw_decode(text, _skip_space(text, delimiter + 1))
        value = _skip_space(text, _skip_space(text, colon) + 1)
        _, end = DECODER.raw_decode(text, value)
        yield key, value, end
        delimiter = _skip_space(text, end)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


_SPACE = re.compile(r"[ \t\n\r]*")
_ARRAY = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\n\r]*\[")
