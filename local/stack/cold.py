"""New sandboxes in this process."""

from __future__ import annotations

from handler.app import webhook_handler
from handler.redelivery import retry_worker


def start_cold() -> None:
    """The functions' next invocations are new sandboxes' first, in the environment that they find then."""
    webhook_handler.cache_clear()
    retry_worker.cache_clear()
