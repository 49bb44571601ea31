"""What every command starts from: `typer.Context.obj`."""

from __future__ import annotations

from dataclasses import dataclass

from cli.output import Output
from cli.target import Target


@dataclass(frozen=True)
class Context:
    """Where a command works, and where it writes to."""

    target: Target
    output: Output
