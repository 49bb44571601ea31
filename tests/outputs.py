"""The output of the processes that a test started. `tests/conftest.py` adds it to the report of the test."""

from __future__ import annotations

from local.stack.output import Output

# With their names in the report. Of a process that outlives the test, the report has the output since its start.
shown: list[tuple[str, Output]] = []


def show(name: str, output: Output) -> None:
    """Add the output from now on to the report of the test that runs."""
    output.new_text()
    shown.append((name, output))
