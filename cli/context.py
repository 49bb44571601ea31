"""The value that every command gets: `typer.Context.obj`."""

from __future__ import annotations

from dataclasses import dataclass

from cli.output import Output
from cli.target import Target


@dataclass(frozen=True)
class Context:
    """The system that a command works on, and its output."""

    target: Target
    output: Output
