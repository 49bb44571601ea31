"""The table of the settings that hold a mapping, and the rules that they compile to, by event name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from mapping.defaults import (
    ACTIONS_MAPPINGS,
    GROUP_MAPPING,
    ORDER_MAPPING,
    PROPERTIES_MAPPING,
    TRAITS_MAPPING,
    VIEW_MAPPING,
    DefaultMapping,
    DefaultSet,
)
from mapping.errors import Fault, InvalidMapping
from mapping.event_names import ByName
from mapping.rules.destinations import CUSTOMER_PARTS, EVENT_PARTS, ORDER_PARTS
from mapping.rules.rule import Rules, compile_rules

ANY_EVENT = "*"


class MappingSetting(NamedTuple):
    """A setting with a mapping, and its default in each set.

    `payload` is the event's field with the data, `parts` are the parts of a body that its request sends. `has_names`:
    it may have a mapping for each event name, and labelled parameters such as `trackMapping.orders` beside it.
    """

    name: str
    payload: str
    parts: frozenset[str]
    classic: DefaultMapping
    actions: DefaultMapping
    has_names: bool = False

    def default_of(self, default_set: DefaultSet) -> DefaultMapping:
        return self.actions if default_set is DefaultSet.ACTIONS else self.classic


IDENTIFY = MappingSetting("identifyMapping", "traits", CUSTOMER_PARTS, TRAITS_MAPPING, ACTIONS_MAPPINGS["identify"])
TRACK = MappingSetting(
    "trackMapping", "properties", EVENT_PARTS, PROPERTIES_MAPPING, ACTIONS_MAPPINGS["track"], has_names=True
)
PAGE = MappingSetting("pageMapping", "properties", EVENT_PARTS, VIEW_MAPPING, ACTIONS_MAPPINGS["page"], has_names=True)
SCREEN = MappingSetting(
    "screenMapping", "properties", EVENT_PARTS, VIEW_MAPPING, ACTIONS_MAPPINGS["screen"], has_names=True
)
GROUP = MappingSetting("groupMapping", "traits", CUSTOMER_PARTS, GROUP_MAPPING, ACTIONS_MAPPINGS["group"])
ORDER = MappingSetting("orderMapping", "properties", ORDER_PARTS, ORDER_MAPPING, ORDER_MAPPING, has_names=True)

MAPPINGS: Mapping[str, MappingSetting] = {
    setting.name: setting for setting in (IDENTIFY, TRACK, PAGE, SCREEN, GROUP, ORDER)
}


def setting_of(parameter: str) -> str:
    """Return the name of the setting that a parameter belongs to: `trackMapping` for `trackMapping.orders`."""
    name, _, label = parameter.partition(".")
    return name if label and name in MAPPINGS and MAPPINGS[name].has_names else parameter


def has_event_names(mapping: object) -> bool:
    """Return whether a value of a mapping setting has a mapping for each event name: all its values are objects."""
    return isinstance(mapping, Mapping) and bool(mapping) and all(isinstance(one, Mapping) for one in mapping.values())


class NamedRules(NamedTuple):
    """The rules for the events of one name, and where they come from.

    `parameter` is the setting's, empty for the default mapping. `name` is the event's name there, which may have `*`;
    it is empty where the parameter has one mapping for all events.
    """

    parameter: str
    name: str
    rules: Rules

    def __str__(self) -> str:
        return f"{self.parameter}[{self.name!r}]" if self.name else self.parameter or "the default mapping"


@dataclass(frozen=True, slots=True)
class RulesByName:
    """The compiled rules of one mapping setting. Events that it does not name have the default mapping.

    A mapping for all events, or that of `*`, is also that of a name which is too long for other patterns.
    """

    by_name: ByName[NamedRules]
    default: NamedRules

    def find(self, name: object) -> NamedRules:
        return self.by_name.find(name) or self.by_name.exact.get(ANY_EVENT) or self.default

    def __iter__(self) -> Iterator[NamedRules]:
        """Yield the rules of each name, and the default mapping where events may have it."""
        yield from self.by_name.exact.values()
        if ANY_EVENT not in self.by_name.exact:
            yield self.default


def compile_setting(
    setting: MappingSetting, settings: Mapping[str, object], default_set: DefaultSet, *, clear_on_null: bool
) -> RulesByName:
    """Return the rules of a mapping setting and its labelled parameters. Raises InvalidMapping with all faults."""
    found: dict[str, NamedRules] = {}
    faults: list[Fault] = []
    for parameter in sorted(name for name in settings if setting_of(name) == setting.name):
        faults += _faults_of_names(setting, parameter, settings[parameter])
        for name, mapping in _mappings_in(setting, parameter, settings[parameter]):
            key = name or ANY_EVENT
            if key in found:
                what = "the event" if name else "one mapping for all events"
                faults.append(Fault(parameter, "", f"{what} is in {found[key].parameter} too", event=name))
            try:
                rules = compile_rules(
                    parameter, mapping, setting.payload, setting.parts, event=name, clear_on_null=clear_on_null
                )
            except InvalidMapping as error:
                faults += error.faults
                rules = ()
            found.setdefault(key, NamedRules(parameter, name, rules))
    if faults:
        raise InvalidMapping(faults)
    return RulesByName(ByName.of(found), NamedRules("", "", _default_rules(setting.name, default_set, clear_on_null)))


def _faults_of_names(setting: MappingSetting, parameter: str, value: object) -> Iterator[Fault]:
    """Yield the faults of the event names in a parameter's value."""
    if not setting.has_names or not isinstance(value, Mapping):
        return
    if "" in value and has_event_names(value):
        yield Fault(parameter, "", "an event name is empty")
    if not has_event_names(value):
        problem = "an object among rows: give a mapping rows only, or an object for each event name only"
        yield from (Fault(parameter, key, problem) for key, one in value.items() if isinstance(one, Mapping))


def _mappings_in(setting: MappingSetting, parameter: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield each mapping of a parameter with its event name, which is empty for one mapping for all events."""
    if not setting.has_names or not isinstance(value, Mapping):
        yield "", value
    elif has_event_names(value):
        yield from ((name, one) for name, one in value.items() if name)
    elif value or parameter == setting.name:  # a label without rows names no event
        yield "", {source: row for source, row in value.items() if not isinstance(row, Mapping)}


@cache
def _default_rules(setting: str, default_set: DefaultSet, clear_on_null: bool) -> Rules:
    mapping = MAPPINGS[setting]
    return compile_rules(
        mapping.name, mapping.default_of(default_set), mapping.payload, mapping.parts, clear_on_null=clear_on_null
    )
