"""What was signed and what is in the body, from the body's own bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.api.body import decode, signed_bytes
from handler.model.errors import MalformedBody

pytestmark = [pytest.mark.scenario(row=6), pytest.mark.scenario(row=8)]

BOM = b"\xef\xbb\xbf"

SIGNED = {
    "an object: all of it": (b'{"a": 1.0}', b'{"a": 1.0}'),
    "an object: its white space too": (b' {"a": 1.0}\r\n', b' {"a": 1.0}\r\n'),
    "an object: its byte order mark too": (BOM + b'{"a": 1}', BOM + b'{"a": 1}'),
    "a batch object: all of it": (b'{"batch": [{"a": 1}]}', b'{"batch": [{"a": 1}]}'),
    "an array: its first element": (b'[{"a": 1.0}, {"b": 2}]', b'{"a": 1.0}'),
    "an array: white space around the element is not the element's": (b'\r\n[ \t{ "a" : 1 }\n , 2]', b'{ "a" : 1 }'),
    "an array: after a byte order mark": (BOM + b'[{"a": 1}]', b'{"a": 1}'),
    "an array: no number is written again": (b'[{"a": 1.10e2, "b": 1E400}]', b'{"a": 1.10e2, "b": 1E400}'),
    "an array: escapes stay escapes": (b'[{"a": "\\u00e9\\/\xc3\xa9"}]', b'{"a": "\\u00e9\\/\xc3\xa9"}'),
    "an array: a bracket in text ends nothing": (b'[{"a": "]}"}, 1]', b'{"a": "]}"}'),
    "an array of one that is no event": (b"[ 1 ]", b"1"),
    "an empty array has no first element: all of it": (b"[]", b"[]"),
    "json items: with too many members it is no wrapper": (
        b'[{"json": {"a": 1}' + b', "x": 1' * 16 + b"}]",
        b'[{"json": {"a": 1}' + b', "x": 1' * 16 + b"}]",
    ),
    "json items: the inner object": (b'[{"json": {"a": 1.0}}, {"json": {}}]', b'{"a": 1.0}'),
    "json items: the inner object, with what stands around it": (
        b'[ { "x" : [1, {"json": 2}] , "json" : { "a" : 1 } , "y" : "}" } ]',
        b'{ "a" : 1 }',
    ),
    "json items: of a repeated key the last counts, as it does for who reads it": (
        b'[{"json": {"a": 1}, "json": {"b": 2}}]',
        b'{"b": 2}',
    ),
    "json items: an escaped key is the same key": (b'[{"js\\u006fn": {"a": 1}}]', b'{"a": 1}'),
    "an event with a property called json is an event": (
        b'[{"type": "track", "json": {"a": 1}}]',
        b'{"type": "track", "json": {"a": 1}}',
    ),
    "json that is no object is no wrapper": (b'[{"json": 1}]', b'{"json": 1}'),
    "an array that breaks off in its first element: all of it": (b'[{"a": 1', b'[{"a": 1'),
    "what is not UTF-8: all of it": (b'[{"a": "\xff"}]', b'[{"a": "\xff"}]'),
    "what is nested too deeply: all of it": (b"[" * 100_000, b"[" * 100_000),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize(("body", "signed"), SIGNED.values(), ids=SIGNED)
def test_the_signed_part_is_the_bytes_that_were_sent(body: bytes, signed: bytes) -> None:
    assert signed_bytes(body) == signed


SHAPES: dict[str, tuple[bytes, list[Any], bool]] = {
    "an event": (b'{"type": "track"}', [{"type": "track"}], False),
    "an array of events": (b'[{"a": 1}, {"b": 2}]', [{"a": 1}, {"b": 2}], True),
    "an array of one event is a batch": (b'[{"a": 1}]', [{"a": 1}], True),
    "a batch object": (b'{"batch": [{"a": 1}], "sentAt": "x"}', [{"a": 1}], True),
    "json items": (b'[{"json": {"a": 1}}, {"json": {"b": 2}}]', [{"a": 1}, {"b": 2}], True),
    "items that are no events are for later": (b'[1, null, {"a": 1}]', [1, None, {"a": 1}], True),
    "a byte order mark": (BOM + b'{"a": 1}', [{"a": 1}], False),
    "CRLF and pretty-printed": (b'{\r\n  "a": 1\r\n}\r\n', [{"a": 1}], False),
    "a number beyond a float's range stays as it is written": (b'{"a": 1e400}', [{"a": "1e400"}], False),
    "an integer beyond 2^53 keeps every digit": (b'{"a": 9007199254740993}', [{"a": 9007199254740993}], False),
    "an integer of more digits than Python converts stays as it is written": (
        b'[{"a": ' + b"1" * 5000 + b"}, {}]",
        [{"a": "1" * 5000}, {}],
        True,
    ),
    "of a repeated key the last counts": (b'{"a": 1, "a": 2}', [{"a": 2}], False),
    "an empty key and a dotted one are keys": (b'{"": 1, "a.b": 2}', [{"": 1, "a.b": 2}], False),
}


@pytest.mark.parametrize(("body", "events", "is_batch"), SHAPES.values(), ids=SHAPES)
def test_each_shape_of_a_body_gives_its_events(body: bytes, events: list[Any], is_batch: bool) -> None:
    decoded = decode(body)
    assert decoded.events == events
    assert decoded.is_batch is is_batch


@pytest.mark.parametrize(
    ("body", "describe_decode_error"),
    [
        (b"", "Expecting value at line 1 column 1"),
        (b'{"a": }', "Expecting value at line 1 column 7"),
        (b'{"a": 1} x', "Extra data at line 1 column 10"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'[{"a": -Infinity}]', "-Infinity is not a JSON value"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        (b'{"a": "\x01"}', "Invalid control character at line 1 column 8"),
        (b"[" * 100_000, "it is nested too deeply"),
        (b'"text"', "the body is neither an event nor an array of events"),
        (b"null", "the body is neither an event nor an array of events"),
        (b'{"batch": {"a": 1}}', '"batch" is not an array'),
    ],
)
def test_a_body_of_no_known_shape_is_refused_with_the_place_of_the_fault(
    body: bytes, describe_decode_error: str
) -> None:
    with pytest.raises(MalformedBody) as raised:
        decode(body)
    assert describe_decode_error in raised.value.message


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_have_a_signed_part_and_events_or_a_complaint(body: bytes) -> None:
    assert signed_bytes(body) in body
    try:
        decode(body)
    except MalformedBody as error:
        describe_decode_error = error.message
    else:
        describe_decode_error = ""
    assert describe_decode_error == "" or describe_decode_error.startswith(("the body", '"batch"'))
