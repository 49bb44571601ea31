"""What the function says of itself: one log line a request, one per event that was not delivered.

Never a trait, a property or a secret: reasons, names of fields and ids of messages only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.logging import Logger

from handler.api_gateway import Reply
from handler.delivery import Fate, Result
from handler.embedded_metrics import MOST_VALUES, embedded
from handler.errors import FaultySettings, Unavailable, UnknownSource
from handler.queues import FailureRecord
from mapping import message_id_of

# The source, for metrics, where no settings say which it is: a stranger's words are no name of a metric.
UNKNOWN_SOURCE = "unknown"

# A batch repeats its faults: the most frequent ones say what to mend.
_MOST_LEFT_OUT = 20


class Telemetry:
    """Writes lines of JSON to a Powertools logger. What is counted is counted by the line that says it."""

    def __init__(self, logger: Logger, namespace: str) -> None:
        self._logger = logger
        self._namespace = namespace
        self._common: dict[str, Any] = {"service": logger.service}

    def begin(self, request_id: str) -> None:
        """Every line from here on is this request's."""
        self._common["request_id"] = request_id

    def request(
        self, reply: Reply, duration_seconds: float, source: str, facts: Mapping[str, Any], results: Sequence[Result]
    ) -> None:
        """The one line of a request. `facts` without a value are left out."""
        level = self._logger.error if reply.status == 503 else self._logger.info
        line = {
            "source": source,
            "status": reply.status,
            "duration_ms": round(duration_seconds * 1000),
            **_present(facts),
        }
        if "cause" in facts:
            level("request", extra=self._fields({**line, **self._metrics("cause", Refused=1)}))
            return
        latencies = _latencies(results)
        counts = {"Received": len(results), **_counts(results)}
        metrics = self._metrics(**counts, VoucherifyLatency=latencies[:MOST_VALUES])
        level("request", extra=self._fields({**line, **metrics}))
        self._more_latencies(source, latencies)

    def batch(self, messages: int, kept: int) -> None:
        """The one line of the worker's batch."""
        self._logger.info("batch", extra=self._fields({"messages": messages, "kept": kept}))

    def redelivered(self, results: Sequence[Result], source: str, ages_seconds: Sequence[float]) -> None:
        """The line of one source's events in the worker's batch, with how old they were."""
        latencies = _latencies(results)
        metrics = self._metrics(
            **_counts(results), VoucherifyLatency=latencies[:MOST_VALUES], RetryAge=ages_seconds[:MOST_VALUES]
        )
        facts = {"source": source, **_present(facts_of(results)), **metrics}
        self._logger.info("redelivered", extra=self._fields(facts))
        self._more_latencies(source, latencies)

    def _more_latencies(self, source: str, latencies: Sequence[float]) -> None:
        """Those that the line before has no room for."""
        for start in range(MOST_VALUES, len(latencies), MOST_VALUES):
            metrics = self._metrics(VoucherifyLatency=latencies[start : start + MOST_VALUES])
            self._logger.info("more latencies", extra=self._fields({"source": source, **metrics}))

    def not_delivered(self, result: Result, source: str, **facts: Any) -> None:
        """The line of an event that is queued or rejected."""
        failure = result.failure
        if failure is None:
            return
        level = self._logger.error if failure.loud else self._logger.warning
        level(
            "event not delivered",
            extra=self._fields(
                {
                    "source": source,
                    "outcome": result.fate.value,
                    "stage": failure.stage,
                    "code": failure.code,
                    "reason": failure.reason,
                    "message_id": result.message_id,
                    **facts,
                    **self._metrics("code", NotDelivered=1),
                }
            ),
        )

    def given_up(self, record: FailureRecord, age_seconds: float) -> None:
        """The line of an event that the worker gives up untried: it is too old, or no event of ours."""
        self._logger.error(
            "event given up",
            extra=self._fields(
                {
                    "source": record.source,
                    "stage": record.failure.stage,
                    "code": record.failure.code,
                    "message_id": message_id_of(record.event),
                    "attempts": record.attempts,
                    "age_seconds": round(age_seconds),
                }
            ),
        )

    def buried(self, records: Iterable[FailureRecord]) -> None:
        """The worker has moved these events to the dead-letter queue."""
        for (source, code), count in Counter((record.source, record.failure.code) for record in records).items():
            self._logger.error(
                "events dead", extra=self._fields({"source": source, "code": code, **self._metrics("code", Dead=count)})
            )

    def settings_unusable(self, error: Unavailable, source: str) -> None:
        faults = [str(fault) for fault in error.faults] if isinstance(error, FaultySettings) else []
        self._logger.error(
            "settings cannot be used",
            extra=self._fields(
                {
                    "cause": error.cause,
                    "source": source,
                    "problem": "" if faults else str(error),
                    "faults": faults,
                    **self._metrics(SettingsUnusable=1),
                }
            ),
        )

    def unavailable(self, error: Unavailable, source: str) -> None:
        """The worker cannot deliver a source's events, and keeps them. Why has been said where settings were read."""
        facts = {"cause": error.cause, "source": source, "problem": str(error)}
        self._logger.error("events kept", extra=self._fields(facts))

    def unknown_source(self, error: UnknownSource) -> None:
        """The worker keeps the events of a source that has no settings any more."""
        self._logger.error(
            "events kept",
            extra=self._fields(
                {
                    "cause": error.cause,
                    "source": UNKNOWN_SOURCE,
                    "problem": f"there are no settings for the source {error}",
                    **self._metrics(SettingsUnusable=1),
                }
            ),
        )

    def unknown_settings(self, names: Iterable[str], source: str) -> None:
        self._logger.warning(
            "parameters that are no settings", extra=self._fields({"source": source, "names": list(names)})
        )

    def _fields(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """What a record carries: the line's own facts behind those of every line."""
        return {"fields": {**self._common, **facts}}

    def _metrics(self, *dimensions: str, **values: int | Sequence[float]) -> dict[str, Any]:
        """Fields that count `values`, those that there are, by the line's service and source and `dimensions`."""
        present = {name: value for name, value in values.items() if value}
        return embedded(self._namespace, ("service", "source", *dimensions), present) if present else {}


def _counts(results: Sequence[Result]) -> dict[str, int]:
    """How many events had which fate."""
    fates = Counter(result.fate for result in results)
    return {
        **{fate.name.title(): fates[fate] for fate in Fate},
        "Unguarded": sum(result.unguarded for result in results),
    }


def _latencies(results: Sequence[Result]) -> list[float]:
    """Milliseconds that each call of Voucherify took."""
    return [round(result.seconds * 1000, 1) for result in results if result.seconds is not None]


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
