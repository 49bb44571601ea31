"""Time limits for tests that are not about time. Even a slow machine does not reach them."""

from __future__ import annotations

# The time that Lambda gives an invocation.
INVOCATION_SECONDS = 120.0

# Variables of the function.
GENEROUS = {
    "RESPONSE_BUDGET_SECONDS": "60",
    "SSM_TIMEOUT_SECONDS": "30",
    "SQS_TIMEOUT_SECONDS": "30",
    "DYNAMODB_TIMEOUT_SECONDS": "30",
    "CONNECT_TIMEOUT_SECONDS": "30",
}
