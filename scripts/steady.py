"""`make steady`: run the whole suite five times beside two busy loops, then three times without. No run may fail.

It prints one line for each run, and keeps the output of those that fail.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp

RUNS_BESIDE_LOOPS, LOOPS = 5, 2
QUIET_RUNS = 3

SUITE = [sys.executable, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", "--no-loadscope-reorder"]


@contextmanager
def busy_loop() -> Iterator[None]:
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as loop:
        try:
            yield
        finally:
            loop.kill()


def passes(name: str, kept: Path) -> bool:
    """Run the suite once, print its result, and return whether it passed."""
    environment = {**os.environ, "LONG": "1"}
    with subprocess.Popen(SUITE, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as suite:
        try:
            output, _ = suite.communicate()
        finally:
            suite.kill()
    summary = output.strip().rpartition("\n")[2]
    if suite.returncode == 0:
        print(f"{name}: {summary}", flush=True)
        return True
    file = kept / f"{name.replace(' ', '-')}.txt"
    file.write_text(output)
    print(f"{name}: {summary}; see {file}", flush=True)
    return False


def main() -> int:
    """Return 0 if every run passed, otherwise 1."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every `finally` runs
    kept = Path(mkdtemp(prefix="steady-"))
    with ExitStack() as loops:
        for _ in range(LOOPS):
            loops.enter_context(busy_loop())
        passed = [passes(f"beside {LOOPS} busy loops, run {run}", kept) for run in range(1, RUNS_BESIDE_LOOPS + 1)]
    passed += [passes(f"quiet, run {run}", kept) for run in range(1, QUIET_RUNS + 1)]
    print(f"{sum(passed)} of {len(passed)} runs passed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
