"""What a shop wants done with its events: its mapping settings, compiled once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mapping.calls import CALLS, Call
from mapping.errors import Fault, InvalidMapping
from mapping.event_filter import EventFilter
from mapping.rules.rule import Rule, Rules, each_rule
from mapping.values import kind_of

TRACK_EVENTS_FILTER = "trackEventsFilter"


@dataclass(frozen=True, slots=True)
class EventMapping:
    """`disabled` names the calls that are dropped; `rules` has those of each call that is mapped."""

    disabled: frozenset[str]
    rules: Mapping[str, Rules]
    track_events_filter: EventFilter

    @classmethod
    def compile(cls, settings: Mapping[str, object]) -> EventMapping:
        """From the values of the settings `…Disabled`, `…Mapping` and `trackEventsFilter`, each with a default.

        Raises InvalidMapping with every fault of all of them.
        """
        faults: list[Fault] = []
        disabled: set[str] = set()
        rules: dict[str, Rules] = {}
        for call in CALLS.values():
            if _flag(settings, call.disabled_setting, call.is_disabled, faults):
                disabled.add(call.name)
            if call.default_mapping is not None:
                try:
                    rules[call.name] = _default_or_compiled(call, settings)
                except InvalidMapping as invalid:
                    faults += invalid.faults
        track_events_filter = _filter(settings, faults)
        if faults:
            raise InvalidMapping(faults)
        return cls(frozenset(disabled), rules, track_events_filter)

    def rules_of(self, call: str) -> Iterator[Rule]:
        """The rules of a call in the order written; none of one that is not mapped."""
        return each_rule(self.rules.get(call, ()))


_DEFAULT_RULES = {
    call.name: call.compile(call.default_mapping) for call in CALLS.values() if call.default_mapping is not None
}


def _default_or_compiled(call: Call, settings: Mapping[str, object]) -> Rules:
    if call.mapping_setting in settings:
        return call.compile(settings[call.mapping_setting])
    return _DEFAULT_RULES[call.name]


def _flag(settings: Mapping[str, object], name: str, default: bool, faults: list[Fault]) -> bool:
    value = settings.get(name, default)
    if isinstance(value, bool):
        return value
    faults.append(Fault(name, "", f"must be true or false, not {kind_of(value)}"))
    return default


def _filter(settings: Mapping[str, object], faults: list[Fault]) -> EventFilter:
    names = settings.get(TRACK_EVENTS_FILTER, [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        faults.append(
            Fault(
                TRACK_EVENTS_FILTER,
                "",
                'must be an array of event names, such as ["Order Completed", "Viewed *"], or a StringList',
            )
        )
        names = []
    return EventFilter.of(names)
