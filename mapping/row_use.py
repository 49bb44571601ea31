"""Which rows of its mappings find a value in an event: in the time of mapping it, without values, for a count."""

from __future__ import annotations

from typing import NamedTuple

from mapping.calls import CALLS
from mapping.errors import InvalidEvent
from mapping.event.segment import Event, normalise
from mapping.event_mapping import EventMapping
from mapping.mapping_settings import ORDER, NamedRules
from mapping.rules.rule import Rule
from mapping.values import ConversionError, is_missing


class RowUse(NamedTuple):
    """The mappings of one event, each with its rows that find nothing in it.

    `is_unread`: the event has properties or traits, and no row of any mapping finds something.
    """

    empty: list[tuple[NamedRules, list[Rule]]]
    is_unread: bool


def use_of_rows(raw: object, mapping: EventMapping) -> RowUse | None:
    """Return the use of the rows, or None where the event has no mapping: it is invalid, disabled or a deletion."""
    try:
        event = normalise(raw)
    except InvalidEvent:
        return None
    call = CALLS.get(event.type)
    if call is None or call.mapping is None or call.name in mapping.disabled:
        return None
    name = call.name_of(event)
    settings = [call.mapping, *([ORDER] if call.name == "track" and mapping.order_events.find(name) else [])]
    of_event = [mapping.rules_for(setting.name, name) for setting in settings]
    empty = [(rules, [rule for rule in rules.rules if not _finds(rule, event)]) for rules in of_event]
    has_found = any(len(found_nothing) < len(rules.rules) for rules, found_nothing in empty)
    return RowUse(empty, is_unread=bool(event.fields.get(call.mapping.payload)) and not has_found)


def _finds(rule: Rule, event: Event) -> bool:
    try:
        return not is_missing(rule.source.read(event))
    except ConversionError:  # there is a value, which the request's `left_out` names
        return True
