"""An HTTP/1.1 server for this machine whose connections can be kept, held, closed and reset on purpose.

Built on http.server, since werkzeug's server closes each connection after one request. Tests must see connections kept.
https://github.com/pallets/werkzeug/blob/3.1.x/src/werkzeug/serving.py
"""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from itertools import count
from typing import Literal

from urllib3 import HTTPHeaderDict


@dataclass(frozen=True)
class HttpRequest:
    """One request. Header names are in lower case and found in any; a repeated header has its values joined."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass(frozen=True)
class Reply:
    """The answer to a request. With `cut`, the connection ends without an answer.

    `hold` blocks for as long as the answer is held back, and returns whether it may still be sent.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: Callable[[], bool] | None = None
    cut: Literal["close", "reset"] | None = None


class HttpServer(socketserver.ThreadingTCPServer):
    """Serves from construction to `close`, with a thread for each connection. Raises OSError for a taken port.

    `numbers` gives each connection its number, so that a restarted server need not begin at 1.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        port: int,
        respond: Callable[[HttpRequest], Reply],
        numbers: Iterator[int] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.respond = respond
        self._numbers = numbers or count(1)
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._is_closing = False
        super().__init__((host, port), _Connection)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        """Stop listening, end every connection and wait until their threads are done."""
        self._is_closing = True
        with socket.socket() as waker:
            # Without waiting: where the backlog is full, the accepting thread is awake anyway.
            waker.setblocking(False)
            waker.connect_ex(("127.0.0.1", self.port))
            self._accepting.join()
        self.server_close()
        self.close_connections()
        with self._changed:
            self._changed.wait_for(lambda: not self._connections, timeout=5)

    def close_connections(self) -> None:
        """End every open connection, as a peer does with idle ones. Keep listening."""
        with self._changed:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def verify_request(self, request: object, client_address: object) -> bool:
        return not self._is_closing

    def opened(self, connection: socket.socket) -> int:
        """Register a connection and return its number."""
        with self._changed:
            self._connections.add(connection)
        if self._is_closing:  # accepted just before the listener closed
            self.close_connections()
        return next(self._numbers)

    def closed(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()

    def _accept(self) -> None:
        # Not serve_forever, which polls, and takes up to that interval to stop.
        while not self._is_closing:
            self.handle_request()


class _Connection(BaseHTTPRequestHandler):
    server: HttpServer
    protocol_version = default_request_version = "HTTP/1.1"
    # With Nagle's algorithm an answer can wait 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one write

    def setup(self) -> None:
        super().setup()
        self._number = self.server.opened(self.connection)

    def finish(self) -> None:
        with suppress(ConnectionError):
            super().finish()
        self.server.closed(self.connection)

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def handle_expect_100(self) -> bool:
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Return the method that http.server calls for a request, whatever its HTTP method is."""
        if name.startswith("do_"):
            return self._take_request
        raise AttributeError(name)

    def _take_request(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if self.headers.defects or "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.send_error(400, explain="Send well-formed headers, and the body with a Content-Length")
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):  # the client has closed the connection
            self.close_connection = True
            return
        headers = HTTPHeaderDict()
        for name, value in self.headers.items():
            headers.add(name.lower(), value.strip(), combine=True)
        self._answer(self.server.respond(HttpRequest(self.command, self.path, headers, body, self._number)))

    def _answer(self, reply: Reply) -> None:
        if reply.hold and not reply.hold():
            self.close_connection = True
        elif reply.cut:
            self.close_connection = True
            if reply.cut == "reset":
                self._reset()
        else:
            headers = HTTPHeaderDict()
            for name, value in reply.headers.items():
                headers[name] = value  # the last one, whatever its casing
            if reply.status not in {204, 304}:
                headers.setdefault("Content-Length", str(len(reply.body)))
            self.send_response_only(reply.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

    def _reset(self) -> None:
        # With no time to linger, close() sends RST instead of FIN, once the files that use the socket are closed too.
        # Closed here, because socketserver sends a FIN first.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.wfile = BytesIO()  # http.server still flushes and closes it
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Write nothing: the requests are recorded by those who run the server."""
