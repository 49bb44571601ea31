"""The output of a command: tables and colours on a terminal, plain lines in a pipe, or one JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.errors import CommandFailed, Exit


class Output:
    """Writes results to standard output, and notes and progress to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_interactive(self) -> bool:
        """Whether a person can answer questions and see progress."""
        return sys.stdin.isatty() and self.console.is_terminal and not self.as_json

    def result(self, document: Any) -> None:
        """Write the command's JSON document, if --json is given."""
        if self.as_json:
            print(json.dumps(document, indent=2, ensure_ascii=False, default=str))

    def line(self, text: str, style: str = "") -> None:
        """Write a line of the result, unless --json is given."""
        if not self.as_json:
            self.console.print(Text(text, style))

    def fine(self, text: str) -> None:
        self.line(f"✓ {text}", "green")

    def wrong(self, text: str, advice: str = "") -> None:
        """Write a problem, and what to do about it."""
        self.line(f"✗ {text}", "red")
        if advice:
            self.line(f"  {advice}")

    def note(self, text: str) -> None:
        """Write a note, which is not part of the result."""
        self.notes.print(Text(text, "dim"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if self.as_json:
            return
        if not self.console.is_terminal:
            for row in rows:
                print("\t".join(map(str, row)))
            return
        table = Table(*columns)
        for row in rows:
            table.add_row(*(Text(str(cell)) for cell in row))
        self.console.print(table, soft_wrap=False)

    def confirm(self, question: str, otherwise: str, *, default: bool = False) -> None:
        """Ask before writing. Raises CommandFailed where the answer is no, or where nobody can answer."""
        if not self.is_interactive:
            raise CommandFailed("cannot ask for confirmation without a terminal", otherwise, Exit.USAGE)
        if not typer.confirm(question, default=default, err=True):
            raise CommandFailed("nothing was written")
