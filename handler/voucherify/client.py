"""The one module that calls Voucherify: it sends a request, and returns the answer or raises NoAnswer.

https://docs.voucherify.io/reference/authentication and https://docs.voucherify.io/reference/errors
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from http.client import HTTPException
from socket import SHUT_RDWR, socket
from typing import Any, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError, ReadTimeoutError

from handler import __version__
from handler.model.deadline import Deadline
from handler.model.reason_codes import ReasonCode
from handler.threads import GivenUp
from mapping import Request

USER_AGENT = f"segment-voucherify-destination/{__version__}"

CONNECT_SECONDS = 1.0

MAX_ANSWER_BYTES = 64 * 1024

# Load balancers close a connection that is idle for a minute (AWS's default) or longer. A connection that was idle for
# this long, perhaps while Lambda had frozen the execution environment, is replaced before anything is sent: otherwise
# nobody could say whether the request was applied.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#connection-idle-timeout
MAX_IDLE_SECONDS = 45.0


class VoucherifyError(NamedTuple):
    """Voucherify's error object; a part that is missing is empty."""

    key: str
    message: str
    details: str
    request_id: str


class Answer(NamedTuple):
    """An answer: its status, its headers (any casing), and Voucherify's error object where there is one.

    `problem` is the text of an error that is not Voucherify's own object, but that of a server in front of it.
    """

    status: int
    headers: Mapping[str, str]
    error: VoucherifyError | None
    problem: str = ""


