"""The events of a plan: what each becomes, and when it arrives."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Kind(NamedTuple):
    """What events of one kind become.

    `calls` are made one after the other. The last of them has an idempotency record where `is_recorded`. `is_row`: an
    upsert of a customer, which a call in bulk can hold. `notes` counts the attribute times that it writes while events
    wait: one for its customer, one for its order.
    """

    name: str
    calls: int = 1
    is_recorded: bool = False
    is_row: bool = False
    notes: int = 0


IDENTIFY = Kind("identify", is_row=True, notes=1)
TRACK = Kind("track", is_recorded=True)
ORDER = Kind("order", calls=2, is_recorded=True, notes=1)


@dataclass(slots=True, eq=False)
class Event:
    """An event on its way. Times are in seconds.

    `failed_at` is when it was first stored, None where it never was. `stored_at` is since when its newest message is in
    the retry queue, and `receives` how often that was received. `only_waits`: it has not failed.
    """

    kind: Kind
    customer: int
    arrived_at: float
    failed_at: float | None = None
    stored_at: float = 0.0
    receives: int = 0
    only_waits: bool = True


class Arrival(NamedTuple):
    """One request of Segment's, at a time in seconds."""

    at: float
    events: list[Event]


class Phase(NamedTuple):
    """A time with a constant rate of events, in seconds and events a second."""

    seconds: float
    rate: float


@dataclass(frozen=True)
class Mix:
    """The events of a shop: the share of each kind, 1 in all, the number of customers, and the events in a request."""

    shares: Mapping[Kind, float]
    customers: int
    batch: int = 1

    @property
    def calls_per_event(self) -> float:
        """The calls of an event that is not sent in bulk."""
        return sum(share * kind.calls for kind, share in self.shares.items())

    def arrivals(self, phases: Sequence[Phase], seed: int = 1) -> Iterator[Arrival]:
        """Yield requests at random times, at the rate of each phase. The same seed makes the same requests."""
        draw = random.Random(seed)  # nosec B311
        kinds, weights = list(self.shares), list(self.shares.values())
        begun = 0.0
        for phase in phases:
            at = begun
            while phase.rate and (at := at + draw.expovariate(phase.rate / self.batch)) < begun + phase.seconds:
                chosen = draw.choices(kinds, weights, k=self.batch)
                yield Arrival(at, [Event(kind, draw.randrange(self.customers), at) for kind in chosen])
            begun += phase.seconds
