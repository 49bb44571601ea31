"""The one module that talks to Voucherify: a request in, its answer or a typed failure out.

Sources: https://docs.voucherify.io/reference/authentication and https://docs.voucherify.io/reference/errors
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError

from handler import __version__
from mapping import Request

USER_AGENT = f"segment-voucherify-destination/{__version__}"

CONNECT_SECONDS = 1.0

MAX_ANSWER_BYTES = 64 * 1024

# Load balancers close a connection that is idle for a minute (AWS's default) or longer. One that a frozen sandbox
# has kept for longer than this is replaced before anything is sent, so that nobody must guess what became of it.
MAX_IDLE_SECONDS = 45.0


class VoucherifyError(NamedTuple):
    """Voucherify's error object; a part that is missing is empty."""

    key: str
    message: str
    details: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, headers (any casing), and Voucherify's error object where there is one."""

    status: int
    headers: Mapping[str, str]
    error: VoucherifyError | None


class NoAnswer(Exception):
    """No answer came. `code` is a reason code; `sent` says that the request may have been applied all the same."""

    def __init__(self, code: str, problem: str, *, sent: bool) -> None:
        super().__init__(code, problem)
        self.code = code
        self.problem = problem
        self.sent = sent

    def __str__(self) -> str:
        return self.problem


class VoucherifyClient:
    """Calls one Voucherify project over connections that are kept for the life of the sandbox. Thread-safe."""

    def __init__(
        self,
        api_url: str,
        api_key: str,
        api_token: str,
        *,
        connections: int,
        max_idle_seconds: float = MAX_IDLE_SECONDS,
    ) -> None:
        self._pool = urllib3.connection_from_url(api_url, maxsize=connections, max_idle_seconds=max_idle_seconds)
        self._pool.ConnectionCls = _KeptHTTPSConnection if self._pool.scheme == "https" else _KeptHTTPConnection
        self._secrets = (api_key, api_token)
        self._headers = {
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            "X-App-Id": api_key,
            "X-App-Token": api_token,
        }

    def send(self, request: Request, timeout_seconds: float) -> Answer:
        """Send one request and wait for its answer, about `timeout_seconds` at most.

        A kept connection that turns out dead is replaced at once: unnoticed where it is seen before anything is
        sent, else by sending again, once, where sending twice does no harm. Raises NoAnswer.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            return self._send(request, deadline)
        except _KeptConnectionDied:
            if not request.is_idempotent:
                raise
        return self._send(request, deadline)

    def _send(self, request: Request, deadline: float) -> Answer:
        response = self._open(request, max(deadline - time.monotonic(), 0.001))
        body = _read(response, deadline)
        is_success = 200 <= response.status < 300
        return Answer(response.status, response.headers, None if is_success else self._error_in(body))

    def _open(self, request: Request, timeout_seconds: float) -> urllib3.BaseHTTPResponse:
        body = request.to_json()
        try:
            return self._pool.urlopen(
                request.method,
                request.path,
                body=body,
                headers={**self._headers, "Content-Type": "application/json"} if body else self._headers,
                retries=False,
                redirect=False,
                timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, timeout_seconds), total=timeout_seconds),
                preload_content=False,
            )
        except (NewConnectionError, ConnectTimeoutError) as error:
            problem = f"no connection to {self._pool.host}: {type(error.__cause__ or error).__name__}"
            raise NoAnswer("voucherify_unreachable", problem, sent=False) from error
        except ReadTimeoutError as error:
            raise NoAnswer("voucherify_timeout", "no answer in time", sent=True) from error
        except ProtocolError as error:
            if isinstance(error.args[-1], _KeptConnectionDied):
                raise error.args[-1] from error
            raise _ConnectionLost from error
        except HTTPError as error:
            raise _ConnectionLost from error

    def _error_in(self, body: bytes) -> VoucherifyError | None:
        """Voucherify's error object, without our own keys should it quote them."""
        text = body.decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, "***")
        try:
            error = json.loads(text)
        except (ValueError, RecursionError):
            return None
        match error:
            case {"key": str()} | {"code": int(), "message": str()}:
                return VoucherifyError(*(_text(error.get(part)) for part in VoucherifyError._fields))
        return None


class _ConnectionLost(NoAnswer):
    def __init__(self) -> None:
        super().__init__("voucherify_connection_lost", "the connection ended without an answer", sent=True)


class _KeptConnectionDied(_ConnectionLost, ConnectionError):
    """A connection that had answered before ended without an answer: it had probably died while it was idle."""


class _KeptHTTPConnection(HTTPConnection):
    """Tells a kept connection that died from a fresh one that failed, and is not kept for too long."""

    def __init__(self, *args: Any, max_idle_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._max_idle_seconds = max_idle_seconds
        self._answered_at: float | None = None

    @property
    def is_connected(self) -> bool:
        # The wall clock: a monotonic one may stand still while the sandbox is frozen.
        idle = time.time() - (self._answered_at or 0.0)
        return super().is_connected and 0 <= idle < self._max_idle_seconds

    def connect(self) -> None:
        self._answered_at = None
        try:
            super().connect()
        except OSError as error:  # such as a TLS handshake that fails: nothing of the request has been sent
            raise NewConnectionError(self, "no connection") from error

    def getresponse(self) -> Any:
        try:
            response = super().getresponse()
        except ConnectionError as error:  # http.client's RemoteDisconnected is one
            if self._answered_at is not None:
                raise _KeptConnectionDied from error
            raise
        self._answered_at = time.time()
        return response


class _KeptHTTPSConnection(_KeptHTTPConnection, HTTPSConnection):
    pass


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    """At most MAX_ANSWER_BYTES of the body, until `deadline`; what is read whole leaves the connection fit for more.

    The status has come by then and says what became of the request: a body that breaks off changes nothing.
    """
    body = b""
    try:
        while len(body) < MAX_ANSWER_BYTES and time.monotonic() < deadline:
            part = response.read1(MAX_ANSWER_BYTES - len(body))
            if not part:
                return body
            body += part
    except HTTPError:
        pass
    response.close()
    return body


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
