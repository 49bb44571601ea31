"""How cost grows: with the events of a request, with the fields of a mapping, with the backlog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from local.bench.events import Json, identify
from local.bench.load import one_request, worker
from local.bench.numbers import Line, Point, cpu_of_one, interleaved
from local.bench.world import in_its_own_process
from mapping import EventMapping, Request, map_event

EVENTS = (1, 10, 100, 1_000, 4_000)
FIELDS = (10, 100, 1_000)
BACKLOGS = (1_000, 10_000, 100_000)

# Whatever the size, about so many events, so that small sizes are repeated.
_EVENTS_EACH = 3_000

# A line is straight where no point is further off than this.
_STRAIGHT = 0.2


@dataclass(frozen=True)
class Growth:
    """Seconds by size: one curve or several, by what they measure. `name` is that of the drawing's file."""

    name: str
    title: str
    unit: str
    curves: dict[str, Sequence[Point]]

    def is_straight(self, curve: str) -> bool:
        """Whether the curve is a straight line: so much at first, and so much for each unit more."""
        points = self.curves[curve]
        return Line.through(points).deviation(points) <= _STRAIGHT


def of_requests(sizes: Sequence[int] = EVENTS) -> Growth:
    """Of identifies, where a call takes no time but its own."""
    loads = {size: in_its_own_process(one_request, size, 0, max(3, _EVENTS_EACH // size)) for size in sizes}
    return Growth(
        "events",
        "One request, by its events",
        "event",
        {
            "wall time": [(size, load.wall.median) for size, load in loads.items()],
            "CPU": [(size, load.cpu.median) for size, load in loads.items()],
        },
    )


def of_mappings(sizes: Sequence[int] = FIELDS) -> Growth:
    """Of mappings whose events hold all of their fields; from the raw event to the bytes of the request."""
    points = in_its_own_process(_mapping_seconds, sizes)
    return Growth("fields", "One event, by the fields of its mapping", "field", {"CPU": points})


def of_backlogs(sizes: Sequence[int] = BACKLOGS) -> Growth:
    """Of the retry queue, drained by one worker, where a call takes no time but its own."""
    points = [(size, in_its_own_process(worker, size, 0, 1).wall.median) for size in sizes]
    return Growth("backlog", "Draining the retry queue, by its length", "event", {"wall time": points})


def _mapping_seconds(sizes: Sequence[int]) -> list[Point]:
    rounds = interleaved(9, *(cpu_of_one(_mapper(size), _EVENTS_EACH // size) for size in sizes))
    return [(size, series.median) for size, series in zip(sizes, rounds, strict=True)]


def _mapper(fields: int) -> Callable[[], bytes | None]:
    names = [f"field_{number}" for number in range(fields)]
    mapping = EventMapping.compile(
        {"identifyMapping": {f"traits.{name}": f"customer.metadata.{name}" for name in names}}
    )
    event: Json = {**identify(0), "traits": dict.fromkeys(names, "a value of it")}

    def to_bytes() -> bytes | None:
        request = map_event(event, mapping)
        return request.to_json() if isinstance(request, Request) else None

    return to_bytes
