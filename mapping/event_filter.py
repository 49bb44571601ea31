"""The setting `trackEventsFilter`: which track events pass, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Names are compared exactly; `*` in one stands for any characters, or none. Without any name all events pass."""

    names: frozenset[str]
    patterns: re.Pattern[str] | None

    @classmethod
    def of(cls, names: Iterable[str]) -> EventFilter:
        names = frozenset(names)
        wild = [".*".join(map(re.escape, name.split("*"))) for name in sorted(names) if "*" in name]
        return cls(names, re.compile("|".join(wild), re.DOTALL) if wild else None)

    def passes(self, name: object) -> bool:
        """Whether an event of this name passes. One without a name, or whose name is no text, is in no filter."""
        if not self.names:
            return True
        return isinstance(name, str) and (name in self.names or bool(self.patterns and self.patterns.fullmatch(name)))
