from __future__ import annotations

import pytest

from handler.delivery.backoff import STEPS, backoff_seconds

HOUR = 60 * 60


@pytest.mark.parametrize(
    ("age_seconds", "longest"),
    [
        (0, 15),
        (14.9, 15),
        (15, 60),
        (74, 60),
        (75, 5 * 60),
        (6 * 60, 5 * 60),
        (6 * 60 + 15, 15 * 60),
        (22 * 60, HOUR),
        (23 * HOUR, HOUR),
        (6 * 24 * HOUR, HOUR),
    ],
)
def test_the_step_follows_from_the_age(age_seconds: float, longest: int) -> None:
    assert backoff_seconds(age_seconds, draw=lambda low, high: high) == longest


def test_the_wait_is_drawn_from_the_whole_step() -> None:
    asked: list[tuple[float, float]] = []

    def draw(low: float, high: float) -> float:
        asked.append((low, high))
        return 7.4

    assert backoff_seconds(0, draw) == 7
    assert asked == [(0, 15)]


def test_a_wait_is_never_nothing() -> None:
    assert backoff_seconds(0, draw=lambda low, high: low) == 1


def test_by_default_waits_differ() -> None:
    waits = {backoff_seconds(30 * 60) for _ in range(100)}
    assert len(waits) > 50
    assert max(waits) <= STEPS[-1]
