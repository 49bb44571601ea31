"""One check, its result, and the line that shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cli.errors import CommandFailed, aws_errors
from cli.output import Output, advice_lines


@dataclass(frozen=True)
class Check:
    """One check and its result. `advice` says what to do where it is not fine.

    `is_fine` is None where the check was not possible, which is no failure.
    """

    check: str
    is_fine: bool | None
    text: str
    advice: str = ""

    def show(self, output: Output) -> None:
        """Write the check as a line, with its advice."""
        line = f"{self.check}: {self.text}"
        if self.is_fine:
            output.fine(line)
        elif self.is_fine is None:
            output.line(f"○ {line}", "dim")
            for advice in advice_lines(self.advice):
                output.line(advice, "dim")
        else:
            output.wrong(line, self.advice)

    def to_json(self) -> dict[str, Any]:
        return {"check": self.check, "isFine": self.is_fine, "text": self.text, "advice": self.advice}


def guarded(name: str, check: Callable[..., Check], *arguments: Any) -> Check:
    """Run a check. One that AWS prevents has failed, and the next ones go on."""
    try:
        with aws_errors():
            return check(name, *arguments)
    except CommandFailed as failed:
        return Check(name, False, failed.problem, failed.advice)
