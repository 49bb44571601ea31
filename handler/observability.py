"""Observability: one log line a request, one for each event that was not delivered, and metrics.

No line holds a trait, a property or a secret: only reasons, names of fields and ids of messages.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, cast

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from handler.model.batch_summary import BatchSummary
from handler.model.errors import FaultySettings, Unavailable, UnknownSource
from handler.model.failure import Severity
from handler.model.failure_record import FailureRecord
from handler.model.job import DeliveryStatus, Outcome, shown_message_id

if TYPE_CHECKING:
    from aws_lambda_powertools.logging.types import LogRecord

# The source in metrics where there are no settings for it: a stranger must not name a metric.
UNKNOWN_SOURCE = "unknown"

# A batch repeats its faults: the most frequent ones are enough.
_MOST_LEFT_OUT = 20

# Lines of single events in one invocation. The rest is counted in the line of the request and in the metrics.
MAX_EVENT_LINES = 100

_UNITS = {"VoucherifyLatency": MetricUnit.Milliseconds, "RetryAge": MetricUnit.Seconds}  # all others are counts

# Held for each line: Metrics prints a line and its end one after the other, and threads would mix them.
_writing = threading.Lock()

Values = Mapping[str, int | Sequence[float]]


class Telemetry:
    """Writes log lines with Powertools' Logger, and metrics with its Metrics. Thread-safe.

    https://docs.aws.amazon.com/powertools/python/latest/core/logger/
    https://docs.aws.amazon.com/powertools/python/latest/core/metrics/
    """

    def __init__(self, service: str, level: str, namespace: str) -> None:
        self._service = service
        self._namespace = namespace
        formatter = _Formatter(utc=True, use_rfc3339=True, location=None)
        stream = cast(IO[str], _StandardOutput())
        self._logger = Logger(service, level, stream=stream, logger_formatter=formatter)
        self._logger.setLevel(level)  # a service's Loggers share one logging.Logger, which the first one has set up
        self._not_delivered: Counter[tuple[str, str]] = Counter()
        self._event_lines = 0

    def begin(self, request_id: str) -> None:
        """Add the request id to every line from here on. Powertools adds X-Ray's trace id."""
        self._logger.append_keys(request_id=request_id or None)
        self._event_lines = 0
        if self._logger.sampling_rate:
            self._logger.refresh_sample_rate_calculation()

    def request(
        self, status: int, duration_seconds: float, source: str, facts: Mapping[str, Any], summary: BatchSummary | None
    ) -> None:
        """Write the one line of a request, and its metrics.

        Where the request was refused as a whole, `summary` is None and `facts` hold its `cause`.
        """
        write = self._logger.error if status == 503 else self._logger.info
        line = {"status": status, "duration_ms": round(duration_seconds * 1000), **_present(facts)}
        if self._event_lines > MAX_EVENT_LINES:
            line["events_without_line"] = self._event_lines - MAX_EVENT_LINES
        self._write(write, "request", source, {**line, **(_facts_of(summary) if summary else {})})
        self._emit_not_delivered(source)
        if summary is None:
            self._emit({"Refused": 1}, source=source, cause=facts["cause"])
        else:
            self._emit({"Received": summary.events, **_counts(summary)}, source=source)

    def batch(self, messages: int, kept: int) -> None:
        """Write the one line of the worker's batch."""
        self._write(self._logger.info, "batch", None, {"messages": messages, "kept": kept})

    def redelivered(self, summary: BatchSummary, source: str, ages_seconds: Sequence[float]) -> None:
        """Write the line and the metrics of one source's events in the worker's batch."""
        self._write(self._logger.info, "redelivered", source, _facts_of(summary))
        self._emit_not_delivered(source)
        self._emit({**_counts(summary), "RetryAge": ages_seconds}, source=source)

    def not_delivered(self, outcome: Outcome, source: str, **facts: Any) -> None:
        """Write the line of an event that is queued or rejected. `request` and `redelivered` emit its metric."""
        failure = outcome.failure
        if failure is None:
            return
        if self._event_lines < MAX_EVENT_LINES:
            line = {
                "outcome": outcome.status.value,
                "stage": failure.stage,
                "code": failure.code,
                "reason": failure.reason,
                "message_id": outcome.message_id,
                **facts,
            }
            write = self._logger.error if failure.severity is Severity.ERROR else self._logger.warning
            self._write(write, "event not delivered", source, line)
        with _writing:
            self._event_lines += 1
            self._not_delivered[source, failure.code] += 1

    def expired(self, record: FailureRecord, age_seconds: float) -> None:
        """Write the line of a message that the worker does not try: it is too old, or unreadable."""
        line = {
            "stage": record.failure.stage,
            "code": record.failure.code,
            "message_id": shown_message_id(record.event),
            "attempts": record.attempts,
            "age_seconds": round(age_seconds),
        }
        self._write(self._logger.error, "event given up", record.source, line)

    def dead_lettered(self, records: Iterable[FailureRecord]) -> None:
        """Write the lines and the metrics of the messages that the worker has moved to the dead-letter queue."""
        dead = Counter((record.source or UNKNOWN_SOURCE, record.failure.code) for record in records)
        for (source, code), count in dead.items():
            self._write(self._logger.error, "events dead", source, {"code": code})
            self._emit({"Dead": count}, source=source, code=code)

    def settings_unusable(self, error: Unavailable, source: str) -> None:
        """Write the line and the metric of settings that cannot be read or have faults."""
        faults = [str(fault) for fault in error.faults] if isinstance(error, FaultySettings) else []
        line = {"cause": error.cause, "problem": "" if faults else str(error), "faults": faults}
        self._write(self._logger.error, "settings cannot be used", source, line)
        self._emit({"SettingsUnusable": 1}, source=source)

    def unavailable(self, error: Unavailable, source: str) -> None:
        """Write the line of a source whose messages stay in the queue."""
        self._write(self._logger.error, "events kept", source, {"cause": error.cause, "problem": str(error)})

    def unknown_source(self, error: UnknownSource) -> None:
        """Write the line and the metric of a source that has no settings any more; its messages stay in the queue."""
        problem = f"there are no settings for the source {error}"
        self._write(self._logger.error, "events kept", UNKNOWN_SOURCE, {"cause": error.cause, "problem": problem})
        self._emit({"SettingsUnusable": 1}, source=UNKNOWN_SOURCE)

    def unknown_settings(self, names: Iterable[str], source: str) -> None:
        """Write the line of parameters that are not settings."""
        self._write(self._logger.warning, "parameters that are no settings", source, {"names": list(names)})

    def mapping_checked(self, source: str, events: int, rows: Sequence[str], unread: int) -> None:
        """Write the line and the metrics of the rows that found nothing in so many events.

        `unread` counts the events of which no row has read a property or trait.
        """
        line = {"events": events, "empty_rows": list(rows[:_MOST_LEFT_OUT]), "unread_events": unread}
        self._write(self._logger.info, "mapping checked", source, line)
        self._emit({"EmptyRows": len(rows), "UnreadEvents": unread}, source=source)

    def _write(self, write: Callable[..., None], message: str, source: str | None, facts: Mapping[str, Any]) -> None:
        # The keys of a Logger are shared by all threads: without the lock, a line could have the source of another one.
        with _writing, self._logger.append_context_keys(source=source):
            write(message, extra=facts)

    def _emit_not_delivered(self, source: str) -> None:
        """Emit how many events of a source were not delivered: one line a code, not one an event."""
        with _writing:
            found = {key: count for key, count in self._not_delivered.items() if key[0] == source}
            for key in found:
                del self._not_delivered[key]
        for (_, code), count in found.items():
            self._emit({"NotDelivered": count}, source=source, code=code)

    def _emit(self, values: Values, **dimensions: str) -> None:
        """Emit those `values` that are not 0, by the service and `dimensions`."""
        # All instances of Metrics share their values and dimensions. Each EphemeralMetrics has its own.
        metrics = EphemeralMetrics(namespace=self._namespace, service=self._service, default_dimensions=dimensions)
        with _writing:
            for name, found in values.items():
                unit = _UNITS.get(name, MetricUnit.Count)
                for value in found if isinstance(found, Sequence) else filter(None, [found]):
                    metrics.add_metric(name, unit, value)
            if metrics.metric_set:  # it flushes by itself with the hundredth value of a metric
                metrics.flush_metrics()


