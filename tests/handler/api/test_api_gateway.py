"""API Gateway's proxy event to the bytes that were sent."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest

from handler.api.api_gateway import MAX_BODY_BYTES, HttpRequest, read_request
from handler.api.body import decode
from handler.model.errors import BodyTooLarge, MalformedBody, UnsupportedEvent
from local.stack.front import proxy_event

pytestmark = pytest.mark.scenario(row=6)

BODY = '{"name": "Zoë"}'.encode()


def request(**changes: Any) -> HttpRequest:
    headers = {"X-Signature": "abc", "Content-Type": "application/json"}
    return read_request({**proxy_event("post", "/events?x=1", headers, BODY), **changes})


def test_method_path_and_headers_whatever_their_casing() -> None:
    read = request(headers={"X-Signature": "abc", "AUTHORIZATION": "Bearer x"})
    assert (read.method, read.path) == ("POST", "/events")
    assert read.headers == {"x-signature": "abc", "authorization": "Bearer x"}


@pytest.mark.parametrize(
    ("stage", "raw_path", "path"),
    [
        ("$default", "/events", "/events"),
        ("$default", "/events/", "/events"),
        ("$default", "/", "/"),
        ("prod", "/prod/events", "/events"),
        ("prod", "/prod", "/"),
        ("prod", "/production/events", "/production/events"),
    ],
)
def test_the_path_has_no_stage_and_no_slash_at_its_end(stage: str, raw_path: str, path: str) -> None:
    context = {**proxy_event("POST", raw_path, {}, b"")["requestContext"], "stage": stage}
    assert request(rawPath=raw_path, requestContext=context).path == path


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"body": base64.b64encode(BODY).decode(), "isBase64Encoded": True},
        {"body": base64.b64encode(gzip.compress(BODY)).decode(), "isBase64Encoded": True},
        {
            "body": base64.b64encode(gzip.compress(BODY[:5]) + gzip.compress(BODY[5:])).decode(),
            "isBase64Encoded": True,
        },
    ],
    ids=["text", "base64", "gzip", "gzip in two members"],
)
def test_base64_and_gzip_are_undone(changes: dict[str, Any]) -> None:
    assert request(**changes).body() == BODY


@pytest.mark.parametrize("changes", [{"body": None}, {"body": ""}, {"body": "", "isBase64Encoded": True}])
def test_no_body_is_an_empty_one(changes: dict[str, Any]) -> None:
    assert request(**changes).body() == b""


def test_the_members_of_a_gzip_body_are_joined() -> None:
    packed = gzip.compress(BODY[:5]) + gzip.compress(b"") + gzip.compress(BODY[5:])
    assert request(body=base64.b64encode(packed).decode(), isBase64Encoded=True).body() == BODY


@pytest.mark.parametrize(
    ("route_key", "parameters", "raw_path", "path"),
    [
        ("$default", None, "/events", "/events"),
        ("ANY /events", None, "/events", "/events"),
        ("ANY /events", None, "/segment/events", "/events"),
        ("POST /events/{source}", {"source": "shop"}, "/key/of/two/events/shop", "/events/shop"),
        ("ANY /v1/{call+}", {"call": "import/"}, "/segment/v1/import/", "/v1/import"),
        ("ANY /{proxy+}", {"proxy": "events"}, "/segment/events", "/events"),
        ("ANY /events/{source}", None, "/events/shop", "/events/shop"),
    ],
)
def test_the_route_key_names_the_path(
    route_key: str, parameters: dict[str, str] | None, raw_path: str, path: str
) -> None:
    assert request(routeKey=route_key, pathParameters=parameters, rawPath=raw_path).path == path


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        {},
        {"requestContext": None},
        {"requestContext": {}, "rawPath": "/events"},
        {"requestContext": {"http": {}}, "rawPath": "/events"},
        {"requestContext": {"http": {"method": "POST"}}},
        {"requestContext": {"http": {"method": 1}}, "rawPath": "/events"},
        {"requestContext": {"http": {"method": "POST"}}, "rawPath": 7},
        {"requestContext": {"http": {"method": "POST"}}, "rawPath": "/events", "headers": ["x"]},
        {"requestContext": {"http": {"method": "POST"}}, "rawPath": "/events", "body": {}},
        {"version": "1.0", "httpMethod": "POST", "path": "/events", "requestContext": {"httpMethod": "POST"}},
        {"requestContext": {"elb": {"targetGroupArn": "arn"}}, "httpMethod": "POST", "path": "/events"},
        {"Records": [{"eventSource": "aws:sqs"}]},
    ],
)
def test_an_event_of_another_kind_is_refused_with_a_clear_message(event: Any) -> None:
    with pytest.raises(UnsupportedEvent) as raised:
        read_request(event)
    assert (raised.value.status, raised.value.cause) == (500, "unsupported_event")
    assert raised.value.message == "the function takes events of an HTTP API, payload format 2.0"


def test_no_headers_are_none() -> None:
    assert request(headers=None).headers == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"body": "not base64!", "isBase64Encoded": True}, "the body is not valid base64 or UTF-8"),
        ({"body": "ä", "isBase64Encoded": True}, "the body is not valid base64 or UTF-8"),
        ({"body": "\ud800"}, "the body is not valid base64 or UTF-8"),
        (
            {"body": base64.b64encode(gzip.compress(BODY)[:-9]).decode(), "isBase64Encoded": True},
            "the body is not valid gzip: it is cut off",
        ),
        (
            {"body": base64.b64encode(b"\x1f\x8b").decode(), "isBase64Encoded": True},
            "the body is not valid gzip: it is cut off",
        ),
        (
            {"body": base64.b64encode(gzip.compress(b"") * 17).decode(), "isBase64Encoded": True},
            "the body has more than 16 gzip members",
        ),
        (
            {"body": base64.b64encode(gzip.compress(BODY) + b"tail").decode(), "isBase64Encoded": True},
            "the body is not valid gzip",
        ),
    ],
)
def test_what_cannot_be_undone_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        request(**changes).body()
    assert raised.value.message == message


def test_a_body_larger_than_lambda_takes_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        request(body="x" * (MAX_BODY_BYTES + 1)).body()


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused() -> None:
    bomb = base64.b64encode(gzip.compress(b" " * (MAX_BODY_BYTES + 1))).decode()
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLarge):
        request(body=bomb, isBase64Encoded=True).body()


@pytest.mark.parametrize(
    ("content_type", "is_base64"),
    [
        ("application/json", False),
        ("Application/JSON; charset=utf-8", False),
        ("text/plain", False),
        ("application/octet-stream", True),
        ("application/x-www-form-urlencoded", True),
        (None, True),
    ],
)
def test_the_local_api_gateway_goes_by_the_content_type_and_the_body_is_the_same(
    content_type: str | None, is_base64: bool
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}

    event = proxy_event("POST", "/events", headers, BODY)

    assert event["isBase64Encoded"] is is_base64
    assert read_request(event).body() == BODY


def test_gzip_that_is_sent_as_text_cannot_be_read_and_is_refused_as_no_json() -> None:
    """What AWS makes of it is not documented. Whatever is left of it must not become an event."""
    event = proxy_event("POST", "/events", {"Content-Type": "application/json"}, gzip.compress(BODY))

    body = read_request(event).body()

    with pytest.raises(MalformedBody, match="the body is not JSON"):
        decode(body)
