"""Requests that track a custom event.

Source: https://docs.voucherify.io/reference/track-custom-event
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mapping.errors import InvalidEvent, RejectReason
from mapping.event.segment import Event
from mapping.requests.customer import complete_customer, key_of
from mapping.requests.request import Operation, Request
from mapping.rules.rule import Rules, apply_rules
from mapping.trace import Filled, MappingTrace
from mapping.values import ConversionError, is_missing, to_event_name, to_text, trimmed_text_or_none

_OPTIONAL_PARTS = ("metadata", "loyalty", "referral")
_PARTS_WITH_A_CODE = ("loyalty", "referral")


class _Naming(NamedTuple):
    """The name of a call's custom event: a pattern for a field of the event, and the name where that is missing."""

    source: str
    pattern: str
    unnamed: str


_PAGE = _Naming("name", "Viewed {} Page", "Loaded a Page")
_SCREEN = _Naming("name", "Viewed {} Screen", "Loaded a Screen")


def track_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """Return `POST /v1/events` with `{event, customer, metadata?, loyalty?, referral?}`.

    Raises InvalidEvent where the customer's id is missing, or where the event's name cannot be used: another name
    could grant another reward.
    """
    body = apply_rules(rules, event, trace)
    return _custom_event(body, _Naming("event", "{}", event.type), event, trace)


def page_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """Return a track's request named `Viewed <name> Page`, or `Loaded a Page`. Raises InvalidEvent.

    Segment's own libraries use these names: https://github.com/segmentio/facade/blob/master/lib/page.ts
    """
    return _view(_PAGE, event, rules, trace)


def screen_request(event: Event, rules: Rules, trace: MappingTrace) -> Request:
    """Return a track's request named `Viewed <name> Screen`, or `Loaded a Screen`. Raises InvalidEvent.

    https://github.com/segmentio/facade/blob/master/lib/screen.ts
    """
    return _view(_SCREEN, event, rules, trace)


def _view(naming: _Naming, event: Event, rules: Rules, trace: MappingTrace) -> Request:
    body = apply_rules(rules, event, trace)
    customer = body.get("customer", {})
    # Segment's libraries repeat the page's name in `properties.name`; others have it only there:
    # https://segment.com/docs/connections/spec/page/#properties
    names = [event.casing.get(event.fields, naming.source)]
    if not any(rule.destination == "customer.name" for rule in rules):
        names.append(event.casing.get(event.fields.get("properties", {}), "name"))
    if customer.get("name") is not None and customer["name"] in map(trimmed_text_or_none, names):
        del customer["name"]
        trace.withdraw("customer.name", "it is the name of the page or screen")
    return _custom_event(body, naming, event, trace)


def _custom_event(body: dict[str, Any], naming: _Naming, event: Event, trace: MappingTrace) -> Request:
    customer = complete_customer(body, event, trace, "properties")
    for part in _PARTS_WITH_A_CODE:
        if part in body and "code" not in body[part]:
            del body[part]
            trace.withdraw(part, "its code is missing")
            trace.leave_out("", part, "its code is missing")
    sent = {
        "event": _event_name(body, naming, event, trace),
        "customer": customer,
        **{part: body[part] for part in _OPTIONAL_PARTS if part in body},
    }
    return Request(Operation.TRACK_EVENT, "POST", "/v1/events", sent, key_of(customer), tuple(trace.left_out))


def _event_name(body: dict[str, Any], naming: _Naming, event: Event, trace: MappingTrace) -> str:
    for left_out in trace.left_out:
        if left_out.destination == "event":
            raise _invalid_name(left_out.source, left_out.reason)
    if "event" in body:
        mapped: str = body["event"]
        return mapped
    source, given, name = naming.source, event.casing.get(event.fields, naming.source), naming.unnamed
    if is_missing(given):
        source, given = "type", event.fields["type"]
    else:
        try:
            name = to_event_name(naming.pattern.format(to_text(given)))
        except ConversionError as error:
            raise _invalid_name(source, str(error)) from error
    trace.record_filled(Filled("event", source, event.casing.key(event.fields, source), given, name, is_fallback=True))
    return name


def _invalid_name(source: str, reason: str) -> InvalidEvent:
    problem = f"the event name cannot be used, from {source}: {reason}"
    return InvalidEvent(RejectReason.INVALID_EVENT_NAME, source, problem)
