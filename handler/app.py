"""The function behind `POST /events`."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from handler.api.webhook_handler import WebhookHandler
from handler.runtime import Runtime
from handler.settings.environment import Environment


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API, payload format 2.0."""
    seconds = context.get_remaining_time_in_millis() / 1000
    return webhook_handler().handle(event, seconds).to_proxy()


@cache
def webhook_handler() -> WebhookHandler:
    """Return the handler, made with the first request and kept for the life of the execution environment.

    Raises FaultyEnvironment, and tries again with the next request.
    """
    return Runtime(Environment.read(os.environ)).webhook_handler()
