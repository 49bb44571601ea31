"""One `sam build` for all tests that look at its result, whichever process they run in."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory that `sam build` filled. Of pytest-xdist's processes one builds, and the others wait."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    built = shared / "build"
    with (shared / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            sam = [sys.executable, "-m", "samcli", "build", "--build-dir", str(shared / "build-in-progress")]
            subprocess.run(sam, cwd=ROOT, check=True, capture_output=True)
            (shared / "build-in-progress").rename(built)
    return built
