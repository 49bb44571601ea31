"""Metrics as fields of a line of the log: CloudWatch takes them out of it, at no line of their own.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

# A field holds no more values of one metric than this.
MOST_VALUES = 100

_UNITS = {"VoucherifyLatency": "Milliseconds", "RetryAge": "Seconds"}  # what is not here is a count

Values = Mapping[str, int | Sequence[float]]


def embedded(namespace: str, dimensions: Sequence[str], values: Values) -> dict[str, Any]:
    """The fields that make metrics of `values`. The line has the fields that are named in `dimensions` too."""
    directives = _directives(namespace, tuple(dimensions), tuple(values))
    return {"_aws": {"Timestamp": round(time.time() * 1000), "CloudWatchMetrics": directives}, **values}


@cache  # there are few
def _directives(namespace: str, dimensions: tuple[str, ...], names: tuple[str, ...]) -> list[dict[str, Any]]:
    metrics = [{"Name": name, "Unit": _UNITS.get(name, "Count")} for name in names]
    return [{"Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics}]
