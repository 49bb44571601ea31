"""A fast stub for Voucherify, with the same answer to every call, of a real answer's size. local/voucherify_stub checks
and records each call, which takes longer than the function takes to make it."""

from __future__ import annotations

import asyncio
import json
import re
import selectors
import time
from functools import partial
from multiprocessing.connection import Connection
from typing import cast

from local.bench.events import API_KEY, API_TOKEN, identify, request_for
from local.voucherify_stub.api import Request, VoucherifyApi

# Milliseconds of a call. Each has a port of its own.
LATENCIES = (0, 15, 50, 100)


def serve_voucherify(parent: Connection) -> None:
    """Serve all connections in one thread, and send the address for each latency."""
    # `select` waits to the microsecond, where `epoll` rounds up to the next millisecond.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(_listen(parent))


async def _listen(parent: Connection) -> None:
    answer = _answer()
    loop = asyncio.get_running_loop()
    urls: dict[int, str] = {}
    for latency in LATENCIES:
        server = await loop.create_server(partial(_Connection, latency / 1000, answer), "127.0.0.1", 0)
        urls[latency] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    parent.send(urls)
    await asyncio.Event().wait()


class _Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, seconds: float, answer: bytes) -> None:
        self._seconds = seconds
        self._answer = answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        length = _CONTENT_LENGTH.search(head)
        if not end or not length or len(body) < int(length[1]):
            return
        self._received = b""
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._transport.write, self._answer)
        else:
            self._transport.write(self._answer)


_CONTENT_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.IGNORECASE)


def _answer() -> bytes:
    """Return Voucherify's answer to an identify, with a rate limit that is never reached."""
    customer = request_for(identify(0))
    headers = {"X-App-Id": API_KEY, "X-App-Token": API_TOKEN, "Content-Type": "application/json"}
    body = customer.to_json() or b""
    call = Request(1, time.time(), 1, customer.method, customer.path, headers, body, customer.body)
    answer = VoucherifyApi(API_KEY, API_TOKEN).answer(call)
    if answer.status != 200:
        raise RuntimeError(f"the stub refused the bench's customer: {answer.body}")
    content = json.dumps(answer.body).encode()
    lines = [
        "HTTP/1.1 200 OK",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "X-Rate-Limit-Limit: 1000000",
        "X-Rate-Limit-Remaining: 999999",
        f"X-Rate-Limit-Retry: {int(time.time()) + 3000}",
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
