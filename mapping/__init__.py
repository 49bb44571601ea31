"""Map a Segment event to Voucherify requests. Pure: no I/O, clock, environment, logging or AWS.

Other packages import the mapping from here only.
"""

from __future__ import annotations

from mapping.attributes import Attributes, attributes_of, time_of, without_attributes
from mapping.calls import CALLS, Call
from mapping.defaults import DefaultSet
from mapping.errors import Fault, InvalidEvent, InvalidMapping, RejectReason, UnknownType
from mapping.event.segment import message_id_of, normalise
from mapping.event_mapping import (
    CLEAR_ON_NULL,
    DEFAULT_MAPPING,
    MAPPING_SETTINGS,
    ORDER_EVENTS,
    REQUIRE_USER_ID,
    TRACK_EVENTS_FILTER,
    EventMapping,
)
from mapping.explanation import Explanation
from mapping.mapper import explain, map_event
from mapping.mapping_settings import MAPPINGS, ORDER, TRACK, MappingSetting, NamedRules, has_event_names, setting_of
from mapping.metadata import MetadataSchemas
from mapping.order_status import OrderStatus
from mapping.requests.request import Operation, Request, Skip, SkipReason
from mapping.row_use import RowUse, use_of_rows
from mapping.rules.destinations import destination_schema
from mapping.spelling import nearest
from mapping.trace import Filled, LeftOut

__all__ = [
    "CALLS",
    "CLEAR_ON_NULL",
    "DEFAULT_MAPPING",
    "MAPPINGS",
    "MAPPING_SETTINGS",
    "ORDER",
    "ORDER_EVENTS",
    "REQUIRE_USER_ID",
    "TRACK",
    "TRACK_EVENTS_FILTER",
    "Attributes",
    "Call",
    "DefaultSet",
    "EventMapping",
    "Explanation",
    "Fault",
    "Filled",
    "InvalidEvent",
    "InvalidMapping",
    "LeftOut",
    "MappingSetting",
    "MetadataSchemas",
    "NamedRules",
    "Operation",
    "OrderStatus",
    "RejectReason",
    "Request",
    "RowUse",
    "Skip",
    "SkipReason",
    "UnknownType",
    "attributes_of",
    "destination_schema",
    "explain",
    "has_event_names",
    "map_event",
    "message_id_of",
    "nearest",
    "normalise",
    "setting_of",
    "time_of",
    "use_of_rows",
    "without_attributes",
]
