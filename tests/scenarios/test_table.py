"""The table in README.md: every scenario has its row, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (Path(__file__).parent / "README.md").read_text("utf-8").splitlines()
    if re.match(r"\| \d", line)
]


def test_every_scenario_has_its_row() -> None:
    assert [int(number) for number, *_ in ROWS] == list(range(1, 32))


def test_every_test_that_it_names_is_there() -> None:
    """`…` stands for the rest of a long name."""
    for number, _, proof in ROWS:
        sources: list[str] = []
        named_since_file = False
        for name in re.findall(r"`([^`]+)`", proof):
            if name.endswith((".py", ".json")):
                if named_since_file:
                    sources, named_since_file = [], False
                sources.append((TESTS / name).read_text("utf-8"))
            elif not name.startswith("make "):
                named_since_file = True
                found = re.compile(rf"def test_{name.removesuffix('…')}" + ("" if name.endswith("…") else r"\("))
                assert any(map(found.search, sources)), f"row {number}: {name}"
