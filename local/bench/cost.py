"""Measured seconds to US dollars, and to the memory size that Lambda needs for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from local.bench.load import Load
from local.bench.template import deployed

EVENTS = 1_000_000
BATCHES = (1, 10, 100)

# In milliseconds, as in docs/cost.md.
LATENCY = 100

# https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
ONE_CPU_MB = 1_769
MEMORY_SIZES = (128, 256, 512, 1_024, ONE_CPU_MB)


class Price(NamedTuple):
    """US dollars in us-east-1 without any free tier, and where that was read."""

    usd: float
    each: str
    source: str
    read_on: str


# As in docs/cost.md, which has the prices of everything else too.
API_REQUEST = Price(
    1.00e-6,
    "request of an HTTP API",
    "https://docs.aws.amazon.com/whitepapers/latest/best-practices-api-gateway-private-apis-integration/cost-optimization.html",
    "2026-11-25",
)
LAMBDA_REQUEST = Price(0.20e-6, "request of Lambda", "https://cloudchipr.com/blog/aws-lambda-pricing", "2026-11-25")
GB_SECOND = Price(
    0.0000133334, "GB-second of Lambda on arm64", "https://cloudchipr.com/blog/aws-lambda-pricing", "2026-11-25"
)
LEDGER_WRITE = Price(
    0.625e-6,
    "write of DynamoDB on demand",
    "https://airbyte.com/data-engineering-resources/dynamodb-pricing",
    "2026-11-25",
)
PRICES = (API_REQUEST, LAMBDA_REQUEST, GB_SECOND, LEDGER_WRITE)


@dataclass(frozen=True)
class Cost:
    """US dollars a million events, sent so many a request, each of which takes so many seconds of Lambda."""

    batch: int
    seconds: float
    memory_mb: int

    @property
    def requests(self) -> float:
        return EVENTS / self.batch

    @property
    def by_service(self) -> Mapping[str, float]:
        return {
            "API Gateway": self.requests * API_REQUEST.usd,
            "Lambda, requests": self.requests * LAMBDA_REQUEST.usd,
            "Lambda, time": self.requests * self.seconds * self.memory_mb / 1024 * GB_SECOND.usd,
        }

    @property
    def identifies(self) -> float:
        return sum(self.by_service.values())

    @property
    def tracks(self) -> float:
        """With the two writes of the ledger."""
        return self.identifies + 2 * EVENTS * LEDGER_WRITE.usd


def costs(loads: Mapping[int, Load]) -> list[Cost]:
    """Of requests by their number of events."""
    memory_mb = deployed("MemorySize")
    return [
        Cost(batch, seconds_on_lambda(load.wall.median, load.cpu.median, memory_mb), memory_mb)
        for batch, load in loads.items()
    ]


def seconds_on_lambda(wall: float, cpu: float, memory_mb: int) -> float:
    """Wall time where CPU comes with the memory: what a whole core like this one did takes so much longer."""
    return wall + cpu * (max(ONE_CPU_MB / memory_mb, 1) - 1)
