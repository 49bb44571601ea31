"""The output of a command: tables and colours on a terminal, plain lines in a pipe, or one JSON document."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cli.errors import CommandFailed, Exit

# Control and escape characters, C1, line separators, bidirectional marks and lone surrogates. Names of events,
# properties and Voucherify's messages are other people's text: a terminal must not act on them, and nobody must forge a
# line.
# https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escaped(text: str) -> str:
    """Return a text with unsafe characters as in JSON, such as \\u001b."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def advice_lines(advice: str) -> list[str]:
    """Return the lines of an advice, indented."""
    return [f"  {line.strip()}" for line in advice.split("\n") if line.strip()]


NOTHING_CHANGED = "nothing was changed"


class Output:
    """Writes results to standard output, and notes and progress to standard error.

    `done` says what the command has done so far, for a person who interrupts it.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.done: Callable[[], str] = lambda: NOTHING_CHANGED
        self.console = Console(highlight=False, soft_wrap=True)
        self.notes = Console(stderr=True, highlight=False, soft_wrap=True)

    @property
    def is_interactive(self) -> bool:
        """Whether a person can answer questions and see progress."""
        return sys.stdin.isatty() and self.console.is_terminal and not self.as_json

    def result(self, document: Any) -> None:
        """Write the command's JSON document, if --json is given."""
        if self.as_json:
            print(_json(document))

    def line(self, text: str = "", style: str = "") -> None:
        """Write a line of the result, unless --json is given."""
        if not self.as_json:
            self.console.print(Text(escaped(text), style))

    def json_lines(self, document: Any) -> None:
        """Write a JSON document as part of the result, unless --json is given."""
        if not self.as_json:
            self.console.print(Text(_json(document)))

    def fine(self, text: str) -> None:
        self.line(f"✓ {text}", "green")

    def wrong(self, text: str, advice: str = "") -> None:
        """Write a problem, and what to do about it."""
        self.line(f"✗ {text}", "red")
        for line in advice_lines(advice):
            self.line(line)

    def note(self, text: str) -> None:
        """Write a note, which is not part of the result."""
        self.notes.print(Text(escaped(text), "dim"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], unbroken: str = "") -> None:
        """Write a table; in a pipe, a line of names and then a line for each row, with tabs between the cells.

        The cells of the column `unbroken` can be copied in one piece from the narrowest terminal.
        """
        if self.as_json:
            return
        if not self.console.is_terminal:
            for row in (columns, *rows):
                print("\t".join(escaped(str(cell)) for cell in row))
            return
        # Names that are cut off cannot be told apart.
        table = Table(*(Column(name, overflow="fold", no_wrap=name == unbroken) for name in columns))
        for row in rows:
            table.add_row(*(Text(escaped(str(cell))) for cell in row))
        self.console.print(table, soft_wrap=False)

    def confirm(self, question: str, otherwise: str, *, default: bool = False) -> None:
        """Ask before writing. Raises CommandFailed where the answer is no, or where nobody can answer."""
        if not self.is_interactive:
            raise CommandFailed("cannot ask for confirmation without a terminal", otherwise, Exit.USAGE)
        if not typer.confirm(escaped(question), default=default, err=True):
            raise CommandFailed("nothing was written")


def _json(document: Any) -> str:
    lines = json.dumps(document, indent=2, ensure_ascii=False, default=str).split("\n")
    return "\n".join(map(escaped, lines))
