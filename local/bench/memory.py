"""How much memory the function takes at its peak, and how large the artifact is."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from local.bench.numbers import Series

SIZE = 100
LARGEST_SIZE = 4_000

# Among the events of one measurement: enough to bring along what the ledger needs.
TRACKS = 100


@dataclass(frozen=True)
class Memory:
    """Bytes resident at the peak: after identifies, with some tracks among them, in large requests; of the floor."""

    identifies: Series
    with_tracks: Series
    large_requests: Series
    floor: Series


@dataclass(frozen=True)
class Artifact:
    """Bytes, as it is uploaded and as it lies unpacked."""

    zipped: int
    unpacked: int


def memory(rounds: int, events: int) -> Memory:
    """Of fresh processes, each with so many events."""
    return Memory(
        identifies=_peaks(rounds, "handler", events, 0, SIZE),
        with_tracks=_peaks(rounds, "handler", events - TRACKS, TRACKS, SIZE),
        large_requests=_peaks(rounds, "handler", max(events, LARGEST_SIZE), 0, LARGEST_SIZE),
        floor=_peaks(rounds),
    )


def artifact_size(directory: Path) -> Artifact:
    """Deflated, as SAM packs it."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(directory))
    return Artifact(packed.getbuffer().nbytes, sum(path.stat().st_size for path in files))


def _peaks(rounds: int, *arguments: str | int) -> Series:
    command = [sys.executable, "-m", "local.bench.peak", *map(str, arguments)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(rounds)]
    return Series(tuple(map(float, runs)))
