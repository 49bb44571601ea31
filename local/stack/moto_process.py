"""moto's server in a process of its own, with a control channel for tests.

`python -m local.stack.moto_process HOST PORT DESCRIPTOR` sends its port over the connection that it inherits as
DESCRIPTOR. Then it receives commands, each a name in `_COMMANDS` and its arguments, and sends each result. It ends
with the connection, so it never outlives the process that started it.
"""

from __future__ import annotations

import gc
import logging
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

from moto import backends
from moto.dynamodb.models import dynamodb_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from moto.sqs.models import Message, sqs_backends
from moto.ssm.models import ssm_backends
from werkzeug.serving import make_server

from local.stack.moto import StoredMessage


def _messages(queue: str) -> list[Message]:
    messages: list[Message] = sqs_backends["123456789012"]["eu-west-1"].queues[queue]._messages
    return messages


def _list_messages(queue: str) -> list[StoredMessage]:
    """Return the messages of a queue, the hidden ones too."""
    return [
        StoredMessage(message.id, message.body, message.visible_at / 1000, message.delayed_until / 1000)
        for message in _messages(queue)
    ]


def _advance(queue: str, seconds: float) -> None:
    """Make each message of a queue visible that much sooner."""
    for message in _messages(queue):
        message.visible_at -= seconds * 1000
        message.delayed_until -= seconds * 1000


def _set_age(queue: str, seconds: float) -> None:
    """Make each message of a queue that old."""
    for message in _messages(queue):
        message.sent_timestamp = int((time.time() - seconds) * 1000)  # type: ignore[assignment] # None until sent


def _age(queue: str, seconds: float) -> None:
    """Make each message of a queue that much older."""
    for message in _messages(queue):
        message.sent_timestamp -= int(seconds * 1000)  # type: ignore[assignment,operator] # None until sent


def _empty(queue: str) -> None:
    """Delete the messages of a queue, the hidden ones too. SQS allows a purge only once a minute."""
    _messages(queue).clear()


_copied_parameters: dict[str, Any] = {}


def _keep_parameters() -> None:
    """Take a copy of the parameters in SSM."""
    _copied_parameters.update({name: list(versions) for name, versions in _parameters().items()})


def _restore_parameters() -> None:
    """Replace the parameters in SSM by the copy."""
    parameters = _parameters()
    parameters.clear()
    parameters.update({name: list(versions) for name, versions in _copied_parameters.items()})


def _parameters() -> Any:
    return ssm_backends["123456789012"]["eu-west-1"]._parameters


def _freeze() -> None:
    """Exempt all objects from garbage collection, since a full collection would delay a call."""
    gc.collect()
    gc.freeze()


def _items(table: str) -> Any:
    return dynamodb_backends["123456789012"]["eu-west-1"].tables[table].items


def _empty_table(table: str) -> None:
    """Delete the items of a table."""
    _items(table).clear()


def _advance_table(table: str, seconds: float) -> None:
    """Make each idempotency record of a table expire that much sooner, and what a project's state says end sooner."""
    for item in _items(table).values():
        for moment in ("expiration", "in_progress_expiration", "closedUntil", "waitingSince", "waitingUntil"):
            if moment in item.attrs:
                units = seconds * 1000 if moment == "in_progress_expiration" else seconds
                moved = float(item.attrs[moment].value) - units
                item.attrs[moment].value = str(round(moved) if "expiration" in moment else moved)


_late_seconds: dict[str, float] = {}


def _answer_late(service: str, seconds: float) -> None:
    """Hold back each answer of a service that long. `service` is its name in X-Amz-Target, such as `DynamoDB`."""
    _late_seconds[service] = seconds


_COMMANDS: dict[str, Callable[..., Any]] = {
    "list_messages": _list_messages,
    "advance": _advance,
    "set_age": _set_age,
    "age": _age,
    "empty": _empty,
    "keep_parameters": _keep_parameters,
    "restore_parameters": _restore_parameters,
    "freeze": _freeze,
    "empty_table": _empty_table,
    "advance_table": _advance_table,
    "answer_late": _answer_late,
}


class _Application(DomainDispatcherApplication):
    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        answer = super().__call__(environ, start_response)
        service = environ.get("HTTP_X_AMZ_TARGET", "").partition("_")[0]
        time.sleep(_late_seconds.get(service, 0.0))  # nothing is sent before this returns
        return answer


class _Handler(MotoRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes. With Nagle's algorithm the body would wait for the head's acknowledgement.
    disable_nagle_algorithm = True


# moto lists the folder of its backends at every call.
backends.list_of_moto_modules = partial(iter, tuple(backends.list_of_moto_modules()))


def main(host: str, port: int, parent: Connection[Any, Any]) -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs a line for each call
    app = _Application(create_backend_app)
    server = make_server(host, port, app, threaded=True, request_handler=_Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    parent.send(server.port)
    while True:
        try:
            name, *arguments = parent.recv()
        except EOFError:
            return
        parent.send(_COMMANDS[name](*arguments))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Connection(int(sys.argv[3])))
