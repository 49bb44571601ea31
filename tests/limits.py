"""Limits of time for tests that are not about time: no machine is slow enough to reach them."""

from __future__ import annotations

# What Lambda gives an invocation.
INVOCATION_SECONDS = 120.0

# The function's environment.
GENEROUS = {
    "RESPONSE_BUDGET_SECONDS": "60",
    "SSM_TIMEOUT_SECONDS": "30",
    "SQS_TIMEOUT_SECONDS": "30",
    "DYNAMODB_TIMEOUT_SECONDS": "30",
    "CONNECT_TIMEOUT_SECONDS": "30",
}
