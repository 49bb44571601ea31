"""When a failed event is tried again: after longer and longer waits, each drawn at random.

The step follows from how long the event has been stored, so that nothing has to count and a wait for a rate limit
costs no attempt. Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

# The longest wait of each step, in seconds; the last one holds until the event is too old.
STEPS = (15, 60, 5 * 60, 15 * 60, 60 * 60)


# The system's own, which is not part of a snapshot: every sandbox that SnapStart makes of one would draw the same.
# https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
RANDOM = SystemRandom()


def backoff_seconds(age_seconds: float, draw: Callable[[float, float], float] = RANDOM.uniform) -> int:
    """The wait of an event that was stored `age_seconds` ago and has failed again."""
    passed = 0
    for longest in STEPS:
        passed += longest
        if age_seconds < passed:
            break
    return max(1, round(draw(0, longest)))
