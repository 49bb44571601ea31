"""The function behind `POST /events`."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from handler.environment import Environment
from handler.intake import Intake
from handler.sandbox import Sandbox


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request of API Gateway's HTTP API, payload format 2.0."""
    intake = intake_in(Environment.read(os.environ))
    return intake.handle(event, context.get_remaining_time_in_millis() / 1000).to_proxy()


@lru_cache(maxsize=1)
def intake_in(environment: Environment) -> Intake:
    """Kept for the life of the sandbox, whose environment does not change."""
    return Intake(Sandbox(environment))
