"""API Gateway on this machine: real HTTP on 127.0.0.1 to `handler.app.lambda_handler` and back."""

from __future__ import annotations

import base64
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from local.stack.http_server import HttpRequest, HttpServer, Reply

FUNCTION_TIME_OUT_SECONDS = 10.0

# AWS documents that the body of a binary content type is in base64, and not which types are binary. Observed on AWS:
# every other one, and a body without a content type. https://github.com/ministackorg/ministack/pull/766
_TEXT = re.compile(r"text/.+|application/(json|xml|javascript)")


@dataclass(frozen=True)
class Exchange:
    """One request and the function's answer, as API Gateway's events."""

    event: dict[str, Any]
    answer: dict[str, Any]
    seconds: float


class LambdaContext:
    """The part of Lambda's context object that the function uses."""

    def __init__(self, seconds: float = FUNCTION_TIME_OUT_SECONDS) -> None:
        self._deadline = time.monotonic() + seconds
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = "DeliverFunction"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._deadline - time.monotonic()) * 1000))


def proxy_event(method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return API Gateway's event for an HTTP API, payload format 2.0. The content type decides about base64.

    What becomes of a body of text that is no UTF-8, such as gzip sent as application/json, is not documented. Here it
    cannot be read any more.
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    raw_path, _, query = path.partition("?")
    lower = {name.lower(): value for name, value in headers.items()}
    is_text = _TEXT.fullmatch(lower.get("content-type", "").partition(";")[0].strip().lower())
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": lower,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": "127.0.0.1",
            "http": {
                "method": method,
                "path": raw_path,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": body.decode("utf-8", "replace") if is_text else base64.b64encode(body).decode("ascii"),
        "isBase64Encoded": not is_text,
    }


@contextmanager
def front(
    handler: Callable[[dict[str, Any], Any], dict[str, Any]],
    port: int = 0,
    on_exchange: Callable[[Exchange], object] | None = None,
    host: str = "127.0.0.1",
    seconds: float = FUNCTION_TIME_OUT_SECONDS,
) -> Iterator[str]:
    """Serve the HTTP API before a function and yield its URL. Raises OSError for a taken port.

    There is one execution environment, so one request at a time.
    """
    execution_environment = threading.Lock()

    def respond(request: HttpRequest) -> Reply:
        event = proxy_event(request.method, request.path, request.headers, request.body)
        started = time.monotonic()
        with execution_environment:
            answer = _invoke(handler, event, seconds)
        if on_exchange:
            on_exchange(Exchange(event, answer, time.monotonic() - started))
        return Reply(answer["statusCode"], answer["headers"], answer["body"].encode())

    with closing(HttpServer(port, respond, host=host)) as server:
        yield f"http://127.0.0.1:{server.port}"


def _invoke(
    handler: Callable[[dict[str, Any], Any], dict[str, Any]], event: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Return the function's answer, or API Gateway's where the function fails."""
    try:
        return handler(event, LambdaContext(seconds))
    except Exception as error:
        print(f"The function failed: {error!r}")
        body = '{"message":"Internal Server Error"}'
        return {"statusCode": 500, "headers": {"Content-Type": "application/json"}, "body": body}
