"""The table of Segment's calls and their requests. `alias` is not in it, since Voucherify has no such operation.

https://segment.com/docs/connections/spec/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mapping.defaults import GROUP_MAPPING, PROPERTIES_MAPPING, TRAITS_MAPPING, VIEW_MAPPING, DefaultMapping
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

    def compile(self, mapping: object) -> Rules:
        """Return the rules of the call's mapping setting. Raises InvalidMapping with all faults."""
        return compile_rules(self.mapping_setting, mapping, self.payload, self.parts)


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
