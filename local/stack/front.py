"""API Gateway on this machine: real HTTP on 127.0.0.1 to `handler.app.lambda_handler` and back."""

from __future__ import annotations

import base64
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from local.stack.http_server import HttpRequest, HttpServer, Reply

FUNCTION_TIME_OUT_SECONDS = 10.0


@dataclass(frozen=True)
class Exchange:
    """One request and what the function answered, as API Gateway's events."""

    event: dict[str, Any]
    answer: dict[str, Any]
    seconds: float


class LambdaContext:
    """What the function asks Lambda of its invocation."""

    def __init__(self, seconds: float = FUNCTION_TIME_OUT_SECONDS) -> None:
        self._deadline = time.monotonic() + seconds
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = "DeliverFunction"

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._deadline - time.monotonic()) * 1000))


def proxy_event(method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """What API Gateway's HTTP API hands to the function, payload format 2.0; bytes that are no text come as base64.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    raw_path, _, query = path.partition("?")
    try:
        text, is_base64 = body.decode("utf-8"), False
    except UnicodeDecodeError:
        text, is_base64 = base64.b64encode(body).decode("ascii"), True
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": raw_path,
        "rawQueryString": query,
        "headers": {name.lower(): value for name, value in headers.items()},
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
        "body": text,
        "isBase64Encoded": is_base64,
    }


class Front:
    """Serves from construction to `close`; a taken port raises OSError. One sandbox: one request at a time."""

    def __init__(
        self,
        handler: Callable[[dict[str, Any], Any], dict[str, Any]],
        port: int = 0,
        on_exchange: Callable[[Exchange], object] | None = None,
        host: str = "127.0.0.1",
        seconds: float = FUNCTION_TIME_OUT_SECONDS,
    ) -> None:
        self._handler = handler
        self._seconds = seconds
        self._on_exchange = on_exchange
        self._sandbox = threading.Lock()
        self._server = HttpServer(port, self._respond, host=host)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _respond(self, request: HttpRequest) -> Reply:
        event = proxy_event(request.method, request.path, request.headers, request.body)
        started = time.monotonic()
        with self._sandbox:
            answer = self._invoke(event)
        if self._on_exchange:
            self._on_exchange(Exchange(event, answer, time.monotonic() - started))
        return Reply(answer["statusCode"], answer["headers"], answer["body"].encode())

    def _invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._handler(event, LambdaContext(self._seconds))
        except Exception as error:  # as API Gateway answers a function that fails
            print(f"The function failed: {error!r}")
            body = '{"message":"Internal Server Error"}'
            return {"statusCode": 500, "headers": {"Content-Type": "application/json"}, "body": body}
