"""Map a Segment event to a Voucherify request. Pure: no I/O, clock, environment, logging or AWS.

Other packages import the mapping from here only.
"""

from __future__ import annotations

from mapping.calls import CALLS
from mapping.defaults import DefaultSet
from mapping.errors import Fault, InvalidEvent, InvalidMapping, RejectReason, UnknownType
from mapping.event.segment import message_id_of, normalise
from mapping.event_mapping import (
    CLEAR_ON_NULL,
    DEFAULT_MAPPING,
    MAPPING_SETTINGS,
    REQUIRE_USER_ID,
    TRACK_EVENTS_FILTER,
    EventMapping,
)
from mapping.explanation import Explanation
from mapping.metadata import MetadataSchemas
from mapping.requests.request import Operation, Request, Skip, SkipReason
from mapping.rules.destinations import destination_schema
from mapping.spelling import nearest
from mapping.trace import Filled, LeftOut, MappingTrace

__all__ = [
    "CALLS",
    "CLEAR_ON_NULL",
    "DEFAULT_MAPPING",
    "MAPPING_SETTINGS",
    "REQUIRE_USER_ID",
    "TRACK_EVENTS_FILTER",
    "DefaultSet",
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


def map_event(raw: object, mapping: EventMapping, *, is_routed: bool = True) -> Request | Skip:
    """Return the request that a raw Segment event becomes, or a skip. `raw` stays unchanged.

    `is_routed`: Segment has chosen this destination for the event, so that `All: false` in its `integrations` concerns
    others. Raises InvalidEvent where the event can never become a valid request.
    """
    return _map(raw, mapping, MappingTrace(), is_routed=is_routed)


def explain(raw: object, mapping: EventMapping, *, is_routed: bool = True) -> Explanation:
    """Return the outcome of `map_event` with the origin of each field, what was left out, and what stayed empty."""
    trace = MappingTrace(is_full=True)
    outcome: Request | Skip | InvalidEvent
    try:
        outcome = _map(raw, mapping, trace, is_routed=is_routed)
    except InvalidEvent as error:
        outcome = error
    if isinstance(outcome, Skip):
        trace = MappingTrace()  # nothing of it is sent
    return Explanation(outcome, tuple(trace.filled), tuple(trace.unused), tuple(trace.empty), tuple(trace.left_out))


def _map(raw: object, mapping: EventMapping, trace: MappingTrace, *, is_routed: bool) -> Request | Skip:
    event = normalise(raw)
    if event.opts_out(is_routed=is_routed):
        return Skip(SkipReason.OPTED_OUT)
    call = CALLS.get(event.type)
    if call is None:
        return Skip(SkipReason(f"{event.type}_not_supported"))
    if call.name in mapping.disabled:
        return Skip(SkipReason(f"{call.name}_disabled"))
    if call.name == "track" and not mapping.track_events_filter.passes(event.fields.get("event")):
        return Skip(SkipReason.TRACK_EVENTS_FILTER)
    trace.left_out += event.left_out
    if not (mapping.requires_user_id and call.creates_customer):
        return call.to_request(event, mapping.rules_of(call.name), trace)
    try:
        return call.to_request(event._replace(anonymous_id=None), mapping.rules_of(call.name), trace)
    except InvalidEvent as error:
        if error.code in (RejectReason.CUSTOMER_ID_MISSING, RejectReason.PLACEHOLDER_ID):
            return Skip(SkipReason.USER_ID_REQUIRED)
        raise
