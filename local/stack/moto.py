"""moto's process: its start, its control channel and its end."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from local.stack.output import Output

ROOT = Path(__file__).parents[2]

START_SECONDS = 120.0


class MotoFailed(Exception):
    """moto did not start, or has ended. The text is its output."""


@dataclass(frozen=True)
class StoredMessage:
    """A message of a queue, visible or not. Times are seconds since the epoch."""

    message_id: str
    body: str
    visible_at: float
    delayed_until: float


class Moto:
    """Runs from construction to `close`. Raises MotoFailed where it does not start, for example for a taken port."""

    def __init__(self, host: str, port: int) -> None:
        self.output = Output()
        self._lock = Lock()
        self._channel, far_end = multiprocessing.Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.stack.moto_process", host, str(port), str(far_end.fileno())],
            cwd=ROOT,
            pass_fds=[far_end.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=self.output.fileno(),
            stderr=self.output.fileno(),
            process_group=0,  # Ctrl-C ends the process that started it, which still needs moto then
        )
        far_end.close()
        if not self._channel.poll(START_SECONDS):
            self._process.kill()
        self.port: int = self._receive()

    def messages(self, queue: str) -> list[StoredMessage]:
        """Return the messages of a queue, the hidden ones too."""
        messages: list[StoredMessage] = self._command("list_messages", queue)
        return messages

    def advance(self, queue: str, seconds: float) -> None:
        """Make each message of a queue visible that much sooner."""
        self._command("advance", queue, seconds)

    def set_age(self, queue: str, seconds: float) -> None:
        """Make each message of a queue that old."""
        self._command("set_age", queue, seconds)

    def age(self, queue: str, seconds: float) -> None:
        """Make each message of a queue that much older."""
        self._command("age", queue, seconds)

    def empty(self, queue: str) -> None:
        """Delete the messages of a queue, the hidden ones too."""
        self._command("empty", queue)

    def keep_parameters(self) -> None:
        """Take a copy of the parameters in SSM, for `restore_parameters`."""
        self._command("keep_parameters")

    def restore_parameters(self) -> None:
        """Replace the parameters in SSM by the copy."""
        self._command("restore_parameters")

    def freeze(self) -> None:
        """Exempt the objects that moto has loaded by now from garbage collection."""
        self._command("freeze")

    def empty_table(self, table: str) -> None:
        """Delete the items of a table."""
        self._command("empty_table", table)

    def advance_table(self, table: str, seconds: float) -> None:
        """Move the times of a table's items into the past."""
        self._command("advance_table", table, seconds)

    def answer_late(self, service: str, seconds: float) -> None:
        """Hold back each answer of a service, such as `DynamoDB`, for so many seconds; 0 ends that."""
        self._command("answer_late", service, seconds)

    def close(self) -> None:
        self._channel.close()
        self._process.kill()
        self._process.wait()

    def _command(self, *command: str | float) -> Any:
        with self._lock:
            try:
                self._channel.send(command)
            except OSError as error:
                raise self._failed() from error
            return self._receive()

    def _receive(self) -> Any:
        try:
            return self._channel.recv()
        except (EOFError, OSError) as error:
            raise self._failed() from error

    def _failed(self) -> MotoFailed:
        self.close()
        return MotoFailed(f"moto has ended. Its output:\n{self.output.text()}")
