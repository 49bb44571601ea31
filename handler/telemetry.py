"""What the function says of itself: one log line a request, one per event that was not delivered.

Never a trait, a property or a secret: reasons, names of fields and ids of messages only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handler.api_gateway import Reply
from handler.delivery import Fate, Result
from handler.embedded_metrics import MOST_VALUES, embedded
from handler.errors import FaultySettings, Unavailable, UnknownSource
from handler.log import Log
from handler.queues import FailureRecord
from handler.tally import Tally
from mapping import message_id_of

# The source, for metrics, where no settings say which it is: a stranger's words are no name of a metric.
UNKNOWN_SOURCE = "unknown"

# A batch repeats its faults: the most frequent ones say what to mend.
_MOST_LEFT_OUT = 20


class Telemetry:
    """Says what happens in lines of log. What is counted is counted by the line that says it."""

    def __init__(self, log: Log, namespace: str) -> None:
        self._log = log
        self._namespace = namespace

    def begin(self, request_id: str, trace_id: str) -> None:
        """Every line from here on is this request's. `trace_id` is X-Ray's, empty where it is not traced."""
        self._log.begin({"request_id": request_id, "xray_trace_id": trace_id})

    def request(
        self, reply: Reply, duration_seconds: float, source: str, facts: Mapping[str, Any], tally: Tally | None
    ) -> None:
        """The one line of a request; `tally` is None, and `facts` say its `cause`, where it was refused as a whole."""
        level = "ERROR" if reply.status == 503 else "INFO"
        line = {
            "source": source,
            "status": reply.status,
            "duration_ms": round(duration_seconds * 1000),
            **_present(facts),
        }
        if tally is None:
            self._log.write(level, "request", {**line, **self._metrics("cause", Refused=1)})
            return
        metrics = self._metrics(Received=tally.events, **_counts(tally))
        self._log.write(level, "request", {**line, **_facts_of(tally), **metrics})
        self._more_latencies(source, tally.latencies)

    def batch(self, messages: int, kept: int) -> None:
        """The one line of the worker's batch."""
        self._log.write("INFO", "batch", {"messages": messages, "kept": kept})

    def redelivered(self, tally: Tally, source: str, ages_seconds: Sequence[float]) -> None:
        """The line of one source's events in the worker's batch, with how old they were."""
        metrics = self._metrics(**_counts(tally), RetryAge=ages_seconds[:MOST_VALUES])
        self._log.write("INFO", "redelivered", {"source": source, **_facts_of(tally), **metrics})
        self._more_latencies(source, tally.latencies)

    def _more_latencies(self, source: str, latencies: Sequence[float]) -> None:
        """Those that the line before has no room for."""
        for start in range(MOST_VALUES, len(latencies), MOST_VALUES):
            metrics = self._metrics(VoucherifyLatency=latencies[start : start + MOST_VALUES])
            self._log.write("INFO", "more latencies", {"source": source, **metrics})

    def not_delivered(self, result: Result, source: str, **facts: Any) -> None:
        """The line of an event that is queued or rejected."""
        failure = result.failure
        if failure is None:
            return
        line = {
            "source": source,
            "outcome": result.fate.value,
            "stage": failure.stage,
            "code": failure.code,
            "reason": failure.reason,
            "message_id": result.message_id,
            **facts,
        }
        metrics = self._metrics("code", NotDelivered=1)
        self._log.write("ERROR" if failure.loud else "WARNING", "event not delivered", {**line, **metrics})

    def given_up(self, record: FailureRecord, age_seconds: float) -> None:
        """The line of an event that the worker gives up untried: it is too old, or no event of ours."""
        line = {
            "source": record.source,
            "stage": record.failure.stage,
            "code": record.failure.code,
            "message_id": message_id_of(record.event),
            "attempts": record.attempts,
            "age_seconds": round(age_seconds),
        }
        self._log.write("ERROR", "event given up", line)

    def buried(self, records: Iterable[FailureRecord]) -> None:
        """The worker has moved these events to the dead-letter queue."""
        for (source, code), count in Counter((record.source, record.failure.code) for record in records).items():
            metrics = self._metrics("code", Dead=count)
            self._log.write("ERROR", "events dead", {"source": source, "code": code, **metrics})

    def settings_unusable(self, error: Unavailable, source: str) -> None:
        faults = [str(fault) for fault in error.faults] if isinstance(error, FaultySettings) else []
        line = {"cause": error.cause, "source": source, "problem": "" if faults else str(error), "faults": faults}
        self._log.write("ERROR", "settings cannot be used", {**line, **self._metrics(SettingsUnusable=1)})

    def unavailable(self, error: Unavailable, source: str) -> None:
        """The worker cannot deliver a source's events, and keeps them. Why has been said where settings were read."""
        self._log.write("ERROR", "events kept", {"cause": error.cause, "source": source, "problem": str(error)})

    def unknown_source(self, error: UnknownSource) -> None:
        """The worker keeps the events of a source that has no settings any more."""
        problem = f"there are no settings for the source {error}"
        line = {"cause": error.cause, "source": UNKNOWN_SOURCE, "problem": problem}
        self._log.write("ERROR", "events kept", {**line, **self._metrics(SettingsUnusable=1)})

    def unknown_settings(self, names: Iterable[str], source: str) -> None:
        self._log.write("WARNING", "parameters that are no settings", {"source": source, "names": list(names)})

    def _metrics(self, *dimensions: str, **values: int | Sequence[float]) -> dict[str, Any]:
        """Fields that count `values`, those that there are, by the line's service and source and `dimensions`."""
        present = {name: value for name, value in values.items() if value}
        return embedded(self._namespace, ("service", "source", *dimensions), present) if present else {}


def _counts(tally: Tally) -> dict[str, int | Sequence[float]]:
    """What metrics count of events."""
    return {
        **{metric: tally.fates[fate] for fate, metric in _METRICS.items()},
        "Unguarded": tally.unguarded,
        "VoucherifyLatency": tally.latencies[:MOST_VALUES],
    }


_METRICS = {fate: fate.name.title() for fate in Fate}


def _facts_of(tally: Tally) -> dict[str, Any]:
    """What a line says of its events: how many had which fate, and why they were skipped or cut."""
    left_out = dict(Counter(tally.left_out).most_common(_MOST_LEFT_OUT)) if tally.left_out else {}
    return _present({"events": tally.events, **tally.fates, "skip_reasons": tally.skip_reasons, "left_out": left_out})


def _present(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that say something."""
    return {name: fact for name, fact in facts.items() if fact}
