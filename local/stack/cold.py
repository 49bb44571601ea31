"""New sandboxes in this process."""

from __future__ import annotations

from handler.app import kept_intake
from handler.redelivery import kept_redelivery


def start_cold() -> None:
    """The functions' next invocations are new sandboxes' first, in the environment that they find then."""
    kept_intake.cache_clear()
    kept_redelivery.cache_clear()
