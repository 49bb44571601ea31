"""How time grows with the events of a request, the fields of a mapping and the length of the retry queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median

from local.bench.environment import in_own_process
from local.bench.events import Json, identify
from local.bench.load import one_request, worker
from local.bench.numbers import Series, cpu_of_one, interleaved, quantity
from local.bench.report import paragraph, table
from mapping import EventMapping, Request, map_event

EVENTS = (1, 10, 100, 1_000, 4_000)
FIELDS = (10, 100, 1_000)
BACKLOGS = (1_000, 10_000, 100_000)

# Small sizes are repeated, up to about this many events.
_EVENTS_EACH = 3_000


def growth_section() -> Iterator[str]:
    yield "## Growth"
    yield paragraph(
        """Time by size, and divided by the size. Where the time for each one stays the same or falls, the whole grows
        in proportion or more slowly."""
    )
    loads = {size: in_own_process(one_request, size, 0, max(3, _EVENTS_EACH // size)) for size in EVENTS}
    yield growth_table("events of a request", {size: median(load.wall) for size, load in loads.items()})
    mappings = zip(FIELDS, in_own_process(_mappings, FIELDS), strict=True)
    yield growth_table("fields of a mapping, CPU", {size: median(series) for size, series in mappings})
    backlogs = {size: in_own_process(worker, size, 0, 1) for size in BACKLOGS}
    yield growth_table("messages in the retry queue", {size: median(load.wall) for size, load in backlogs.items()})


def growth_table(name: str, seconds: dict[int, float]) -> str:
    return table(
        (name, *(f"{size:,}" for size in seconds)),
        [
            ("all", *(quantity(value, "s") for value in seconds.values())),
            ("each", *(quantity(value / size, "s") for size, value in seconds.items())),
        ],
    )


def _mappings(sizes: Sequence[int]) -> list[Series]:
    """Measure mappings of events that have all of their fields, from the raw event to the bytes of the request."""
    return interleaved(9, *(cpu_of_one(_mapper(size), _EVENTS_EACH // size) for size in sizes))


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
