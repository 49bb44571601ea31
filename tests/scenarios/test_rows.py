"""Every row of README.md has a test that carries its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROWS = [int(row) for row in re.findall(r"^\| (\d+) \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)]


def test_rows_are_numbered() -> None:
    assert list(range(1, len(ROWS) + 1)) == ROWS


def test_every_row_has_a_test(request: pytest.FixtureRequest) -> None:
    items = request.session.items
    if missing := {*FOLDER.parent.rglob("test_*.py")} - {item.path for item in items}:
        pytest.skip(f"not all tests run: {len(missing)} files are left out")
    assert {mark.kwargs["row"] for item in items for mark in item.iter_markers("scenario")} == set(ROWS)
