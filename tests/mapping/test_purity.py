"""`mapping` reads no clock and prints nothing. import-linter checks the imports: see pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SOURCES = sorted((ROOT / "mapping").rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_mapping_reads_no_clock_and_prints_nothing(path: Path) -> None:
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not names & {"now", "utcnow", "today", "print", "open", "environ", "input"}


def test_importing_the_function_needs_no_environment_and_no_aws() -> None:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import handler.app"]
    subprocess.run(command, env={}, check=True, timeout=120)
