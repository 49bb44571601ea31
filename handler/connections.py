"""HTTP connections to one host, kept from call to call. What comes back is read by `http.client`; what leaves is few
lines and a body, written here in one piece: one packet where it fits, and a third of the time that a client takes which
can do more. Redirects, proxies, compression and tries are not wanted here.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import NamedTuple
from urllib.parse import urlsplit

from handler.lazy import Lazy

CONNECT_SECONDS = 1.0

# Load balancers close a connection that is idle for a minute (AWS's default) or longer. One that a frozen sandbox
# has kept for longer than this is replaced before anything is sent, so that nobody must guess what became of it.
MAX_IDLE_SECONDS = 45.0


class NotConnected(Exception):
    """No connection came about, so nothing was sent. Says why; never a secret."""


class KeptConnectionDied(Exception):
    """A connection that had answered before ended without an answer: it had probably died while it was idle."""


class Response(NamedTuple):
    """`headers` has lower-case names; `body` may have been cut off, or have broken off."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Each is one call's at a time, and sends the same `headers` with each. Thread-safe.

    Raises ValueError for a header that is not printable ASCII.
    """

    def __init__(self, url: str, headers: Mapping[str, str], *, max_idle_seconds: float = MAX_IDLE_SECONDS) -> None:
        address = urlsplit(url)
        self._host = address.hostname or ""
        self._port = address.port or (443 if address.scheme == "https" else 80)
        always = {"Host": address.netloc, "Accept-Encoding": "identity", **headers}
        self._head = b"".join(_line(f"{name}: {value}") for name, value in always.items())
        # One for all: to read the machine's certificates takes longer than all else that a connection needs.
        self._tls = Lazy(_tls_context) if address.scheme == "https" else None
        self._max_idle_seconds = max_idle_seconds
        self._idle: deque[tuple[socket.socket, float]] = deque()  # the freshest is the last one
        weakref.finalize(self, _close, self._idle)

    def exchange(self, method: str, path: str, body: bytes | None, deadline: float, most_bytes: int) -> Response:
        """Send a request, with JSON if any, and read its answer, until `deadline` on the monotonic clock and at most so
        many bytes of it.

        Raises NotConnected, KeptConnectionDied, TimeoutError where no answer came in time, or another OSError or
        HTTPException where none came at all.
        """
        request = self._request(method, path, body)
        kept = self._kept()
        connection = kept or self._connected(deadline)
        try:
            connection.settimeout(_left(deadline))
            response = _answer(connection, method, request)
        except Exception as error:
            connection.close()
            if kept and isinstance(error, ConnectionError | ssl.SSLError):
                raise KeptConnectionDied from error
            raise
        received = _read(connection, response, deadline, most_bytes)
        if response.isclosed() and not response.will_close:
            # The wall clock: a monotonic one may stand still while the sandbox is frozen.
            self._idle.append((connection, time.time()))
        else:
            response.close()
            connection.close()
        return Response(response.status, {name.lower(): value for name, value in response.headers.items()}, received)

    def _request(self, method: str, path: str, body: bytes | None) -> bytes:
        head = _line(f"{method} {path} HTTP/1.1") + self._head
        if body is None:
            return head + (b"Content-Length: 0\r\n\r\n" if method == "POST" else b"\r\n")
        return b"%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)

    def _kept(self) -> socket.socket | None:
        """The connection that answered last, if it still lives; what has died is closed."""
        while True:
            try:
                connection, answered_at = self._idle.pop()
            except IndexError:
                return None
            if 0 <= time.time() - answered_at < self._max_idle_seconds and not _has_news(connection):
                return connection
            connection.close()

    def _connected(self, deadline: float) -> socket.socket:
        connection = None
        try:
            connection = socket.create_connection((self._host, self._port), min(CONNECT_SECONDS, _left(deadline)))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return self._tls().wrap_socket(connection, server_hostname=self._host) if self._tls else connection
        except (OSError, UnicodeError) as error:  # a handshake of TLS that failed is one, as is a name that is none
            if connection:
                connection.close()
            raise NotConnected(f"no connection to {self._host}: {type(error).__name__}") from error


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _close(idle: Iterable[tuple[socket.socket, float]]) -> None:
    for connection, _ in idle:
        connection.close()


def _line(text: str) -> bytes:
    """Raises ValueError for what is not printable ASCII: a line break would be one in HTTP too."""
    if not (text.isascii() and text.isprintable()):
        raise ValueError("no text for a line of HTTP")
    return f"{text}\r\n".encode("ascii")


def _has_news(connection: socket.socket) -> bool:
    """Whether there is something to read where nothing was asked: a connection's end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _answer(connection: socket.socket, method: str, request: bytes) -> HTTPResponse:
    with suppress(BrokenPipeError):  # who does not read a request to its end may have answered it
        connection.sendall(request)
    response = HTTPResponse(connection, method=method)
    try:
        response.begin()
    except BaseException:
        response.close()
        raise
    return response


def _read(connection: socket.socket, response: HTTPResponse, deadline: float, most_bytes: int) -> bytes:
    """What is read whole leaves the connection fit for more.

    The status has come by then and says what became of the request: a body that breaks off changes nothing.
    """
    body = b""
    with suppress(OSError, HTTPException):
        while not response.isclosed() and len(body) < most_bytes and time.monotonic() < deadline:
            connection.settimeout(_left(deadline))
            body += response.read1(most_bytes - len(body))
            if response.length == 0:  # before Python 3.12 it does not end by itself
                response.close()
    return body
