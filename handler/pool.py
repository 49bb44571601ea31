"""Threads for calls that wait on the network, started with the first need and kept for the life of the sandbox."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from handler.lazy import Lazy

Item = TypeVar("Item")
Result = TypeVar("Result")


class Pool:
    """At most `size` calls at the same time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._executor = Lazy(lambda: ThreadPoolExecutor(size))

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """The results in the order of the items; a single item needs no thread."""
        if len(items) < 2 or self.size < 2:
            return [function(item) for item in items]
        return list(self._executor().map(function, items))
