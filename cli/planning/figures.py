"""What a simulation measures."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from cli.planning.deployment import MEMORY_GB
from cli.planning.prices import API_REQUEST, DYNAMODB_READ, DYNAMODB_WRITE, GB_SECOND, LAMBDA_REQUEST, SQS_REQUEST


class Backlog(NamedTuple):
    """The retry queue at a time in seconds: its events that calls in bulk can hold, and all others."""

    at: float
    rows: int
    others: int

    @property
    def events(self) -> int:
        return self.rows + self.others


@dataclass
class Usage:
    """What AWS bills, as far as the load decides it."""

    api_requests: int = 0
    lambda_requests: int = 0
    lambda_seconds: float = 0.0
    sqs_requests: int = 0
    dynamodb_writes: int = 0
    dynamodb_reads: int = 0

    def plus(self, other: Usage, times: float = 1.0) -> Usage:
        """Return this usage and that of another one so many times."""
        return Usage(**{name: value + times * getattr(other, name) for name, value in vars(self).items()})

    def dollars(self) -> dict[str, float]:
        """Return the US dollars by service."""
        return {
            "API Gateway": self.api_requests * API_REQUEST.usd,
            "Lambda": self.lambda_requests * LAMBDA_REQUEST.usd + self.lambda_seconds * MEMORY_GB * GB_SECOND.usd,
            "SQS": self.sqs_requests * SQS_REQUEST.usd,
            "DynamoDB": self.dynamodb_writes * DYNAMODB_WRITE.usd + self.dynamodb_reads * DYNAMODB_READ.usd,
        }


@dataclass
class Figures:
    """The results of a simulation. Times are in seconds since its start.

    `calls` counts all calls of Voucherify by their purpose (`single`, `bulk`, `poll`), `refused` those that were
    answered 429. `delays` has the time from arrival to delivery of each event that had to wait. `environments` is the
    largest number of execution environments behind the API.
    """

    accepted: int = 0
    delivered: int = 0
    dead: int = 0
    stored: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    calls_by_minute: Counter[int] = field(default_factory=Counter)
    refused_by_minute: Counter[int] = field(default_factory=Counter)
    delays: list[float] = field(default_factory=list)
    last_delivery: float = 0.0
    environments: int = 0
    backlog: list[Backlog] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    @property
    def left(self) -> int:
        """The events that wait at the end."""
        return self.accepted - self.delivered - self.dead

    @property
    def share_refused(self) -> float:
        return self.refused.total() / max(1, self.calls.total())

    @property
    def most_waiting(self) -> int:
        return max((one.events for one in self.backlog), default=0)

    @property
    def delivered_at_once(self) -> float:
        """The share of the events that were delivered before Segment had its answer."""
        return 1 - self.stored / max(1, self.accepted)

    def delay(self, share: float) -> float:
        """Return the delay that this share of the delivered events does not exceed."""
        at_once = self.delivered - len(self.delays)
        place = round(share * self.delivered) - at_once
        return sorted(self.delays)[place - 1] if place > 0 else 0.0

    def drained_in(self) -> float:
        """Return when the last event is delivered; as an estimate where some are left, infinite where it never is.

        The estimate is by the pace in the second half of the simulated time, of the events that calls in bulk cannot
        hold: they take nearly all calls.
        """
        middle, end = self.backlog[len(self.backlog) // 2], self.backlog[-1]
        if not end.events:
            return self.last_delivery
        left, drained = end.others, middle.others - end.others
        if not left:
            left, drained = end.rows, middle.rows - end.rows
        return end.at + left * (end.at - middle.at) / drained if drained > 0 else math.inf
