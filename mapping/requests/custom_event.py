"""The request that tracks a custom event.

Source: https://docs.voucherify.io/reference/track-custom-event
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

from mapping.errors import UnmappableEvent
from mapping.event.segment import Event
from mapping.requests.customer import complete_customer, customer_key
from mapping.requests.request import Operation, Request
from mapping.rules.paths import is_missing
from mapping.rules.rule import Rules, apply_rules
from mapping.trace import Filled, MappingTrace
from mapping.values import ConversionError, to_event_name, to_text

_OPTIONAL_PARTS = ("metadata", "loyalty", "referral")
_NEED_A_CODE = ("loyalty", "referral")


class _Name(NamedTuple):
    """How a call names its custom event: by a field of the event, or by a name of its own where that is missing."""

    source: str
    pattern: str
    unnamed: str


_PAGE = _Name("name", "Viewed {} Page", "Loaded a Page")
_SCREEN = _Name("name", "Viewed {} Screen", "Loaded a Screen")


def track_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """track: `POST /v1/events` with `{event, customer, metadata?, loyalty?, referral?}`.

    Raises UnmappableEvent where nothing says whose event it is, or where its name is unfit: under another name it
    could grant another reward.
    """
    body = apply_rules(rules, event, trace)
    return _custom_event(body, _Name("event", "{}", event.type), event, trace)


def page_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """page: as track, named `Viewed <name> Page`, or `Loaded a Page` where it has no name. Raises UnmappableEvent.

    So Segment's own libraries name it: https://github.com/segmentio/facade/blob/master/lib/page.ts
    """
    return _view(_PAGE, event, rules, trace)


def screen_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """screen: as track, named `Viewed <name> Screen`, or `Loaded a Screen`. Raises UnmappableEvent.

    https://github.com/segmentio/facade/blob/master/lib/screen.ts
    """
    return _view(_SCREEN, event, rules, trace)


def _view(name: _Name, event: Event, rules: Rules, trace: MappingTrace) -> Request:
    body = apply_rules(rules, event, trace)
    customer = body.get("customer", {})
    # Segment's libraries repeat the page's name in `properties.name`, from which a track's customer is named:
    # https://segment.com/docs/connections/spec/page/#properties
    with suppress(ConversionError):  # without a name of its own there is nothing to compare
        if customer.get("name") == to_text(event.casing.get(event.fields, name.source)):
            del customer["name"]
            trace.set_aside("customer.name", "it is the name of what was viewed")
    return _custom_event(body, name, event, trace)


def _custom_event(body: dict[str, Any], name: _Name, event: Event, trace: MappingTrace) -> Request:
    customer = complete_customer(body, event, trace, "properties")
    for part in _NEED_A_CODE:
        if part in body and "code" not in body[part]:
            del body[part]
            trace.set_aside(part, "has no code")
            trace.leave_out("", part, "has no code")
    return Request(
        operation=Operation.TRACK_EVENT,
        method="POST",
        path="/v1/events",
        body={
            "event": _event_name(body, name, event, trace),
            "customer": customer,
            **{part: body[part] for part in _OPTIONAL_PARTS if part in body},
        },
        customer=customer_key(customer),
        left_out=tuple(trace.left_out),
    )


def _event_name(body: dict[str, Any], name: _Name, event: Event, trace: MappingTrace) -> str:
    for unfit in trace.left_out:
        if unfit.destination == "event":
            raise UnmappableEvent("invalid_event_name", unfit.source, unfit.reason)
    if "event" in body:
        mapped: str = body["event"]
        return mapped
    source, given = name.source, event.casing.get(event.fields, name.source)
    if is_missing(given):
        source, given, result = "type", event.fields["type"], name.unnamed
    else:
        try:
            result = to_event_name(name.pattern.format(to_text(given)))
        except ConversionError as unfit:
            raise UnmappableEvent("invalid_event_name", source, str(unfit)) from unfit
    if trace.is_full:
        found_at = event.casing.key(event.fields, source)
        trace.fill(Filled("event", source, found_at, given, result, is_fallback=True))
    return result
