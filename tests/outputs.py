"""What the processes that a test started have written. `tests/conftest.py` puts it into the test's report."""

from __future__ import annotations

from local.stack.output import Output

# By the names that they have in the report. Of what outlives the test, the report has what is new since its start.
shown: list[tuple[str, Output]] = []


def show(name: str, output: Output) -> None:
    """Have it in the report of the test that runs."""
    output.new_text()
    shown.append((name, output))
