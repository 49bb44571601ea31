"""A Segment event in, a Voucherify request out. Pure: no I/O, clock, environment, logging or AWS.

This is the package's one door: whoever needs the mapping imports it from here.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapping.custom_event import custom_event_request
from mapping.customer import customer_request
from mapping.defaults import IDENTIFY_MAPPING, TRACK_MAPPING
from mapping.errors import Fault, InvalidEvent, InvalidMapping, MappingError, UnknownType, UnmappableEvent
from mapping.request import LeftOut, Request, Skip
from mapping.rules import Rules, compile_rules
from mapping.segment import Event, message_id_of, normalise

__all__ = [
    "DEFAULT_IDENTIFY_RULES",
    "DEFAULT_TRACK_RULES",
    "IDENTIFY_MAPPING",
    "TRACK_MAPPING",
    "Event",
    "EventMapping",
    "Fault",
    "InvalidEvent",
    "InvalidMapping",
    "LeftOut",
    "MappingError",
    "Request",
    "Skip",
    "UnknownType",
    "UnmappableEvent",
    "compile_identify_mapping",
    "compile_track_mapping",
    "map_event",
    "message_id_of",
    "normalise",
]


def compile_identify_mapping(mapping: object) -> Rules:
    """The rules of the setting `identifyMapping`. Raises InvalidMapping with every fault."""
    return compile_rules("identifyMapping", mapping, payload="traits")


def compile_track_mapping(mapping: object) -> Rules:
    """The rules of the setting `trackMapping`. Raises InvalidMapping with every fault."""
    return compile_rules("trackMapping", mapping, payload="properties")


DEFAULT_IDENTIFY_RULES = compile_identify_mapping(IDENTIFY_MAPPING)
DEFAULT_TRACK_RULES = compile_track_mapping(TRACK_MAPPING)


@dataclass(frozen=True, slots=True)
class EventMapping:
    """What a shop wants done with its events; the field names follow the settings.

    `track_events_filter` holds the names of the track events that pass; empty, all pass.
    """

    identify_disabled: bool = False
    identify_rules: Rules = DEFAULT_IDENTIFY_RULES
    track_disabled: bool = False
    track_events_filter: frozenset[str] = frozenset()
    track_rules: Rules = DEFAULT_TRACK_RULES


def map_event(raw: object, mapping: EventMapping) -> Request | Skip:
    """The one request that a raw Segment event becomes, or why it becomes none. `raw` stays as it was.

    Raises InvalidEvent where the event can never become a valid request.
    """
    event = normalise(raw)
    if event.opts_out:
        return Skip("opted_out")
    match event.type:
        case "identify":
            if mapping.identify_disabled:
                return Skip("identify_disabled")
            return customer_request(event, mapping.identify_rules)
        case "track":
            if mapping.track_disabled:
                return Skip("track_disabled")
            if not _passes(mapping.track_events_filter, event):
                return Skip("track_events_filter")
            return custom_event_request(event, mapping.track_rules)
    return Skip("type_not_supported")


def _passes(track_events_filter: frozenset[str], event: Event) -> bool:
    name = event.fields.get("event")
    return not track_events_filter or (isinstance(name, str) and name in track_events_filter)
