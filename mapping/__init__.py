"""A Segment event in, a Voucherify request out. Pure: no I/O, clock, environment, logging or AWS.

This is the package's one door: whoever needs the mapping imports it from here.
"""

from __future__ import annotations

from mapping.calls import CALLS, Call
from mapping.errors import Fault, InvalidEvent, InvalidMapping, MappingError, UnknownType, UnmappableEvent
from mapping.event.segment import Event, message_id_of, normalise
from mapping.event_mapping import TRACK_EVENTS_FILTER, EventMapping
from mapping.explanation import Explanation
from mapping.requests.request import Operation, Request, Skip
from mapping.rules.fields import destination_schema
from mapping.spelling import nearest
from mapping.trace import Filled, LeftOut, MappingTrace

__all__ = [
    "CALLS",
    "TRACK_EVENTS_FILTER",
    "Call",
    "Event",
    "EventMapping",
    "Explanation",
    "Fault",
    "Filled",
    "InvalidEvent",
    "InvalidMapping",
    "LeftOut",
    "MappingError",
    "Operation",
    "Request",
    "Skip",
    "UnknownType",
    "UnmappableEvent",
    "destination_schema",
    "explain",
    "map_event",
    "message_id_of",
    "nearest",
    "normalise",
]


def map_event(raw: object, mapping: EventMapping) -> Request | Skip:
    """The one request that a raw Segment event becomes, or why it becomes none. `raw` stays as it was.

    Raises InvalidEvent where the event can never become a valid request.
    """
    return _map(raw, mapping, MappingTrace())


def explain(raw: object, mapping: EventMapping) -> Explanation:
    """What `map_event` makes of an event, with each field's origin, what was left out and what stayed empty."""
    trace = MappingTrace(is_full=True)
    outcome: Request | Skip | InvalidEvent
    try:
        outcome = _map(raw, mapping, trace)
    except InvalidEvent as error:
        outcome = error
    return Explanation(outcome, tuple(trace.filled), tuple(trace.unused), tuple(trace.empty), tuple(trace.left_out))


def _map(raw: object, mapping: EventMapping, trace: MappingTrace) -> Request | Skip:
    event = normalise(raw)
    if event.opts_out:
        return Skip("opted_out")
    call = CALLS.get(event.type)
    if call is None:
        return Skip(f"{event.type}_not_supported")
    if call.name in mapping.disabled:
        return Skip(f"{call.name}_disabled")
    if call.name == "track" and not mapping.track_events_filter.passes(event.fields.get("event")):
        return Skip("track_events_filter")
    trace.left_out += event.left_out
    return call.to_request(event, mapping.rules.get(call.name, ()), trace)
