"""The mapping of one event, beside code written by hand for that mapping, and beside look-ups of the same paths."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from local.bench.events import FIELDS, Json, identify
from local.bench.numbers import Series, cpu_of_one, interleaved
from mapping import EventMapping, Request, map_event

_ADDRESS = (
    ("city", "city"),
    ("state", "state"),
    ("country", "country"),
    ("street", "line_1"),
    ("postalCode", "postal_code"),
)


class Mapped(NamedTuple):
    """CPU seconds for one identify with all twelve fields of the default mapping.

    `ours` and `floor` make the request's body, `to_json` and `floor_to_json` its bytes as well. `look_ups` finds the
    twelve values in the event and does nothing with them.
    """

    ours: Series
    floor: Series
    to_json: Series
    floor_to_json: Series
    look_ups: Series


def mapping_beside_plain_code(rounds: int, times: int) -> Mapped:
    """Measure the mapping and its floors. Raises ValueError where the plain code does not make the same body."""
    event, rules = identify(0), EventMapping.compile({})

    def mapped() -> bytes | None:
        request = map_event(event, rules)
        return request.to_json() if isinstance(request, Request) else None

    if mapped() != by_hand_to_json(event):
        raise ValueError(f"{mapped()!r} is not {by_hand_to_json(event)!r}")
    actions = (
        lambda: map_event(event, rules),
        lambda: by_hand(event),
        mapped,
        lambda: by_hand_to_json(event),
        lambda: look_up(event),
    )
    return Mapped(*interleaved(rounds, *(cpu_of_one(action, times) for action in actions)))


def by_hand(event: Json) -> Json:
    """Return the customer of the default mapping: exact keys, and no report of the fields that are left out."""
    if event["type"] != "identify":
        raise ValueError(event["type"])
    source_id = text(event.get("userId")) or text(event.get("anonymousId"))
    if not source_id:
        raise ValueError("no userId or anonymousId")
    customer: Json = {"source_id": source_id.strip()}
    traits = event.get("traits")
    if not isinstance(traits, dict):
        return customer
    names = text(traits.get("firstName")), text(traits.get("lastName"))
    name = text(traits.get("name")) or " ".join(filter(None, names))
    if name:
        customer["name"] = name
    for field in ("email", "description", "phone"):
        if value := text(traits.get(field)):
            customer[field] = value
    metadata = traits.get("metadata")
    if isinstance(metadata, dict):
        customer["metadata"] = metadata.copy()
    given = traits.get("address")
    if isinstance(given, dict):
        address = {}
        for field, destination in _ADDRESS:
            if value := text(given.get(field)):
                address[destination] = value
        if address:
            customer["address"] = address
    return customer


def text(value: Any) -> str | None:
    """Return text, a number as text, and None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def by_hand_to_json(event: Json) -> bytes:
    return json.dumps(by_hand(event), ensure_ascii=False, separators=(",", ":")).encode()


def look_up(event: Json) -> list[Any]:
    """Return the values at the twelve paths, each split and followed from the event."""
    values = []
    for path in FIELDS:
        value: Any = event
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        values.append(value)
    return values
