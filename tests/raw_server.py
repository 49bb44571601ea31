"""Servers that answer with given bytes, whether or not they are valid HTTP."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import suppress

# Shorter than any timeout that a test sets for a read.
PAUSE_SECONDS = 0.02


class RawServer(socketserver.ThreadingTCPServer):
    """Answers each request with the same bytes. Where it does not keep connections, it closes each after one answer."""

    daemon_threads = True

    def __init__(self, answer: bytes, *, keeps: bool) -> None:
        self.connections = 0
        self.requests = 0
        server = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                server.connections += 1
                with suppress(ConnectionError):
                    while self.read_request():
                        server.requests += 1
                        server.answer(self.request)
                        if not keeps:
                            return

            def read_request(self) -> bool:
                length = 0
                while (line := self.rfile.readline()).strip():
                    name, _, value = line.lower().partition(b":")
                    length = int(value) if name == b"content-length" else length
                return bool(self.rfile.read(length))

        self._answer = answer
        super().__init__(("127.0.0.1", 0), Connection)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def answer(self, connection: socket.socket) -> None:
        connection.sendall(self._answer)

    def close(self) -> None:
        self.shutdown()
        self.server_close()


class Dribbling(RawServer):
    """Begins its answer and never ends it. Repeats `filler`, if any, until the caller closes the connection."""

    def __init__(self, beginning: bytes, filler: bytes = b"") -> None:
        self.has_begun = threading.Event()
        self.has_ended = threading.Event()
        self._filler = filler
        super().__init__(beginning, keeps=True)

    def answer(self, connection: socket.socket) -> None:
        connection.settimeout(PAUSE_SECONDS if self._filler else None)
        try:
            super().answer(connection)
            self.has_begun.set()
            while self._waits(connection):
                connection.sendall(self._filler)
        finally:
            self.has_ended.set()

    def _waits(self, connection: socket.socket) -> bool:
        """Wait a moment. Return False where the caller has closed the connection."""
        try:
            return connection.recv(1) != b""
        except TimeoutError:
            return True