class Response(NamedTuple):
    """An answer with its body, which may be cut off or incomplete."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """No answer came. `sent`: the request may have been applied all the same."""

    def __init__(self, code: ReasonCode, problem: str, *, sent: bool) -> None:
        super().__init__(code, problem)
        self.code = code
        self.problem = problem
        self.sent = sent

    def __str__(self) -> str:
        return self.problem


class Call:
    """One call in progress, shared by the thread that makes it and the caller that waits for it. Thread-safe."""

    # One lock for all calls, since a connection passes from one call to the next.
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._is_given_up = False
        self._host = ""
        self._connection: _KeptHTTPConnection | None = None
        self._is_sent = False
        self._only_reads = False
        self._answer: Answer | None = None

    def begin(self, host: str, *, only_reads: bool = False) -> None:
        """Record that the call is made, or made once more. Raises GivenUp."""
        with self._lock:
            self._check()
            self._host, self._connection, self._is_sent, self._answer = host, None, False, None
            self._only_reads = only_reads

    def reopen(self) -> None:
        """Record that the answer, which has changed nothing, is not the last: another call follows. Raises GivenUp."""
        with self._lock:
            self._check()
            self._host, self._answer = "", None

    def connect_by(self, connection: _KeptHTTPConnection) -> None:
        """Record the connection that is made for the call. Raises GivenUp."""
        with self._lock:
            self._check()
            self._connection, connection.call = connection, self

    def send_over(self, connection: _KeptHTTPConnection) -> None:
        """Record that bytes of the request leave from here on. Raises GivenUp."""
        with self._lock:
            self._check()
            self._connection, connection.call = connection, self
            self._is_sent = True

    def answered(self, answer: Answer) -> None:
        """Record the answer, as far as it has come."""
        with self._lock:
            self._answer = answer

    def give_up(self) -> Answer | NoAnswer | None:
        """End the call. Return the answer that has come, or why none has; None where nothing was to be changed yet."""
        with self._lock:
            self._is_given_up = True
            connection = self._connection
            if connection and connection.call is self:
                connection.shut_down()
            if self._only_reads:
                return None
            if self._answer or not self._host:
                return self._answer
            return _unanswered() if self._is_sent else _unreachable(self._host, "not connected in time")

    def _check(self) -> None:
        if self._is_given_up:
            raise GivenUp


# The call that a thread makes. urllib3 hands nothing of a request on to the connection that it chooses.
_CALL: ContextVar[Call] = ContextVar("call")


class VoucherifyClient:
    """Calls one Voucherify project over kept connections. Thread-safe."""

    def __init__(
        self,
        api_url: str,
        api_key: str,
        api_token: str,
        *,
        connections: int = 1,
        max_idle_seconds: float = MAX_IDLE_SECONDS,
    ) -> None:
        options: dict[str, Any] = {"maxsize": connections, "max_idle_seconds": max_idle_seconds}
        if api_url.startswith("https:"):
            # One for all connections: loading the certificates takes longer than the rest of a handshake.
            options["ssl_context"] = ssl.create_default_context()
        self._pool = urllib3.connection_from_url(api_url, **options)
        self._pool.ConnectionCls = _KeptHTTPSConnection if self._pool.scheme == "https" else _KeptHTTPConnection
        # The longer one first: it may contain the other.
        self._secrets = sorted((api_key, api_token), key=len, reverse=True)
        self._headers = {
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            "X-App-Id": api_key,
            "X-App-Token": api_token,
        }
        self._json_headers = {**self._headers, "Content-Type": "application/json"}

    def send(self, request: Request, deadline: Deadline, call: Call | None = None) -> Answer:
        """Send one request and return its answer.

        The deadline sets the time-outs of the socket. A peer can outlast them: then only `call.give_up` ends the call.
        Raises NoAnswer, or GivenUp where the call was given up.
        """
        body = request.to_json()
        response = self.exchange(
            request.method, request.path, body, deadline, is_idempotent=request.is_idempotent, call=call
        )
        return self.answer_in(response)

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        deadline: Deadline,
        *,
        is_idempotent: bool,
        most_bytes: int = MAX_ANSWER_BYTES,
        call: Call | None = None,
    ) -> Response:
        """Send a body, and return the answer with at most `most_bytes` of its body.

        A kept connection that turns out to be dead is replaced: always where nothing was sent over it; otherwise once,
        where sending the request twice does no harm. Raises as `send` does.
        """
        call = call or Call()
        _CALL.set(call)
        may_repeat = is_idempotent
        response = None
        while response is None:
            call.begin(self._pool.host, only_reads=method == "GET")
            try:
                with self._errors_as_no_answer():
                    response = self._pool.urlopen(
                        method,
                        path,
                        body,
                        self._json_headers if body else self._headers,
                        retries=False,
                        redirect=False,
                        timeout=_timeout(deadline),
                        preload_content=False,
                    )
            except _KeptConnectionDied:
                if not may_repeat:
                    raise
                may_repeat = False
        call.answered(Answer(response.status, response.headers, None))
        return Response(response.status, response.headers, _read(response, deadline, most_bytes))

    def answer_in(self, response: Response) -> Answer:
        """Return a response as an answer."""
        if 200 <= response.status < 300:
            return Answer(response.status, response.headers, None)
        return Answer(response.status, response.headers, *self._error_in(response.body))

    @contextmanager
    def _errors_as_no_answer(self) -> Iterator[None]:
        """Raise urllib3's errors as NoAnswer."""
        try:
            yield
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise _unreachable(self._pool.host, type(error.__cause__ or error).__name__) from error
        except ReadTimeoutError as error:
            raise _unanswered() from error
        except ProtocolError as error:
            cause = error.args[-1]
            if isinstance(cause, _KeptConnectionDied):
                raise cause from error
            if isinstance(cause, TimeoutError):  # of sending
                raise _unanswered() from error
            raise _ConnectionLost from error
        except HTTPError as error:
            raise _ConnectionLost from error

    def _error_in(self, body: bytes) -> tuple[VoucherifyError | None, str]:
        """Return Voucherify's error object, or the text of another server's. Our own credentials are masked in both."""
        try:
            found = json.loads(body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None, ""
        match found:
            case {"key": str()} | {"code": int(), "message": str()}:
                return VoucherifyError(*(self._text(found.get(part)) for part in VoucherifyError._fields)), ""
            # As published for 413: https://docs.voucherify.io/api-reference/customers/update-customers-in-bulk
            case {"statusCode": int(), "message": str()}:
                return None, " ".join(filter(None, map(self._text, (found.get("error"), found["message"]))))
        return None, ""

    def _text(self, value: object) -> str:
        """Return a text without our credentials, should it quote them; empty for anything but a text."""
        if not isinstance(value, str):
            return ""
        for secret in self._secrets:
            value = value.replace(secret, "***")
        return value


def _timeout(deadline: Deadline) -> urllib3.Timeout:
    seconds = max(deadline.seconds_left, 0.001)
    return urllib3.Timeout(connect=min(CONNECT_SECONDS, seconds), total=seconds)


def _unanswered() -> NoAnswer:
    return NoAnswer(ReasonCode.VOUCHERIFY_TIMEOUT, "no answer in time", sent=True)


def _unreachable(host: str, why: str) -> NoAnswer:
    return NoAnswer(ReasonCode.VOUCHERIFY_UNREACHABLE, f"no connection to {host}: {why}", sent=False)


class _ConnectionLost(NoAnswer):
    def __init__(self) -> None:
        super().__init__(ReasonCode.VOUCHERIFY_CONNECTION_LOST, "the connection ended without an answer", sent=True)


class _KeptConnectionDied(_ConnectionLost, ConnectionError):
    """A connection that had answered before ended without an answer: it probably died while it was idle."""


class _KeptHTTPConnection(HTTPConnection):
    """A connection with a maximum idle time. It tells a kept connection that died from a new one that failed."""

    def __init__(self, *args: Any, max_idle_seconds: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.call: Call | None = None  # the last one that it was used for
        self._max_idle_seconds = max_idle_seconds
        self._answered_at: float | None = None

    @property
    def is_connected(self) -> bool:
        """Whether another request can be sent: urllib3 asks a kept connection before it uses it."""
        # The wall clock: a monotonic one may stand still while Lambda has frozen the execution environment.
        idle = time.time() - (self._answered_at or 0.0)
        return super().is_connected and 0 <= idle < self._max_idle_seconds

    def connect(self) -> None:
        self._answered_at = None
        _CALL.get().connect_by(self)
        try:
            super().connect()
        except (OSError, UnicodeError) as error:  # a TLS handshake that fails, a name that is none: nothing was sent
            raise NewConnectionError(self, "no connection") from error

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is None:
            self.connect()
        _CALL.get().send_over(self)
        super().request(*args, **kwargs)

    def shut_down(self) -> None:
        """End the connection while another thread uses it, and wake that thread; `close` would not wake it."""
        with suppress(OSError):
            if self.sock:
                socket.shutdown(self.sock, SHUT_RDWR)  # not the TLS connection's own, which changes it meanwhile

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override] # as urllib3 itself has it
        try:
            response = super().getresponse()
        except (ConnectionError, ssl.SSLError) as error:  # http.client's RemoteDisconnected is one
            if self._answered_at is not None:
                raise _KeptConnectionDied from error
            raise
        if response.status < 200:
            # http.client takes each status but 100 for the answer. The real one is still to come, and must not be
            # taken for the next request's: https://www.rfc-editor.org/rfc/rfc9110#name-informational-1xx
            raise HTTPException(f"the interim status {response.status}")
        self._answered_at = time.time()
        return response


class _KeptHTTPSConnection(_KeptHTTPConnection, HTTPSConnection):
    pass


def _read(response: urllib3.BaseHTTPResponse, deadline: Deadline, most_bytes: int) -> bytes:
    """Return the part of the body that comes before the deadline; the connection is kept where that is all of it.

    An incomplete body changes nothing: the status has come.
    """
    body = b""
    with suppress(HTTPError, OSError, ValueError):  # a connection that another thread closes raises ValueError too
        while len(body) < most_bytes and deadline.seconds_left > 0:
            part = response.read1(most_bytes - len(body))
            if not part:
                return body
            body += part
    response.close()
    return body
