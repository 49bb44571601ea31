"""The backoff: the wait before a failed event is tried again, longer and longer, with full jitter.

The step follows from the age of the message, so that nothing has to be counted, and waiting for a rate limit costs no
attempt. https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom

# The longest wait of each step, in seconds; the last one holds until the event has expired.
STEPS = (15, 60, 5 * 60, 15 * 60, 60 * 60)

# The system's generator is not part of a snapshot: with another one, every execution environment that SnapStart
# restores would draw the same numbers. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
RANDOM = SystemRandom()


def backoff_seconds(age_seconds: float, draw: Callable[[float, float], float] = RANDOM.uniform) -> int:
    """Return the wait of a message that was stored `age_seconds` ago and has failed again."""
    passed = 0
    for longest in STEPS:
        passed += longest
        if age_seconds < passed:
            break
    return max(1, round(draw(0, longest)))
