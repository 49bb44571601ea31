"""`mapping` is pure and imports no other package; `handler` imports it only as `mapping`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The imports that `mapping` may have: pure parts of the standard library, and JMESPath.
ALLOWED = {
    *{"__future__", "collections", "contextlib", "dataclasses", "datetime", "decimal", "difflib", "enum", "functools"},
    *{"itertools", "json", "math", "re", "typing", "urllib"},
    "jmespath",
    "mapping",
}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            yield node.module or ""


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", sources("mapping"), ids=lambda path: path.name)
def test_mapping_imports_only_pure_modules(path: Path) -> None:
    assert {name.partition(".")[0] for name in imports_of(path)} <= ALLOWED


@pytest.mark.parametrize("path", sources("mapping"), ids=lambda path: path.name)
def test_mapping_reads_no_clock_and_prints_nothing(path: Path) -> None:
    names = {
        node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
    }
    assert not names & {"now", "utcnow", "today", "print", "open", "environ", "input"}


@pytest.mark.parametrize("path", sources("handler"), ids=lambda path: path.name)
def test_handler_imports_only_mapping_itself_and_no_package_that_is_not_deployed(path: Path) -> None:
    imported = set(imports_of(path))
    assert not any(name.startswith("mapping.") for name in imported)
    assert not {name.partition(".")[0] for name in imported} & {"local", "cli", "tests", "scripts"}


def test_importing_the_function_needs_no_environment_and_no_aws() -> None:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); import handler.app"]
    subprocess.run(command, env={}, check=True, timeout=120)
