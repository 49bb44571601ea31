"""The table of Segment's calls and their requests. `alias` is not in it, since Voucherify has no such operation.

https://segment.com/docs/connections/spec/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mapping.event.segment import Event
from mapping.mapping_settings import GROUP, IDENTIFY, PAGE, SCREEN, TRACK, MappingSetting
from mapping.requests.custom_event import page_request, screen_request, track_request
from mapping.requests.customer import deletion_request, group_request, identify_request
from mapping.requests.request import Request
from mapping.rules.rule import Rules
from mapping.trace import MappingTrace


def _name_of_event(event: Event) -> object:
    return event.fields.get("event")


def _name_of_view(event: Event) -> object:
    """Return the name of a page or screen. Some libraries have it in `properties.name` only."""
    return event.casing.get(event.fields, "name") or event.casing.get(event.fields.get("properties", {}), "name")


@dataclass(frozen=True, slots=True)
class Call:
    """One of Segment's calls, and how it becomes a request.

    A call without a `mapping` needs none. `is_disabled` is the default of its setting. `name_of` reads the name by
    which its events may have mappings of their own.
    """

    name: str
    to_request: Callable[[Event, Rules, MappingTrace], Request]
    mapping: MappingSetting | None = None
    is_disabled: bool = False
    name_of: Callable[[Event], object] = lambda _: None

    @property
    def disabled_setting(self) -> str:
        return f"{self.name}Disabled"

    @property
    def creates_customer(self) -> bool:
        """Whether its request creates a customer who does not exist yet. Only a deletion does not."""
        return self.mapping is not None


CALLS: Mapping[str, Call] = {
    call.name: call
    for call in (
        Call("identify", identify_request, IDENTIFY),
        Call("track", track_request, TRACK, name_of=_name_of_event),
        Call("page", page_request, PAGE, is_disabled=True, name_of=_name_of_view),
        Call("screen", screen_request, SCREEN, is_disabled=True, name_of=_name_of_view),
        Call("group", group_request, GROUP, is_disabled=True),
        Call("delete", deletion_request, is_disabled=True),
    )
}
