"""What a shop's events need of a Voucherify plan, and what AWS costs: by a formula, and for the peak by the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from cli.planning.deployment import REQUESTS_PER_SECOND
from cli.planning.events import Mix, Phase
from cli.planning.figures import Figures, Usage
from cli.planning.model import simulate
from cli.planning.world import Setup

HOUR = 3600
DAY = 24 * HOUR
DAYS_OF_CYCLE = 30

# The events of the sample that says what an event costs outside the peak.
_SAMPLE = 500


class Load(NamedTuple):
    """Events a second on average, `peak` times as many in the `peak_hours` of each day."""

    rate: float
    peak: float
    peak_hours: float

    @property
    def peak_rate(self) -> float:
        return self.rate * self.peak

    @property
    def quiet_rate(self) -> float:
        """The events a second outside the peak."""
        quiet_hours = 24 - self.peak_hours
        return max(0.0, self.rate * (24 - self.peak * self.peak_hours) / quiet_hours) if quiet_hours else self.rate


@dataclass(frozen=True)
class Estimate:
    """What fits. `calls_per_cycle`: those of the plan, 0 where they are not known. Calls are those without bulk."""

    load: Load
    mix: Mix
    setup: Setup
    calls_per_cycle: int
    at_peak: Figures
    usage_of_month: Usage

    @property
    def events_per_day(self) -> float:
        return self.load.rate * DAY

    @property
    def calls_per_day(self) -> float:
        return self.events_per_day * self.mix.calls_per_event

    @property
    def allowed_per_day(self) -> float:
        """The calls of a day that callShare, and callsPerDay where it is set, leave to us."""
        return _allowed_per_day(self.setup)

    @property
    def calls_in_cycle(self) -> float:
        return self.calls_per_day * DAYS_OF_CYCLE

    @property
    def fits_day(self) -> bool:
        return self.calls_per_day <= self.allowed_per_day

    @property
    def fits_cycle(self) -> bool:
        return not self.calls_per_cycle or self.calls_in_cycle <= self.calls_per_cycle

    @property
    def drained_in(self) -> float:
        """The seconds from the beginning of a peak until no event of it waits; infinite where that never happens."""
        return self.at_peak.drained_in() if self.fits_day else math.inf

    @property
    def fits_peak(self) -> bool:
        """Whether a peak is over before the next one begins."""
        return self.drained_in <= DAY

    @property
    def requests_per_second(self) -> float:
        """The requests to API Gateway at peak."""
        return self.load.peak_rate / self.mix.batch

    @property
    def fits_api(self) -> bool:
        return self.requests_per_second <= REQUESTS_PER_SECOND

    @property
    def fits(self) -> bool:
        return self.fits_day and self.fits_cycle and self.fits_peak and self.fits_api

    def to_json(self) -> dict[str, Any]:
        peak, limit = self.at_peak, self.setup.limit
        drained_in = None if math.isinf(self.drained_in) else round(self.drained_in)
        return {
            "fits": self.fits,
            "events": {
                "perDay": round(self.events_per_day),
                "perMinuteAtPeak": round(self.load.peak_rate * 60, 1),
                "shares": {kind.name: round(share, 4) for kind, share in self.mix.shares.items()},
            },
            "calls": {
                "perEvent": round(self.mix.calls_per_event, 4),
                "perDay": round(self.calls_per_day),
                "allowedPerDay": round(self.allowed_per_day),
                "perCycle": round(self.calls_in_cycle),
                "allowedPerCycle": self.calls_per_cycle or None,
                "limit": {"calls": limit.calls, "seconds": limit.seconds, "callShare": self.setup.share},
                "perMinuteAtPeak": round(self.load.peak_rate * 60 * self.mix.calls_per_event, 1),
            },
            "peak": {
                "events": peak.accepted,
                "calls": dict(peak.calls),
                "deliveredAtOnce": round(peak.delivered_at_once, 4),
                "mostWaiting": peak.most_waiting,
                "delaySeconds": {"median": round(peak.delay(0.5)), "p95": round(peak.delay(0.95))},
                "drainedInSeconds": drained_in,
                "shareAnswered429": round(peak.share_refused, 4),
                "dead": peak.dead,
                "environments": peak.environments,
                "requestsPerSecond": round(self.requests_per_second, 1),
            },
            "dollarsPerMonth": {name: round(usd, 2) for name, usd in self.usage_of_month.dollars().items()},
        }


def estimate(load: Load, mix: Mix, setup: Setup, calls_per_cycle: int = 0) -> Estimate:
    """Simulate the peak of a day, until no event waits or the next one begins, and a sample of the other events."""
    peak_seconds = load.peak_hours * HOUR
    fits = load.rate * DAY * mix.calls_per_event <= _allowed_per_day(setup)
    at_peak = simulate(
        setup,
        mix.arrivals([Phase(peak_seconds, load.peak_rate), Phase(DAY - peak_seconds, load.quiet_rate)]),
        most_seconds=DAY if fits else peak_seconds,
        drained_from=peak_seconds,
    )
    quiet = at_peak
    if fits and load.quiet_rate:
        quiet = simulate(setup, mix.arrivals([Phase(_SAMPLE / load.quiet_rate, load.quiet_rate)], seed=2))
    others = (load.rate * DAY - at_peak.accepted) / max(1, quiet.accepted)
    of_day = at_peak.usage.plus(quiet.usage, others)
    return Estimate(load, mix, setup, calls_per_cycle, at_peak, Usage().plus(of_day, DAYS_OF_CYCLE))


def _allowed_per_day(setup: Setup) -> float:
    of_windows = setup.limit.calls * setup.share / 100 * DAY / setup.limit.seconds
    return min(of_windows, setup.calls_per_day or math.inf)
