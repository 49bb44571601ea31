"""The output of another process, kept so that it can be shown when something fails."""

from __future__ import annotations

import os
from tempfile import mkstemp
from weakref import finalize


class Output:
    """A temporary file for a process's standard output, by descriptor or by `path`. Deleted with this object."""

    def __init__(self) -> None:
        self._descriptor, self.path = mkstemp()
        self._shown = 0
        finalize(self, _remove, self._descriptor, self.path)

    def fileno(self) -> int:
        return self._descriptor

    def text(self) -> str:
        """Return all output so far."""
        return self._read(0, os.fstat(self._descriptor).st_size)

    def new_text(self) -> str:
        """Return the output since the last call of this method."""
        start, self._shown = self._shown, os.fstat(self._descriptor).st_size
        return self._read(start, self._shown)

    def _read(self, start: int, end: int) -> str:
        # pread, since the process writes at the file's own position.
        return os.pread(self._descriptor, end - start, start).decode(errors="replace")


def _remove(descriptor: int, path: str) -> None:
    os.close(descriptor)
    os.unlink(path)
