"""How a command ends: its exit codes, and what a person can do.

0  done, and nothing is wrong
1  done, and something is wrong or left to do: a fault in settings, a preview with a rejected event
2  the command was called wrongly
3  AWS or Voucherify could not be asked
130 interrupted; what was done stays done, and the same command goes on
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes."""

    FINE = 0
    WRONG = 1
    USAGE = 2
    UNREACHABLE = 3
    INTERRUPTED = 130


class CommandFailed(Exception):
    """A command that cannot go on. `advice` says what to do; neither text holds a secret."""

    def __init__(self, problem: str, advice: str = "", code: Exit = Exit.WRONG) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.code = code
