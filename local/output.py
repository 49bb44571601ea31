"""What another process writes, kept so that it can be shown where something fails."""

from __future__ import annotations

import os
from tempfile import NamedTemporaryFile


class Output:
    """A temporary file, which a process is given as its standard output or opens by its `path`."""

    def __init__(self) -> None:
        self._file = NamedTemporaryFile()  # noqa: SIM115 # it lives as long as this does
        self._shown = 0

    @property
    def path(self) -> str:
        return self._file.name

    def fileno(self) -> int:
        return self._file.fileno()

    def text(self) -> str:
        """Return all that was written so far."""
        return self._read(0)

    def new_text(self) -> str:
        """Return what was written since the last call of this method."""
        new = self._read(self._shown)
        self._shown = os.fstat(self.fileno()).st_size
        return new

    def _read(self, start: int) -> str:
        # Not by the file's own position: the process writes at it.
        size = os.fstat(self.fileno()).st_size
        return os.pread(self.fileno(), size - start, start).decode(errors="replace")
