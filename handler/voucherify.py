"""The one module that talks to Voucherify: a request in, its answer or a typed failure out.

Sources: https://docs.voucherify.io/reference/authentication and https://docs.voucherify.io/reference/errors
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from http.client import HTTPException
from typing import NamedTuple

from handler import __version__
from handler.connections import MAX_IDLE_SECONDS, Connections, KeptConnectionDied, NotConnected, Response
from mapping import Request

USER_AGENT = f"segment-voucherify-destination/{__version__}"

MAX_ANSWER_BYTES = 64 * 1024


class VoucherifyError(NamedTuple):
    """Voucherify's error object; a part that is missing is empty."""

    key: str
    message: str
    details: str
    request_id: str


class Answer(NamedTuple):
    """What came back: the status, headers by lower-case names, and Voucherify's error object where there is one."""

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
        self, api_url: str, api_key: str, api_token: str, *, max_idle_seconds: float = MAX_IDLE_SECONDS
    ) -> None:
        headers = {
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            "X-App-Id": api_key,
            "X-App-Token": api_token,
        }
        self._connections = Connections(api_url, headers, max_idle_seconds=max_idle_seconds)
        self._secrets = (api_key, api_token)

    def send(self, request: Request, timeout_seconds: float) -> Answer:
        """Send one request and wait for its answer, about `timeout_seconds` at most. Raises NoAnswer."""
        body = request.to_json()
        response = self.exchange(
            request.method, request.path, body, timeout_seconds, is_idempotent=request.is_idempotent
        )
        return self.answer_in(response)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        timeout_seconds: float,
        *,
        is_idempotent: bool,
        most_bytes: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """Send bytes, and read so many of the answer at most.

        A kept connection that turns out dead is replaced at once: unnoticed where it is seen before anything is
        sent, else by sending again, once, where sending twice does no harm. Raises NoAnswer.
        """
        deadline = time.monotonic() + timeout_seconds
        try:
            try:
                return self._connections.exchange(method, path, body, deadline, most_bytes)
            except KeptConnectionDied:
                if not is_idempotent:
                    raise
            return self._connections.exchange(method, path, body, deadline, most_bytes)
        except NotConnected as error:
            raise NoAnswer("voucherify_unreachable", str(error), sent=False) from error
        except TimeoutError as error:
            raise NoAnswer("voucherify_timeout", "no answer in time", sent=True) from error
        except (KeptConnectionDied, OSError, HTTPException) as error:
            problem = "the connection ended without an answer"
            raise NoAnswer("voucherify_connection_lost", problem, sent=True) from error

    def answer_in(self, response: Response) -> Answer:
        """What a response says."""
        is_success = 200 <= response.status < 300
        return Answer(response.status, response.headers, None if is_success else self._error_in(response.body))

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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
