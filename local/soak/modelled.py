"""The model of cli/planning under the load of a soak, so that the two can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from cli.planning.events import IDENTIFY, TRACK, Arrival, Event
from cli.planning.figures import Figures
from cli.planning.model import simulate
from cli.planning.voucherify import Limit
from cli.planning.world import Setup, Timings
from local.soak.run import Measured, limited_traffic

# The soaks that were recorded by `python -m local.soak.run --limit … --record`, with their first window from its start.
RECORDED = Path(__file__).with_name("figures.json")

# Tracks of the soak have metadata of their customer.
_TRACK = TRACK._replace(notes=1)

_SEEDS = range(1, 6)


def recorded() -> list[Measured]:
    """Return the recorded soaks: of each load, the mean of its runs."""
    runs = [Measured(**one) for one in json.loads(RECORDED.read_text("utf-8"))]
    loads = dict.fromkeys(one.load for one in runs)
    return [_mean([one for one in runs if one.load == load]) for load in loads]


def modelled(soak: Measured) -> Measured:
    """Return what the model says of the load of a soak: the mean of some runs.

    A call of Voucherify and one of DynamoDB take as long as in the soak, since moto is slower than AWS, and so is a
    machine that has other work to do. The first call is made as late in its window as in the soak: from it the function
    learns how long a window is, and so when stored events come back.
    """
    return _mean([_measured(soak, _simulated(soak, seed)) for seed in _SEEDS])


def _simulated(soak: Measured, seed: int) -> Figures:
    timings = Timings(call=soak.call_seconds, database=soak.database_seconds)
    setup = Setup(Limit(soak.limit, soak.window_seconds), workers=soak.workers, timings=timings)
    return simulate(setup, _arrivals(soak), one_by_one=True, seed=seed)


def _arrivals(soak: Measured) -> Iterator[Arrival]:
    for request in limited_traffic(soak.events).requests():
        yield Arrival(soak.began_at, [_event(event) for event in request])


def _event(event: dict[str, str]) -> Event:
    customer = int(event["userId"].removeprefix("customer-"))
    return Event(IDENTIFY if event["type"] == "identify" else _TRACK, customer, arrived_at=0.0)


def _measured(soak: Measured, figures: Figures) -> Measured:
    calls, refused = figures.calls.total(), figures.refused.total()
    return soak._replace(calls=calls, refused=refused, drained_in=figures.last_delivery)


def _mean(runs: list[Measured]) -> Measured:
    return runs[0]._replace(
        calls=mean(one.calls for one in runs),
        refused=mean(one.refused for one in runs),
        drained_in=mean(one.drained_in for one in runs),
        call_seconds=mean(one.call_seconds for one in runs),
        database_seconds=mean(one.database_seconds for one in runs),
        began_at=mean(one.began_at for one in runs),
    )