class _Formatter(LambdaPowertoolsFormatter):
    """Writes lines in ASCII: a lone surrogate cannot be written in UTF-8, and its line would be lost."""

    def serialize(self, log: LogRecord) -> str:
        return json.dumps(log, default=self.json_default, separators=(",", ":"), indent=self.json_indent)


class _StandardOutput:
    """Writes to the current standard output, as Metrics does: Logger would keep the one it was made with."""

    def write(self, text: str) -> None:
        sys.stdout.write(text)

    def flush(self) -> None:
        sys.stdout.flush()


def _counts(summary: BatchSummary) -> dict[str, int | Sequence[float]]:
    """Return the metrics of events."""
    return {
        **{metric: summary.by_status[status] for status, metric in _METRICS.items()},
        "Unguarded": summary.without_deduplication,
        "Unordered": summary.unordered,
        "VoucherifyLatency": summary.latencies,
    }


_METRICS = {status: status.name.title() for status in DeliveryStatus}


def _facts_of(summary: BatchSummary) -> dict[str, Any]:
    """Return the facts of a line about events: their delivery statuses, skip reasons and fields left out."""
    left_out = dict(Counter(summary.left_out).most_common(_MOST_LEFT_OUT)) if summary.left_out else {}
    return _present(
        {
            "events": summary.events,
            **summary.by_status,
            "skip_reasons": summary.skip_reasons,
            "message_ids": summary.message_ids,
            "left_out": left_out,
        }
    )


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that are not empty."""
    return {name: fact for name, fact in facts.items() if fact}
