"""A stub for Voucherify on this machine: the published API over real HTTP, with faults.

    with VoucherifyStub(api_key="id", api_token="token") as voucherify:
        voucherify.next(Fault(503), None)    # the next call fails, the one after it does not
        ...                                  # call voucherify.url
        assert voucherify.customers["user-1"]["email"] == "ada@example.com"

The API is in api.py, HTTP in local/stack/http_server.py. This module decides which call gets which fault, and records
the calls.
"""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self

from local.stack.http_server import HttpRequest, HttpServer, Reply
from local.voucherify_stub.api import Answer, Api, RateLimit, Request, RowRule, VoucherifyApi
from local.voucherify_stub.schemas import Json, error_object, parse_json

__all__ = ["Call", "Fault", "RateLimit", "Request", "VoucherifyStub"]


@dataclass(frozen=True)
class Fault:
    """A change of the normal answer to a call.

    A `status` outside 2xx and a drop "before" do not apply the call. A drop "after", a 2xx status, a `body`, `headers`
    and a `delay` do. The call is applied before the delay, so a client that stops waiting cannot know.

    A `body` of bytes or text is sent unchanged, any other as JSON. Without one, a status from 400 up has Voucherify's
    error object, a 2xx the normal body, a 3xx none. `headers` override the stub's own: a Content-Length that is too
    large, with `Connection: close`, truncates the answer.
    """

    status: int | None = None
    body: bytes | str | Json | list[Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    drop: Literal["before", "after"] | None = None
    reset: bool = False  # drop with a TCP reset instead of an orderly close

    def __post_init__(self) -> None:
        if self.drop and (self.status is not None or self.body is not None or self.headers):
            raise ValueError("A dropped call gets no answer: give a Fault an answer or a drop")
        if self.reset and not self.drop:
            raise ValueError("reset is a way to drop a call: give the Fault a drop too")

    @property
    def applies(self) -> bool:
        if self.drop:
            return self.drop == "after"
        return self.status is None or 200 <= self.status < 300


@dataclass(frozen=True)
class Call(Request):
    """A call and its result. `status` is None where it was dropped without an answer."""

    status: int | None
    answer: bytes
    applied: bool
    fault: Fault | None


Rule = Callable[[Request], Fault | None]


class VoucherifyStub:
    """Runs from `start` to `stop`, or in a `with`. Raises OSError for a taken port.

    A call is decided, applied and recorded under one lock before its answer is sent, so a client that has the answer
    finds the call in `calls`. `rule` and `on_call` run under that lock too, in the order of the calls, so they may
    count. They must not block or call the stub over HTTP. `stop` and `reset` raise their exceptions.
    """

    def __init__(
        self,
        *,
        api_key: str,
        api_token: str,
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Callable[[], float] = time.time,
        limit: RateLimit | None = None,
        on_call: Callable[[Call], object] | None = None,
        api: Api | None = None,
    ) -> None:
        """Start with an API in memory, or with `api`, which `reset` does not renew."""
        self.rule: Rule | None = None
        # Decides which rows of a bulk call or an import fail. `reset` removes it, like the rule.
        self.row_rule: RowRule | None = None
        # The project's metadata schemas, as `metadata_schema` makes them. `reset` removes them too.
        self.metadata_schemas: list[Json] = []
        self.on_call = on_call
        self._port = port
        self._host = host
        self._clock = clock
        self._new_api: Callable[[], Api] = lambda: (
            api or VoucherifyApi(api_key, api_token, limit, self._row_fails, lambda: self.metadata_schemas)
        )
        self._server: HttpServer | None = None
        self._connection_numbers = count(1)
        # Reentrant, so that a rule may look at what has been recorded.
        self._changed = threading.Condition(threading.RLock())
        self._api = self._new_api()
        self._calls: list[Call] = []
        self._queue: deque[Fault | None] = deque()
        self._abandoned = threading.Event()
        self._failure: Exception | None = None

    def start(self) -> Self:
        """Listen, after a stop on the same port."""
        self._server = HttpServer(self._port, self._respond, self._connection_numbers, self._host)
        self._port = self._server.port
        return self

    def stop(self) -> None:
        """Close every connection and drop the delayed answers. The records stay."""
        self._drop_delayed_answers()
        if self._server:
            self._server.close()
            self._server = None
        self._raise_failure()

    def reset(self) -> None:
        """Start afresh on the same connections, and drop the delayed answers."""
        with self._changed:
            self._drop_delayed_answers()
            self._api = self._new_api()
            self._calls = []
            self._queue.clear()
            self.rule = None
            self.row_rule = None
            self.metadata_schemas = []
        self._raise_failure()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        if not self._port:
            raise RuntimeError("The stub has no port before it is started")
        return f"http://127.0.0.1:{self._port}"

    def next(self, *faults: Fault | None) -> None:
        """Set the faults of the next calls, None for a normal answer. After them the rule decides again."""
        with self._changed:
            self._queue.extend(faults)

    def finish_actions(self) -> None:
        """Process the asynchronous actions of all calls so far, whether anybody polls them or not."""
        with self._changed:
            if self._calls:
                self._api.finish_actions(self._calls[-1])

    def close_connections(self) -> None:
        """Close the kept connections, as happens to a client that was frozen."""
        if self._server:
            self._server.close_connections()

    @property
    def calls(self) -> list[Call]:
        with self._changed:
            return list(self._calls)

    @property
    def customers(self) -> dict[str, Json]:
        """The customers by source_id, or by id where a customer has none."""
        with self._changed:
            return dict(self._api.customers)

    @property
    def events(self) -> list[Json]:
        """The bodies of the applied events in their order."""
        with self._changed:
            return list(self._api.events)

    @property
    def orders(self) -> dict[str, Json]:
        """The orders by source_id, or by id where an order has none."""
        with self._changed:
            return dict(self._api.orders)

    def wait_for_calls(self, count: int, timeout: float = 60.0) -> bool:
        """Wait until that many calls are recorded, for a client that does not wait for its answer."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._calls) >= count, timeout)

    def _respond(self, http: HttpRequest) -> Reply:
        parsed = parse_json(http.body)
        try:
            with self._changed:
                return self._take(http, parsed)
        except Exception as error:
            # A mistake in a rule must not look like a dropped connection.
            self._failure = self._failure or error
            return Reply(cut="close")

    def _take(self, http: HttpRequest, parsed: Any) -> Reply:
        request = Request(
            number=len(self._calls) + 1,
            at=self._clock(),
            connection=http.connection,
            method=http.method,
            path=http.path,
            headers=http.headers,
            body=http.body,
            json=parsed,
        )
        fault = self._fault_for(request)
        normal = self._api.answer(request) if fault is None or fault.applies else None
        reply = self._reply(request, fault, normal)
        call = Call(
            **vars(request),
            status=None if reply.cut else reply.status,
            answer=reply.body,
            applied=normal is not None and normal.status < 300,
            fault=fault,
        )
        self._calls.append(call)
        self._changed.notify_all()
        if self.on_call:
            self.on_call(call)
        return reply

    def _row_fails(self, row: Json) -> str | None:
        return self.row_rule(row) if self.row_rule else None

    def _fault_for(self, request: Request) -> Fault | None:
        if self._queue:
            return self._queue.popleft()
        return self.rule(request) if self.rule else None

    def _reply(self, request: Request, fault: Fault | None, normal: Answer | None) -> Reply:
        fault = fault or _NO_FAULT
        hold = self._hold(fault.delay) if fault.delay else None
        if fault.drop:
            return Reply(hold=hold, cut="reset" if fault.reset else "close")
        status = fault.status or (normal.status if normal else 500)
        media_type, body = _body(request, fault, status, normal)
        refused = normal is not None and normal.status == 429
        headers = {"Content-Type": media_type, **self._api.limit_headers(request.at, refused)}
        return Reply(status, {**headers, **fault.headers}, body, hold)

    def _hold(self, seconds: float) -> Callable[[], bool]:
        abandoned = self._abandoned
        return lambda: not abandoned.wait(seconds)

    def _drop_delayed_answers(self) -> None:
        with self._changed:
            self._abandoned.set()
            self._abandoned = threading.Event()

    def _raise_failure(self) -> None:
        failure, self._failure = self._failure, None
        if failure:
            raise failure


_NO_FAULT = Fault()


def _body(request: Request, fault: Fault, status: int, normal: Answer | None) -> tuple[str, bytes]:
    content: object = b""
    if fault.body is not None:
        content = fault.body
    elif normal and status != HTTPStatus.NO_CONTENT:
        content = normal.body
    elif status >= 400:
        content = error_object(status, request.request_id)
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        return "text/plain; charset=utf-8", content
    return "application/json", json.dumps(content).encode()
