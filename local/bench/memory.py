"""The function's peak memory and the size of the artifact."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from local.bench.numbers import Series
from local.bench.report import Row

SIZE = 100
LARGEST_SIZE = 4_000

# Enough to load what idempotency needs.
TRACKS = 100

# The smallest memory size of Lambda.
SMALLEST = 128e6


def memory_rows(events: int) -> Iterator[Row]:
    """Yield the peaks of fresh processes, each with that many events."""
    floor_is, floor = "boto3, one client", _peak()
    most = min(median(floor) + 25e6, SMALLEST)
    tracks = _peak("handler", events - TRACKS, TRACKS, SIZE)
    large = _peak("handler", max(events, LARGEST_SIZE), 0, LARGEST_SIZE)
    yield Row.size("memory: identifies, 100 a request", _peak("handler", events, 0, SIZE), most, floor_is, floor)
    yield Row.size("memory: the same, some of them tracks", tracks, most, floor_is, floor)
    yield Row.size("memory: identifies, 4,000 a request", large, SMALLEST, floor_is, floor)


def artifact_rows(directory: Path) -> Iterator[Row]:
    """Yield the size of the artifact as SAM uploads it, deflated, and unpacked."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(directory))
    yield Row.size("artifact: zip", (packed.getbuffer().nbytes,), 1.5e6)
    yield Row("artifact: unpacked", "bytes", (sum(path.stat().st_size for path in files),))


def _peak(*arguments: str | int) -> Series:
    command = [sys.executable, "-m", "local.bench.peak", *map(str, arguments)]
    return (float(subprocess.run(command, check=True, capture_output=True, text=True).stdout),)
