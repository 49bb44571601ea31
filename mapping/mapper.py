"""Maps one event: chooses the requests that it becomes and the rules of each, and makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from mapping.calls import CALLS, Call
from mapping.errors import InvalidEvent, RejectReason
from mapping.event.segment import Event, normalise
from mapping.event_mapping import EventMapping
from mapping.explanation import Explanation
from mapping.mapping_settings import ORDER, NamedRules
from mapping.not_sent import not_sent
from mapping.requests.order import order_request
from mapping.requests.request import Request, Skip, SkipReason
from mapping.rules.rule import Rules
from mapping.trace import MappingTrace

_NO_RULES = NamedRules("", "", ())
_NO_CUSTOMER_ID = (RejectReason.CUSTOMER_ID_MISSING, RejectReason.PLACEHOLDER_ID)


def map_event(raw: object, mapping: EventMapping, *, is_routed: bool = True) -> Request | Skip:
    """Return the request that a raw Segment event becomes, with the further ones in `also`, or a skip.

    `raw` stays unchanged. `is_routed`: Segment has chosen this destination for the event, so that `All: false` in its
    `integrations` concerns others. Raises InvalidEvent where the event can never become a valid request.
    """
    event = normalise(raw)
    made = _make(event, mapping, is_full=False, is_routed=is_routed)
    if isinstance(made, Skip):
        return made
    first, *further = _requests_first(made)
    if isinstance(first.outcome, InvalidEvent):
        raise first.outcome
    return first.outcome._replace(also=tuple(one.outcome for one in further)) if further else first.outcome


def explain(raw: object, mapping: EventMapping, *, is_routed: bool = True) -> Explanation:
    """Return the outcome of `map_event` with the origin of each field, what was left out, and what stayed empty."""
    try:
        event = normalise(raw)
    except InvalidEvent as error:
        return Explanation(error)
    made = _make(event, mapping, is_full=True, is_routed=is_routed)
    if isinstance(made, Skip):
        return Explanation(made)
    first, *further = (Explanation.of(one.outcome, one.rules, one.trace) for one in _requests_first(made))
    unsent = not_sent(event, [one.rules.rules for one in made], [one.trace for one in made])
    return replace(first, also=tuple(further), not_sent=tuple(unsent))


class _Part(NamedTuple):
    """One request of an event: how it is made, and from which rules. `rules` names where they come from."""

    to_request: Callable[[Event, Rules, MappingTrace], Request]
    rules: NamedRules


class _Made(NamedTuple):
    """One request of an event, or why the event can never become it."""

    outcome: Request | InvalidEvent
    rules: NamedRules
    trace: MappingTrace


def _make(event: Event, mapping: EventMapping, *, is_full: bool, is_routed: bool) -> list[_Made] | Skip:
    if event.opts_out(is_routed=is_routed):
        return Skip(SkipReason.OPTED_OUT)
    call = CALLS.get(event.type)
    if call is None:
        return Skip(SkipReason(f"{event.type}_not_supported"))
    if call.name in mapping.disabled:
        return Skip(SkipReason(f"{call.name}_disabled"))
    needs_user_id = mapping.requires_user_id and call.creates_customer
    if needs_user_id:
        event = event._replace(anonymous_id=None)
    made: list[_Made] = []
    reason = SkipReason.TRACK_EVENTS_FILTER
    for part in _parts(event, call, mapping):
        trace = MappingTrace(is_full=is_full)
        if not made:
            trace.left_out += event.left_out
        outcome: Request | InvalidEvent
        try:
            outcome = part.to_request(event, part.rules.rules, trace)
        except InvalidEvent as error:
            if needs_user_id and error.code in _NO_CUSTOMER_ID:
                reason = SkipReason.USER_ID_REQUIRED
                continue
            outcome = error
        made.append(_Made(outcome, part.rules, trace))
    return made or Skip(reason)


def _parts(event: Event, call: Call, mapping: EventMapping) -> Iterator[_Part]:
    """Yield the requests that an event becomes: that of its call, and the order of a track event."""
    name = call.name_of(event)
    rules = mapping.rules_for(call.mapping.name, name) if call.mapping else _NO_RULES
    if call.name != "track":
        yield _Part(call.to_request, rules)
        return
    if mapping.track_events_filter.passes(name):
        yield _Part(call.to_request, rules)
    if status := mapping.order_events.find(name):
        of_order = mapping.rules_for(ORDER.name, name)
        of_customer = tuple(rule for rule in rules.rules if rule.path[0] == "customer")
        yield _Part(partial(order_request, status=status), of_order._replace(rules=(*of_customer, *of_order.rules)))


def _requests_first(made: Sequence[_Made]) -> list[_Made]:
    return sorted(made, key=lambda one: isinstance(one.outcome, InvalidEvent))
