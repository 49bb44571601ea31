"""The addresses of the local systems that run on this machine, in files of the person who runs them.

`make serve` announces its addresses here, and `--local` finds them, whatever the ports are.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

# The port of `make serve` without PORT.
DEFAULT_PORT = 8080


class LocalSystem(NamedTuple):
    """The address of the HTTP API, and that of AWS."""

    url: str
    aws_url: str

    @classmethod
    def at(cls, port: int) -> LocalSystem:
        """Return the system of `make serve PORT=port`."""
        return cls(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}")

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def runs(self) -> bool:
        """Whether its AWS accepts connections."""
        with socket.socket() as probe:
            probe.settimeout(1.0)
            return probe.connect_ex(("127.0.0.1", urlsplit(self.aws_url).port or 0)) == 0


@contextmanager
def announced(system: LocalSystem) -> Iterator[None]:
    """Let `--local` find a system while it runs."""
    directory = _directory()
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{system.port}.json"
    file.write_text(json.dumps(system._asdict()))
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


def local_system(port: int | None) -> LocalSystem:
    """Return the system at a port; without one, the running one that was started last."""
    announced = {system.port: system for system in _announced()}
    if port is not None:
        return announced.get(port, LocalSystem.at(port))
    return next((system for system in announced.values() if system.runs), LocalSystem.at(DEFAULT_PORT))


def _announced() -> Iterator[LocalSystem]:
    """Yield what is announced, the newest first; a system that was killed is still among them."""
    for file in sorted(_directory().glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True):
        yield LocalSystem(**json.loads(file.read_text()))


def _directory() -> Path:
    # https://specifications.freedesktop.org/basedir-spec/latest/
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "voucherify-destination"
