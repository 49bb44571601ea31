"""The mapping settings of one source, compiled once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from mapping.calls import CALLS, Call
from mapping.defaults import DefaultSet
from mapping.errors import Fault, InvalidMapping
from mapping.rules.rule import Rules
from mapping.values import MAX_EVENT_NAME, kind_of

TRACK_EVENTS_FILTER = "trackEventsFilter"
REQUIRE_USER_ID = "requireUserId"
CLEAR_ON_NULL = "clearOnNull"
DEFAULT_MAPPING = "defaultMapping"

# The names of the settings that `EventMapping.compile` reads.
MAPPING_SETTINGS = (
    TRACK_EVENTS_FILTER,
    REQUIRE_USER_ID,
    CLEAR_ON_NULL,
    DEFAULT_MAPPING,
    *(call.disabled_setting for call in CALLS.values()),
    *(call.mapping_setting for call in CALLS.values() if call.default_mapping is not None),
)


@dataclass(frozen=True, slots=True)
class NamePattern:
    """An event name with `*` for any characters, or none. Matching takes time that is linear in the name."""

    prefix: str
    middle: tuple[str, ...]
    suffix: str

    @classmethod
    def of(cls, name: str) -> NamePattern:
        prefix, *middle, suffix = name.split("*")
        return cls(prefix, tuple(middle), suffix)

    def matches(self, name: str) -> bool:
        position, end = len(self.prefix), len(name) - len(self.suffix)
        if position > end or not (name.startswith(self.prefix) and name.endswith(self.suffix)):
            return False
        for part in self.middle:
            found = name.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The names of the track events that pass; all events pass where there is no name.

    Names are compared exactly, and `*` in a name stands for any characters, or none.
    """

    names: frozenset[str]
    patterns: tuple[NamePattern, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> EventFilter:
        names = frozenset(names)
        return cls(names, tuple(NamePattern.of(name) for name in sorted(names) if "*" in name))

    def passes(self, name: object) -> bool:
        """Whether an event of this name passes. An event without a name passes no filter."""
        if not self.names:
            return True
        if not isinstance(name, str):
            return False
        if name in self.names:
            return True
        # Voucherify takes no longer names.
        return len(name) <= MAX_EVENT_NAME and any(pattern.matches(name) for pattern in self.patterns)


@dataclass(frozen=True, slots=True)
class EventMapping:
    """The compiled settings: `disabled` has the names of the disabled calls, `rules` those of each mapped call.

    `requires_user_id`: an event whose customer would be known by `anonymousId` alone is skipped.
    """

    disabled: frozenset[str]
    rules: Mapping[str, Rules]
    track_events_filter: EventFilter
    requires_user_id: bool

    @classmethod
    def compile(cls, settings: Mapping[str, object]) -> EventMapping:
        """Compile the values of the MAPPING_SETTINGS, each of which has a default.

        Raises InvalidMapping with the faults of all of them.
        """
        faults: list[Fault] = []
        disabled: set[str] = set()
        rules: dict[str, Rules] = {}
        requires_user_id = _flag(settings, REQUIRE_USER_ID, False, faults)
        clear_on_null = _flag(settings, CLEAR_ON_NULL, False, faults)
        default_set = _default_set(settings, faults)
        for call in CALLS.values():
            if _flag(settings, call.disabled_setting, call.is_disabled, faults):
                disabled.add(call.name)
            if call.default_mapping is not None:
                try:
                    rules[call.name] = _rules(call, settings, default_set, clear_on_null=clear_on_null)
                except InvalidMapping as error:
                    faults += error.faults
        track_events_filter = _filter(settings, faults)
        if faults:
            raise InvalidMapping(faults)
        return cls(frozenset(disabled), rules, track_events_filter, requires_user_id)

    def rules_of(self, call: str) -> Rules:
        """Return the rules of a call in the order written; none for a call that is not mapped."""
        return self.rules.get(call, ())


def _rules(call: Call, settings: Mapping[str, object], default_set: DefaultSet, *, clear_on_null: bool) -> Rules:
    if call.mapping_setting in settings:
        return call.compile(settings[call.mapping_setting], clear_on_null=clear_on_null)
    return _default_rules(call.name, default_set, clear_on_null)


@cache
def _default_rules(call: str, default_set: DefaultSet, clear_on_null: bool) -> Rules:
    return CALLS[call].compile(CALLS[call].default_of(default_set), clear_on_null=clear_on_null)


def _default_set(settings: Mapping[str, object], faults: list[Fault]) -> DefaultSet:
    value = settings.get(DEFAULT_MAPPING, DefaultSet.CLASSIC)
    if isinstance(value, str) and value in list(DefaultSet):
        return DefaultSet(value)
    faults.append(Fault(DEFAULT_MAPPING, "", f"must be {' or '.join(DefaultSet)}"))
    return DefaultSet.CLASSIC


def _flag(settings: Mapping[str, object], name: str, default: bool, faults: list[Fault]) -> bool:
    value = settings.get(name, default)
    if isinstance(value, bool):
        return value
    faults.append(Fault(name, "", f"must be true or false, not {kind_of(value)}"))
    return default


def _filter(settings: Mapping[str, object], faults: list[Fault]) -> EventFilter:
    names = settings.get(TRACK_EVENTS_FILTER, [])
    if isinstance(names, list) and all(isinstance(name, str) and name for name in names):
        return EventFilter.of(names)
    problem = 'must be an array of event names, such as ["Order Completed", "Viewed *"], or a StringList'
    faults.append(Fault(TRACK_EVENTS_FILTER, "", problem))
    return EventFilter.of([])
