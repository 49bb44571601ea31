"""Shows how far a replay is: a bar on a terminal, and a line every 30 seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cli.output import Output

_SECONDS_PER_LINE = 30.0


class Meter:
    """Measures progress by the bytes that are read, since the number of events is not known."""

    def __init__(self, output: Output, total_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._total = total_bytes
        self._clock = clock
        self._started_at = self._shown_at = clock()
        self._events = 0
        self._settled = 0
        self._of = 1
        self._from = self._to = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=output.notes,
            disable=output.as_json or not output.notes.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=total_bytes)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def begin(self, bytes_read: int, events: int, settled: int) -> None:
        """Begin a window of `events`, of which some are settled; at its end `bytes_read` are read."""
        self._from, self._to = self._to, bytes_read
        self._of, self._settled = events, settled

    def count(self) -> None:
        """Count one more settled event."""
        self._events += 1
        self._settled += 1
        now = self._clock()
        rate = self._events / max(now - self._started_at, 0.001)
        done = self._from + (self._to - self._from) * self._settled / self._of
        self._bar.update(self._task, completed=done, description=f"{self._events} events, {rate:.0f}/s")
        if self._bar.disable and not self._output.as_json and now - self._shown_at >= _SECONDS_PER_LINE:
            self._shown_at = now
            self._output.note(f"{self._events} events, {rate:.0f}/s, {100 * done / max(self._total, 1):.0f} %")
