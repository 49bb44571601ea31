"""The outcomes of many events, counted once for the answer, the log and the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from handler.model.job import DeliveryStatus, Outcome

# The name of a field that was left out holds keys of the event, which are the sender's text.
MAX_LEFT_OUT_CHARACTERS = 300

# Segment sends 300 events a request at most where it batches as docs/segment.md advises. A line has 256 KB at most.
MAX_MESSAGE_IDS = 300


class BatchSummary:
    """The number of events by delivery status, and the other facts that a line and the metrics show of them.

    `message_ids` are those of the events that have no line of their own, by `delivered`, `duplicate` or skip reason:
    `trace` looks for them. `latencies` are the milliseconds that each call of Voucherify took; `left_out` counts fields
    that could not be made valid, `without_deduplication` and `unordered` the events that were delivered so.
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.events = len(outcomes)
        self.by_status = dict.fromkeys(_STATUSES, 0)
        self.without_deduplication = 0
        self.unordered = 0
        self.skip_reasons: Counter[str] = Counter()
        self.message_ids: dict[str, list[str]] = {}
        self.left_out: Counter[str] = Counter()
        self.latencies: list[float] = []
        listed = 0
        for outcome in outcomes:
            self.by_status[outcome.status] += 1
            self.without_deduplication += outcome.without_deduplication
            self.unordered += outcome.unordered
            if outcome.seconds is not None:
                self.latencies.append(round(outcome.seconds * 1000, 1))
            if outcome.status is DeliveryStatus.SKIPPED:
                self.skip_reasons[outcome.skip_reason] += 1
            if outcome.failure is None and (message_id := outcome.message_id) and listed < MAX_MESSAGE_IDS:
                self.message_ids.setdefault(outcome.skip_reason or outcome.status.value, []).append(message_id)
                listed += 1
            for left_out in outcome.left_out:
                self.left_out[str(left_out)[:MAX_LEFT_OUT_CHARACTERS]] += 1


_STATUSES = tuple(status.value for status in DeliveryStatus)
