"""How progress shows: as lines where there is no terminal, as a bar on one, and not at all beside JSON."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cli.output import Output
from cli.replay.progress import Meter


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def measure(output: Output) -> None:
    """A hundred events, one a second, over two thirds of the input."""
    clock = Time()
    with Meter(output, 300, clock) as meter:
        meter.begin(bytes_read=200, events=100, settled=0)
        for _ in range(100):
            clock.now += 1
            meter.count()


def test_lines_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    measure(Output(as_json=False))

    assert capsys.readouterr().err.splitlines() == [
        "30 events, 1/s, 20 %",
        "60 events, 1/s, 40 %",
        "90 events, 1/s, 60 %",
    ]


def test_bar_on_a_terminal() -> None:
    output, written = Output(as_json=False), io.StringIO()
    output.notes = Console(file=written, force_terminal=True, width=120)
    measure(output)

    assert "100 events, 1/s" in written.getvalue()
    assert "67%" in written.getvalue()


def test_nothing_with_json(capsys: pytest.CaptureFixture[str]) -> None:
    measure(Output(as_json=True))

    assert capsys.readouterr().err == ""
