"""API Gateway's proxy event to a request of bytes and headers, and a reply back.

Payload format 2.0: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import zlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from aws_lambda_powertools.utilities.data_classes.api_gateway_proxy_event import APIGatewayProxyEventV2

from handler.model.errors import BodyTooLarge, MalformedBody

# Lambda takes 6 MB a request; a gzip body may unpack to this much, so that no small request fills the memory.
MAX_BODY_BYTES = 32 * 1024 * 1024

_GZIP_MAGIC = b"\x1f\x8b"  # no JSON text starts with it, so the bytes say more than a Content-Encoding that may be lost


class HttpRequest(NamedTuple):
    """`headers` has lower-case names; `path` has no stage and no slash at its end."""

    method: str
    path: str
    headers: Mapping[str, str]
    encoded_body: str | None
    is_base64: bool

    def body(self) -> bytes:
        """The bytes that were sent, base64 and gzip undone.

        Raises MalformedBody where they cannot be undone, BodyTooLarge where they would be too many.
        """
        encoded = self.encoded_body or ""
        try:
            body = base64.b64decode(encoded, validate=True) if self.is_base64 else encoded.encode("utf-8")
        except (binascii.Error, ValueError) as error:
            raise MalformedBody("bad_encoding", "the body is not valid base64 or UTF-8") from error
        return _unpacked(body) if body.startswith(_GZIP_MAGIC) else body


class Reply(NamedTuple):
    """An HTTP status, a JSON object and headers beside its content type."""

    status: int
    body: dict[str, Any]
    headers: Mapping[str, str] = MappingProxyType({})

    def to_proxy(self) -> dict[str, Any]:
        """What API Gateway takes from the function."""
        return {
            "statusCode": self.status,
            "headers": {"Content-Type": "application/json", **self.headers},
            "body": json.dumps(self.body),
            "isBase64Encoded": False,
        }


def read_request(event: Mapping[str, Any]) -> HttpRequest:
    """The request in API Gateway's proxy event."""
    proxy = APIGatewayProxyEventV2(dict(event))
    context = proxy.request_context
    return HttpRequest(
        method=context.http.method.upper(),
        path=_without_stage(proxy.raw_path, context.get("stage") or "$default"),
        headers=proxy.headers,
        encoded_body=proxy.body,
        is_base64=bool(proxy.is_base64_encoded),
    )


def _without_stage(path: str, stage: str) -> str:
    """A stage with a name stands in front of the path."""
    if stage != "$default" and (path + "/").startswith(f"/{stage}/"):
        path = path[len(stage) + 1 :]
    return path.rstrip("/") or "/"


def _unpacked(body: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            unpacked = packed.read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedBody("bad_encoding", "the body is not valid gzip") from error
    if len(unpacked) > MAX_BODY_BYTES:
        raise BodyTooLarge("body_too_large", f"the body unpacks to more than {MAX_BODY_BYTES} bytes")
    return unpacked
