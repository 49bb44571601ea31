"""Map a Segment event to a Voucherify request. Pure: no I/O, clock, environment, logging or AWS.

Other packages import the mapping from here only.
"""

from __future__ import annotations

from mapping.calls import CALLS
from mapping.errors import Fault, InvalidEvent, InvalidMapping, RejectReason, UnknownType
from mapping.event.segment import message_id_of, normalise
from mapping.event_mapping import TRACK_EVENTS_FILTER, EventMapping
from mapping.explanation import Explanation
from mapping.metadata import MetadataSchemas
from mapping.requests.request import Operation, Request, Skip, SkipReason
from mapping.rules.destinations import destination_schema
from mapping.spelling import nearest
from mapping.trace import Filled, LeftOut, MappingTrace

__all__ = [
    "CALLS",
    "TRACK_EVENTS_FILTER",
    "EventMapping",
    "Explanation",
    "Fault",
    "Filled",
    "InvalidEvent",
    "InvalidMapping",
    "LeftOut",
    "MetadataSchemas",
    "Operation",
    "RejectReason",
    "Request",
    "Skip",
    "SkipReason",
    "UnknownType",
    "destination_schema",
    "explain",
    "map_event",
    "message_id_of",
    "nearest",
    "normalise",
]


def map_event(raw: object, mapping: EventMapping) -> Request | Skip:
    """Return the request that a raw Segment event becomes, or a skip. `raw` stays unchanged.

    Raises InvalidEvent where the event can never become a valid request.
    """
    return _map(raw, mapping, MappingTrace())


def explain(raw: object, mapping: EventMapping) -> Explanation:
    """Return the outcome of `map_event` with the origin of each field, what was left out, and what stayed empty."""
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
        return Skip(SkipReason.OPTED_OUT)
    call = CALLS.get(event.type)
    if call is None:
        return Skip(SkipReason(f"{event.type}_not_supported"))
    if call.name in mapping.disabled:
        return Skip(SkipReason(f"{call.name}_disabled"))
    if call.name == "track" and not mapping.track_events_filter.passes(event.fields.get("event")):
        return Skip(SkipReason.TRACK_EVENTS_FILTER)
    trace.left_out += event.left_out
    return call.to_request(event, mapping.rules_of(call.name), trace)
