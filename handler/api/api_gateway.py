"""API Gateway's proxy event as a request of bytes and headers, and the reply for API Gateway.

Payload format 2.0: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from aws_lambda_powertools.utilities.data_classes.api_gateway_proxy_event import APIGatewayProxyEventV2

from handler.model.errors import BodyTooLarge, MalformedBody, UnsupportedEvent
from handler.model.reason_codes import RefusalCause

# Lambda takes 6 MB a request, and a gzip body may unpack to as much: a small request must not fill the memory.
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_BODY_BYTES = 6 * 1024 * 1024

# A gzip stream may have several members. Senders use one; thousands of empty ones only cost time.
MAX_GZIP_MEMBERS = 16

_PARAMETER = re.compile(r"\{([^}+]+)\+?\}")

_GZIP_FORMAT = 16 + zlib.MAX_WBITS  # https://docs.python.org/3/library/zlib.html#zlib.decompressobj
_GZIP_MAGIC = b"\x1f\x8b"  # no JSON text starts with it, and a proxy may drop the Content-Encoding


class HttpRequest(NamedTuple):
    """`headers` has lower-case names; `path` has no stage and no slash at its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    encoded_body: str
    is_base64: bool

    def body(self) -> bytes:
        """Return the bytes that were sent, with base64 and gzip undone. Raises MalformedBody or BodyTooLarge."""
        encoded = self.encoded_body
        try:
            body = base64.b64decode(encoded, validate=True) if self.is_base64 else encoded.encode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise MalformedBody(RefusalCause.BAD_ENCODING, "the body is not valid base64 or UTF-8") from error
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge(RefusalCause.BODY_TOO_LARGE, f"the body has more than {MAX_BODY_BYTES} bytes")
        return _unpack(body) if body.startswith(_GZIP_MAGIC) else body


class Reply(NamedTuple):
    """An HTTP status, a JSON object, and headers besides the content type."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str] = MappingProxyType({})

    def to_proxy(self) -> dict[str, Any]:
        """Return the reply as API Gateway takes it."""
        return {
            "statusCode": self.status,
            "headers": {"Content-Type": "application/json", **self.headers},
            "body": json.dumps(self.body),
            "isBase64Encoded": False,
        }


def read_request(event: Mapping[str, Any]) -> HttpRequest:
    """Return the request in API Gateway's proxy event. Raises UnsupportedEvent."""
    try:
        proxy = APIGatewayProxyEventV2(dict(event))
        context = proxy.request_context
        return HttpRequest(
            method=context.http.method.upper(),
            path=_path(event, context.get("stage") or "$default"),
            headers={str(name).lower(): str(value) for name, value in (event.get("headers") or {}).items()},
            encoded_body=_text(event.get("body")),
            is_base64=bool(event.get("isBase64Encoded")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnsupportedEvent(
            RefusalCause.UNSUPPORTED_EVENT, "the function takes events of an HTTP API, payload format 2.0"
        ) from error


def request_id_of(event: Any) -> str:
    """Return the request id in API Gateway's proxy event, empty where there is none."""
    match event:
        case {"requestContext": {"requestId": str(request_id)}}:
            return request_id
    return ""


def _text(body: object) -> str:
    if isinstance(body, str | None):
        return body or ""
    raise TypeError("the body is not text")


def _path(event: Mapping[str, Any], stage: str) -> str:
    """Return the path that API Gateway has matched.

    `rawPath` also holds the stage, and a custom domain's API mapping key, which nothing else in the event names. The
    route key has neither: `ANY /events/{source}`, with its path parameters.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-mappings.html
    """
    path: str = event["rawPath"]
    _, _, route = (event.get("routeKey") or "").partition(" ")
    parameters = event.get("pathParameters") or {}
    if route and all(name in parameters for name in _PARAMETER.findall(route)):
        path = _PARAMETER.sub(lambda match: parameters[match[1]], route)
    elif stage != "$default" and (path + "/").startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :]
    return path.rstrip("/") or "/"


def _unpack(packed: bytes) -> bytes:
    """Return the content of a gzip body. Raises MalformedBody or BodyTooLarge."""
    unpacked = b""
    for _ in range(MAX_GZIP_MEMBERS):
        member = zlib.decompressobj(wbits=_GZIP_FORMAT)
        try:
            unpacked += member.decompress(packed, MAX_BODY_BYTES + 1 - len(unpacked))
        except zlib.error as error:
            raise MalformedBody(RefusalCause.BAD_ENCODING, "the body is not valid gzip") from error
        if len(unpacked) > MAX_BODY_BYTES:
            raise BodyTooLarge(
                RefusalCause.BODY_TOO_LARGE,
                f"the body unpacks to more than {MAX_BODY_BYTES} bytes",
            )
        if not member.eof:
            raise MalformedBody(RefusalCause.BAD_ENCODING, "the body is not valid gzip: it is cut off")
        packed = member.unused_data
        if not packed:
            return unpacked
    raise MalformedBody(RefusalCause.BAD_ENCODING, f"the body has more than {MAX_GZIP_MEMBERS} gzip members")
