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
from handler.errors import FaultySettings, Unavailable

# A batch repeats its faults: the most frequent ones say what to mend.
_MOST_LEFT_OUT = 20


class Telemetry:
    """Writes to a Powertools logger, whose lines are JSON."""

    def __init__(self, logger: Logger) -> None:
        self._logger = logger

    def begin(self, request_id: str) -> None:
        """Every line from here on is this request's."""
        self._logger.append_keys(request_id=request_id)

    def request(self, reply: Reply, duration_seconds: float, facts: Mapping[str, Any]) -> None:
        """The one line of a request. `facts` without a value are left out."""
        level = self._logger.error if reply.status == 503 else self._logger.info
        level(
            "request",
            extra={
                "status": reply.status,
                "duration_ms": round(duration_seconds * 1000),
                **{name: fact for name, fact in facts.items() if fact},
            },
        )

    def not_delivered(self, result: Result, index: int) -> None:
        """The line of an event that is queued or rejected."""
        failure = result.failure
        if failure is None:
            return
        level = self._logger.error if failure.loud else self._logger.warning
        level(
            "event not delivered",
            extra={
                "outcome": result.fate.value,
                "stage": failure.stage,
                "code": failure.code,
                "reason": failure.reason,
                "message_id": result.message_id,
                "index": index,
            },
        )

    def settings_unusable(self, error: Unavailable) -> None:
        faults = [str(fault) for fault in error.faults] if isinstance(error, FaultySettings) else []
        self._logger.error(
            "settings cannot be used",
            extra={"cause": error.cause, "problem": "" if faults else str(error), "faults": faults},
        )

    def unknown_settings(self, names: Iterable[str]) -> None:
        self._logger.warning("parameters that are no settings", extra={"names": list(names)})


def facts_of(results: Sequence[Result]) -> Mapping[str, Any]:
    """What the request's line says of its events: how many had which fate, and why they were skipped or cut."""
    left_out = Counter(str(left_out) for result in results for left_out in result.left_out)
    return {
        "events": len(results),
        **Counter(result.fate.value for result in results),
        "skip_reasons": dict(Counter(result.skip_reason for result in results if result.fate is Fate.SKIPPED)),
        "left_out": dict(left_out.most_common(_MOST_LEFT_OUT)),
    }
