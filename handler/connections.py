"""HTTP connections to one host, kept from call to call: `http.client`, and what it leaves to its users.

That is to tell what is not connected from what is lost, to notice what died while it was idle, and to end in time. All
else that a client may do (redirects, proxies, compression, tries) is not wanted here.
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
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
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
    """Each is one call's at a time. Thread-safe."""

    def __init__(self, url: str, *, max_idle_seconds: float = MAX_IDLE_SECONDS) -> None:
        address = urlsplit(url)
        self._host = address.hostname or ""
        self._port = address.port or (443 if address.scheme == "https" else 80)
        # One for all: to read the machine's certificates takes longer than all else that a connection needs.
        self._tls = Lazy(_tls_context) if address.scheme == "https" else None
        self._max_idle_seconds = max_idle_seconds
        self._idle: deque[tuple[HTTPConnection, float]] = deque()  # the freshest is the last one
        weakref.finalize(self, _close, self._idle)

    def exchange(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, deadline: float, most_bytes: int
    ) -> Response:
        """Send a request and read its answer, until `deadline` on the monotonic clock and at most so many bytes of it.

        Raises NotConnected, KeptConnectionDied, TimeoutError where no answer came in time, or another OSError or
        HTTPException where none came at all.
        """
        kept = self._kept()
        connection = kept or self._connected(deadline)
        try:
            connection.sock.settimeout(_left(deadline))
            with suppress(BrokenPipeError):  # who does not read a request to its end may have answered it
                connection.request(method, path, body, headers)
            response = connection.getresponse()
        except (ConnectionError, ssl.SSLError) as error:
            connection.close()
            if kept:
                raise KeptConnectionDied from error
            raise
        except BaseException:
            connection.close()
            raise
        received = _read(response, deadline, most_bytes)
        if response.isclosed() and connection.sock:
            # The wall clock: a monotonic one may stand still while the sandbox is frozen.
            self._idle.append((connection, time.time()))
        else:
            response.close()
            connection.close()
        return Response(response.status, {name.lower(): value for name, value in response.headers.items()}, received)

    def _kept(self) -> HTTPConnection | None:
        """The connection that answered last, if it still lives; what has died is closed."""
        with suppress(IndexError):
            while True:
                connection, answered_at = self._idle.pop()
                if 0 <= time.time() - answered_at < self._max_idle_seconds and not _has_news(connection.sock):
                    return connection
                connection.close()
        return None

    def _connected(self, deadline: float) -> HTTPConnection:
        timeout = min(CONNECT_SECONDS, _left(deadline))
        connection = (
            HTTPSConnection(self._host, self._port, timeout=timeout, context=self._tls())
            if self._tls
            else HTTPConnection(self._host, self._port, timeout=timeout)
        )
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:  # a handshake of TLS that failed is one, as is a name that is none
            connection.close()
            raise NotConnected(f"no connection to {self._host}: {type(error).__name__}") from error
        return connection


def _close(idle: Iterable[tuple[HTTPConnection, float]]) -> None:
    for connection, _ in idle:
        connection.close()


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _has_news(sock: socket.socket) -> bool:
    """Whether there is something to read where nothing was asked: a connection's end."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)


def _read(response: HTTPResponse, deadline: float, most_bytes: int) -> bytes:
    """What is read whole leaves the connection fit for more.

    The status has come by then and says what became of the request: a body that breaks off changes nothing.
    """
    body = b""
    with suppress(OSError, HTTPException):
        while len(body) < most_bytes and time.monotonic() < deadline:
            part = response.read1(most_bytes - len(body))
            if not part:
                break
            body += part
    if response.length == 0:  # before Python 3.12 nobody else closes it
        response.close()
    return body
