"""Reads the log of the functions in CloudWatch Logs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cli.target import Target


def log_lines(target: Target, groups: Sequence[str], pattern: str, hours: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines that match a pattern, each with its time in milliseconds. `groups` are outputs of the stack.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    since = datetime.now(UTC) - timedelta(hours=hours)
    for group in groups:
        pages = target.logs.get_paginator("filter_log_events").paginate(
            logGroupName=target.value(group), filterPattern=pattern, startTime=round(since.timestamp() * 1000)
        )
        for page in pages:
            for event in page["events"]:
                yield event["timestamp"], _parse(event["message"])


def _parse(text: str) -> dict[str, Any]:
    """Return a line of the functions' JSON log, or nothing of any other line."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
