"""The command line, for the tests of the incidents."""

from __future__ import annotations

from tests.cli.conftest import run, without_waiting

__all__ = ["run", "without_waiting"]
