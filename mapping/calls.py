"""The table of Segment's calls and their requests. `alias` is not in it, since Voucherify has no such operation.

https://segment.com/docs/connections/spec/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mapping.defaults import (
    ACTIONS_MAPPINGS,
    GROUP_MAPPING,
    PROPERTIES_MAPPING,
    TRAITS_MAPPING,
    VIEW_MAPPING,
    DefaultMapping,
    DefaultSet,
)
from mapping.event.segment import Event
from mapping.requests.custom_event import page_request, screen_request, track_request
from mapping.requests.customer import deletion_request, group_request, identify_request
from mapping.requests.request import Request
from mapping.rules.destinations import FIELDS
from mapping.rules.rule import Rules, compile_rules
from mapping.trace import MappingTrace


@dataclass(frozen=True, slots=True)
class Call:
    """One of Segment's calls, and how it becomes a request.

    `payload` is the field with its data, `parts` are the parts of a body that it sends. A call without a
    `default_mapping` has no mapping setting. `is_disabled` is the default of its setting.
    """

    name: str
    to_request: Callable[[Event, Rules, MappingTrace], Request]
    payload: str = ""
    default_mapping: DefaultMapping | None = None
    parts: frozenset[str] = frozenset(FIELDS)
    is_disabled: bool = False

    @property
    def disabled_setting(self) -> str:
        return f"{self.name}Disabled"

    @property
    def mapping_setting(self) -> str:
        return f"{self.name}Mapping"

    @property
    def creates_customer(self) -> bool:
        """Whether its request creates a customer who does not exist yet. Only a deletion does not."""
        return self.default_mapping is not None

    def default_of(self, default_set: DefaultSet) -> DefaultMapping | None:
        """Return the call's default mapping in one of the two sets."""
        return ACTIONS_MAPPINGS.get(self.name) if default_set is DefaultSet.ACTIONS else self.default_mapping

    def compile(self, mapping: object, *, clear_on_null: bool) -> Rules:
        """Return the rules of the call's mapping setting. Raises InvalidMapping with all faults."""
        return compile_rules(self.mapping_setting, mapping, self.payload, self.parts, clear_on_null=clear_on_null)


_CUSTOMER_ONLY = frozenset({"customer"})

CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        Call("identify", identify_request, "traits", TRAITS_MAPPING, _CUSTOMER_ONLY),
        Call("track", track_request, "properties", PROPERTIES_MAPPING),
        Call("page", page_request, "properties", VIEW_MAPPING, is_disabled=True),
        Call("screen", screen_request, "properties", VIEW_MAPPING, is_disabled=True),
        Call("group", group_request, "traits", GROUP_MAPPING, _CUSTOMER_ONLY, is_disabled=True),
        Call("delete", deletion_request, is_disabled=True),
    )
}
