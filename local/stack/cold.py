"""New execution environments in this process."""

from __future__ import annotations

from handler.app import webhook_handler
from handler.redelivery import retry_worker


def start_cold() -> None:
    """Make each function's next invocation the first of a new execution environment."""
    webhook_handler.cache_clear()
    retry_worker.cache_clear()
