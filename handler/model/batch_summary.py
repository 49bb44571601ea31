"""What became of many events, counted once for the answer, the log and the metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from handler.delivery.dispatcher import DeliveryStatus, Outcome


class BatchSummary:
    """How many events had which status, and what else they have in common.

    `latencies` are the milliseconds that each call of Voucherify took; `left_out` counts fields that could not be made
    valid, `unguarded` the events that were delivered without the ledger.
    """

    def __init__(self, results: Sequence[Outcome]) -> None:
        self.events = len(results)
        self.by_status = dict.fromkeys(_FATES, 0)
        self.unguarded = 0
        self.skip_reasons: dict[str, int] = defaultdict(int)
        self.left_out: dict[str, int] = defaultdict(int)
        self.latencies: list[float] = []
        for result in results:
            self.by_status[result.status] += 1
            self.unguarded += result.unguarded
            if result.seconds is not None:
                self.latencies.append(round(result.seconds * 1000, 1))
            if result.status is DeliveryStatus.SKIPPED:
                self.skip_reasons[result.skip_reason] += 1
            for left_out in result.left_out:
                self.left_out[str(left_out)] += 1


_FATES = tuple(status.value for status in DeliveryStatus)
