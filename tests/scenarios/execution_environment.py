"""An execution environment in a process of its own, which can be killed at any moment."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Literal

from local.stack.front import LambdaContext
from local.stack.output import Output
from tests.outputs import show

Function = Literal["app", "redelivery"]

# Forked from a process that has imported the function, it starts in a tenth of a second.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.scenarios.preload", __name__])


class Killed(Exception):
    """The process ended before it answered."""


class ExecutionEnvironment:
    """A process that runs one function. It starts with the first invocation, and again after it was killed."""

    def __init__(self, function: Function, environment: Mapping[str, str]) -> None:
        self._output = Output()
        show(f"execution environment {function}", self._output)
        self._function = function
        self._environment = dict(environment)
        self._process: Any = None
        self._pipe: Connection[Any, Any] | None = None

    def invoke(self, event: dict[str, Any], seconds: float) -> dict[str, Any]:
        """Return the answer of the function. Raises Killed, and RuntimeError where the function raised."""
        if self._pipe is None:
            self._start()
        assert self._pipe
        try:
            self._pipe.send((event, seconds))
            kind, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            self.stop()
            raise Killed from error
        if kind == "raised":
            raise RuntimeError(answer)
        result: dict[str, Any] = answer
        return result

    def kill(self) -> None:
        """Send SIGKILL, from any thread: no line of the function runs after it."""
        self._process.kill()

    def stop(self) -> None:
        """End the process. The next invocation starts cold."""
        if self._pipe:
            self._pipe.close()
            self._process.kill()
            self._process.join()
            self._process.close()
        self._process = self._pipe = None

    def _start(self) -> None:
        self._pipe, far_end = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(
            target=_serve, args=(far_end, self._function, self._environment, self._output.path)
        )
        self._process.start()
        far_end.close()


@contextmanager
def execution_environment(function: Function, environment: Mapping[str, str]) -> Iterator[ExecutionEnvironment]:
    process = ExecutionEnvironment(function, environment)
    try:
        yield process
    finally:
        process.stop()


def _serve(pipe: Connection[Any, Any], function: Function, environment: Mapping[str, str], output: str) -> None:
    os.environ.update(environment)
    with open(output, "ab") as written:
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
    if function == "app":
        from handler.app import lambda_handler
    else:
        from handler.redelivery import lambda_handler
    while True:
        try:
            event, seconds = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(("answered", lambda_handler(event, LambdaContext(seconds))))
        except Exception as error:
            traceback.print_exc()
            pipe.send(("raised", repr(error)))
