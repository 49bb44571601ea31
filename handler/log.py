"""Lines of JSON on the standard output, from where Lambda takes a function's log."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

# In ASCII, since what is half a surrogate pair has no bytes in UTF-8: a line is never what a request fails for.
_TO_JSON = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Log:
    """Each line has its level, message and time, then the service and what it is told of. Thread-safe.

    Lines below `least_level` are not written.
    """

    def __init__(self, service: str, least_level: str) -> None:
        self._written = frozenset(LEVELS[LEVELS.index(least_level) :])
        self._service = service
        self._context: Mapping[str, str] = {}

    def begin(self, context: Mapping[str, str]) -> None:
        """Every line from here on has these fields, but for the empty ones."""
        self._context = {name: value for name, value in context.items() if value}

    def write(self, level: str, message: str, facts: Mapping[str, Any]) -> None:
        if level not in self._written:
            return
        line = {
            "level": level,
            "message": message,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "service": self._service,
            **self._context,
            **facts,
        }
        sys.stdout.write(_TO_JSON(line) + "\n")
        sys.stdout.flush()
