"""What a command says: tables and colours for a person, one JSON document for a machine, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Output:
    """Results go to standard output, in JSON as one document at the end; notes and progress go to standard error."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.console = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_interactive(self) -> bool:
        """Whether a person can be asked, and shown progress."""
        return sys.stdin.isatty() and self.console.is_terminal and not self.as_json

    def result(self, document: Any) -> None:
        """The one JSON document of a command; nothing where a person reads."""
        if self.as_json:
            print(json.dumps(document, indent=2, ensure_ascii=False, default=str))

    def line(self, text: str, style: str = "") -> None:
        """A line of the result for a person."""
        if not self.as_json:
            self.console.print(Text(text, style))

    def fine(self, text: str) -> None:
        self.line(f"✓ {text}", "green")

    def wrong(self, text: str, advice: str = "") -> None:
        """What is wrong, and what to do."""
        self.line(f"✗ {text}", "red")
        if advice:
            self.line(f"  {advice}")

    def note(self, text: str) -> None:
        """What goes on, for a person; no part of the result."""
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
