"""An HTTP/1.1 server on 127.0.0.1 whose connections can be kept, held, cut and reset on purpose.

Not built on http.server: that knows no way to end the connections it keeps, and it parses headers
with the email package, which takes as long as the whole of voucherify_api.py.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from typing import Literal

_MAX_LINE = 65_536


class Headers(Mapping[str, str]):
    """Names in any casing; the values of a repeated header are joined."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, str] = {}
        for name, value in items:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values})"


@dataclass(frozen=True)
class HttpRequest:
    method: str
    path: str
    headers: Headers
    body: bytes
    connection: int
    keep_alive: bool


@dataclass(frozen=True)
class Reply:
    """What to send; with `cut`, how to end the connection instead.

    `hold` blocks for as long as the reply is held back, and says whether it may still be sent.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    hold: Callable[[], bool] | None = None
    cut: Literal["close", "reset"] | None = None


class HttpServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Serves from construction to `close`, a daemon thread for each connection.

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
        self._closing = False
        super().__init__((host, port), _Connection)
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def close(self) -> None:
        """Stop listening, end every connection and wait until their threads are done."""
        self._closing = True
        with socket.socket() as waker:
            # Not to wait for it: where the backlog is full, the accepting thread is awake anyway.
            waker.setblocking(False)
            waker.connect_ex(("127.0.0.1", self.port))
            self._accepting.join()
        self.server_close()
        with self._changed:
            self._end_connections()
            self._changed.wait_for(lambda: not self._connections, timeout=5)

    def _accept(self) -> None:
        # Not serve_forever, which polls, and takes up to that interval to stop.
        while not self._closing:
            self.handle_request()

    def verify_request(self, request: object, client_address: object) -> bool:
        return not self._closing

    def close_connections(self) -> None:
        """End every open connection, as an impatient peer does with idle ones; keep listening."""
        with self._changed:
            self._end_connections()

    def _end_connections(self) -> None:
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def opened(self, connection: socket.socket) -> int:
        """Take note of a connection and give it its number."""
        with self._changed:
            self._connections.add(connection)
            if self._closing:  # accepted just before the listener closed
                self._end_connections()
            return next(self._numbers)

    def closed(self, connection: socket.socket) -> None:
        with self._changed:
            self._connections.discard(connection)
            self._changed.notify_all()


class _Malformed(Exception):
    pass


class _Connection(socketserver.StreamRequestHandler):
    # With Nagle's algorithm an answer can wait 40 ms for the client's delayed acknowledgement.
    disable_nagle_algorithm = True
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.number = self.server.opened(self.connection)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.closed(self.connection)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while self._serve_one():
                pass

    def _serve_one(self) -> bool:
        """Take one request; true if the connection is to be kept for the next."""
        try:
            request = self._read_request()
        except _Malformed as error:
            self._send(Reply(400, {"Connection": "close"}, str(error).encode()))
            return False
        if request is None:
            return False
        reply = self.server.respond(request)
        if reply.hold and not reply.hold():
            return False
        if reply.cut:
            if reply.cut == "reset":
                self._reset()
            return False
        return self._send(reply) and request.keep_alive

    def _read_request(self) -> HttpRequest | None:
        """None where the client has closed the connection, between two requests or within one."""
        first = self._read_line()
        if not first:
            return None
        try:
            method, path, version = first.split(" ")
        except ValueError:
            raise _Malformed("The request line is not HTTP") from None
        headers = Headers(self._read_headers())
        if "Transfer-Encoding" in headers:
            raise _Malformed("A Transfer-Encoding is not understood here, send a Content-Length")
        if headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = self._read_body(headers.get("Content-Length", "0"))
        if body is None:
            return None
        keep = version == "HTTP/1.1" and headers.get("Connection", "").lower() != "close"
        return HttpRequest(method, path, headers, body, self.number, keep)

    def _read_line(self) -> str:
        line = self.rfile.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise _Malformed("A line of the request's head is too long")
        return line.decode("latin-1").rstrip("\r\n")

    def _read_headers(self) -> Iterator[tuple[str, str]]:
        while line := self._read_line():
            name, colon, value = line.partition(":")
            if not colon:
                raise _Malformed("A header has no colon")
            yield name, value.strip()

    def _read_body(self, length: str) -> bytes | None:
        if not (length.isascii() and length.isdigit()):
            raise _Malformed("The Content-Length is not a number")
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    def _send(self, reply: Reply) -> bool:
        """Send head and body in one write; true if the reply lets the connection be kept."""
        headers = {name.lower(): (name, value) for name, value in reply.headers.items()}
        if reply.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            headers.setdefault("content-length", ("Content-Length", str(len(reply.body))))
        lines = [f"HTTP/1.1 {reply.status} {_phrase(reply.status)}"]
        lines += [f"{name}: {value}" for name, value in headers.values()]
        head = "\r\n".join(lines) + "\r\n\r\n"
        self.wfile.write(head.encode("latin-1") + reply.body)
        return headers.get("connection", ("", ""))[1].lower() != "close"

    def _reset(self) -> None:
        # To linger for no time makes close() send RST instead of FIN. The reader holds the socket
        # open until it is closed too; and it is done here because socketserver sends a FIN first.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
