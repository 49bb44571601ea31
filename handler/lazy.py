"""Values that are made with the first need, and once, even where several threads need them at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# One for all: the session that makes every client is not thread-safe.
# https://boto3.amazonaws.com/v1/documentation/api/latest/guide/clients.html#multithreading-or-multiprocessing-with-clients
_making = threading.RLock()


class Lazy(Generic[T]):
    """Call it to get the value."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._value: T | None = None

    def __call__(self) -> T:
        if self._value is None:
            with _making:
                if self._value is None:
                    self._value = self._make()
        return self._value
