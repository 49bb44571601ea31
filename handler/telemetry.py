"""What the function says of itself: one log line a request, one per event that was not delivered.

Never a trait, a property or a secret: reasons, names of fields and ids of messages only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from handler.api_gateway import Reply
from handler.delivery import Fate, Result
from handler.errors import FaultySettings, Unavailable, UnknownSource
from handler.queues import FailureRecord
from mapping import message_id_of

# The source, for metrics, where no settings say which it is: a stranger's words are no name of a metric.
UNKNOWN_SOURCE = "unknown"

# A batch repeats its faults: the most frequent ones say what to mend.
_MOST_LEFT_OUT = 20


class Telemetry:
    """Writes lines to a Powertools logger and metrics in CloudWatch's embedded format, all of them JSON on stdout.

    https://docs.powertools.aws.dev/lambda/python/latest/core/metrics/
    """

    def __init__(self, logger: Logger, namespace: str, service: str) -> None:
        self._logger = logger
        self._new_metrics = partial(EphemeralMetrics, namespace=namespace, service=service)

    def begin(self, request_id: str) -> None:
        """Every line from here on is this request's."""
        self._logger.append_keys(request_id=request_id)

    def request(self, reply: Reply, duration_seconds: float, source: str, facts: Mapping[str, Any]) -> None:
        """The one line of a request. `facts` without a value are left out."""
        level = self._logger.error if reply.status == 503 else self._logger.info
        level(
            "request",
            extra={
                "source": source,
                "status": reply.status,
                "duration_ms": round(duration_seconds * 1000),
                **_present(facts),
            },
        )
        if cause := facts.get("cause"):
            self._count("Refused", 1, source=source, cause=cause)

    def batch(self, messages: int, kept: int) -> None:
        """The one line of the worker's batch."""
        self._logger.info("batch", extra={"messages": messages, "kept": kept})

    def redelivered(self, results: Sequence[Result], source: str) -> None:
        """The line of one source's events in the worker's batch."""
        self._logger.info("redelivered", extra={"source": source, **_present(facts_of(results))})

    def results(self, results: Sequence[Result], source: str, ages_seconds: Sequence[float] = ()) -> None:
        """What became of events, and how old they were where they had waited; how long Voucherify took."""
        if not results:
            return
        metrics = self._metrics(source=source)
        counts = {fate.name.title(): sum(result.fate is fate for result in results) for fate in Fate}
        counts["Unguarded"] = sum(result.unguarded for result in results)
        counts["Received"] = 0 if ages_seconds else len(results)
        for name, count in counts.items():
            if count:
                metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
        for result in results:
            if result.seconds is not None:
                metrics.add_metric(
                    name="VoucherifyLatency", unit=MetricUnit.Milliseconds, value=round(result.seconds * 1000, 1)
                )
        for age in ages_seconds:
            metrics.add_metric(name="RetryAge", unit=MetricUnit.Seconds, value=age)
        if metrics.metric_set:  # Powertools flushes by itself at 100 values
            metrics.flush_metrics()
        for code, count in Counter(result.failure.code for result in results if result.failure).items():
            self._count("NotDelivered", count, source=source, code=code)

    def given_up(self, record: FailureRecord, age_seconds: float) -> None:
        """The line of an event that the worker gives up untried: it is too old, or no event of ours."""
        self._logger.error(
            "event given up",
            extra={
                "source": record.source,
                "stage": record.failure.stage,
                "code": record.failure.code,
                "message_id": message_id_of(record.event),
                "attempts": record.attempts,
                "age_seconds": round(age_seconds),
            },
        )

    def buried(self, records: Iterable[FailureRecord]) -> None:
        """The worker has given these events up."""
        for (source, code), count in Counter((record.source, record.failure.code) for record in records).items():
            self._count("Dead", count, source=source, code=code)

    def _count(self, name: str, count: int, **dimensions: str) -> None:
        metrics = self._metrics(**dimensions)
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
        metrics.flush_metrics()

    def _metrics(self, **dimensions: str) -> EphemeralMetrics:
        metrics = self._new_metrics()
        for dimension, value in dimensions.items():
            metrics.add_dimension(dimension, value)
        return metrics

    def not_delivered(self, result: Result, source: str, **facts: Any) -> None:
        """The line of an event that is queued or rejected."""
        failure = result.failure
        if failure is None:
            return
        level = self._logger.error if failure.loud else self._logger.warning
        level(
            "event not delivered",
            extra={
                "source": source,
                "outcome": result.fate.value,
                "stage": failure.stage,
                "code": failure.code,
                "reason": failure.reason,
                "message_id": result.message_id,
                **facts,
            },
        )

    def settings_unusable(self, error: Unavailable, source: str) -> None:
        faults = [str(fault) for fault in error.faults] if isinstance(error, FaultySettings) else []
        self._logger.error(
            "settings cannot be used",
            extra={"cause": error.cause, "source": source, "problem": "" if faults else str(error), "faults": faults},
        )
        self._count("SettingsUnusable", 1, source=source)

    def unavailable(self, error: Unavailable | UnknownSource, source: str) -> None:
        """The worker cannot deliver a source's events, and keeps them."""
        self._logger.error("events kept", extra={"cause": error.cause, "source": source, "problem": str(error)})
        if isinstance(error, UnknownSource):  # of the others there has been a word where the settings were read
            self._count("SettingsUnusable", 1, source=UNKNOWN_SOURCE)

    def unknown_settings(self, names: Iterable[str], source: str) -> None:
        self._logger.warning("parameters that are no settings", extra={"source": source, "names": list(names)})


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that say something."""
    return {name: fact for name, fact in facts.items() if fact}


def facts_of(results: Sequence[Result]) -> Mapping[str, Any]:
    """What the request's line says of its events: how many had which fate, and why they were skipped or cut."""
    left_out = Counter(str(left_out) for result in results for left_out in result.left_out)
    return {
        "events": len(results),
        **Counter(result.fate.value for result in results),
        "skip_reasons": dict(Counter(result.skip_reason for result in results if result.fate is Fate.SKIPPED)),
        "left_out": dict(left_out.most_common(_MOST_LEFT_OUT)),
    }
