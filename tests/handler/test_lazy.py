"""Made with the first need, and once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from handler.lazy import Lazy


def test_nothing_is_made_before_it_is_needed_and_then_once_for_all_threads() -> None:
    made: list[object] = []
    together = threading.Barrier(8, timeout=60)

    def make() -> object:
        made.append(object())
        return made[-1]

    lazy = Lazy(make)
    assert made == []

    def need(_: int) -> object:
        together.wait()
        return lazy()

    with ThreadPoolExecutor(8) as threads:
        values = set(threads.map(need, range(8)))
    assert len(made) == 1
    assert values == set(made)


def test_one_value_may_need_another() -> None:
    inner = Lazy(lambda: 1)
    assert Lazy(lambda: inner() + 1)() == 2
