"""The mapping settings of one source, compiled once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mapping.calls import CALLS
from mapping.defaults import DefaultSet
from mapping.errors import Fault, InvalidMapping
from mapping.event_names import ByName, EventFilter
from mapping.mapping_settings import MAPPINGS, NamedRules, RulesByName, compile_setting
from mapping.order_status import OrderStatus
from mapping.spelling import nearest
from mapping.values import kind_of

TRACK_EVENTS_FILTER = "trackEventsFilter"
REQUIRE_USER_ID = "requireUserId"
CLEAR_ON_NULL = "clearOnNull"
DEFAULT_MAPPING = "defaultMapping"
ORDER_EVENTS = "orderEvents"

# The names of the settings that `EventMapping.compile` reads.
MAPPING_SETTINGS = (
    TRACK_EVENTS_FILTER,
    REQUIRE_USER_ID,
    CLEAR_ON_NULL,
    DEFAULT_MAPPING,
    ORDER_EVENTS,
    *(call.disabled_setting for call in CALLS.values()),
    *MAPPINGS,
)


@dataclass(frozen=True, slots=True)
class EventMapping:
    """The compiled settings: `disabled` has the names of the disabled calls, `rules` those of each mapping setting.

    `requires_user_id`: an event whose customer would be known by `anonymousId` alone is skipped. `order_events` has the
    status that a track event gives its order.
    """

    disabled: frozenset[str]
    rules: Mapping[str, RulesByName]
    track_events_filter: EventFilter
    requires_user_id: bool
    order_events: ByName[OrderStatus]

    @classmethod
    def compile(cls, settings: Mapping[str, object]) -> EventMapping:
        """Compile the values of the MAPPING_SETTINGS, each of which has a default, and of their labelled parameters.

        Raises InvalidMapping with the faults of all of them.
        """
        faults: list[Fault] = []
        clear_on_null = _flag(settings, CLEAR_ON_NULL, False, faults)
        default_set = _default_set(settings, faults)
        rules: dict[str, RulesByName] = {}
        for setting in MAPPINGS.values():
            try:
                rules[setting.name] = compile_setting(setting, settings, default_set, clear_on_null=clear_on_null)
            except InvalidMapping as error:
                faults += error.faults
        mapping = cls(
            frozenset(
                call.name for call in CALLS.values() if _flag(settings, call.disabled_setting, call.is_disabled, faults)
            ),
            rules,
            _filter(settings, faults),
            _flag(settings, REQUIRE_USER_ID, False, faults),
            _order_events(settings, faults),
        )
        if faults:
            raise InvalidMapping(faults)
        return mapping

    def rules_for(self, setting: str, name: object) -> NamedRules:
        """Return the rules of a mapping setting for the events of a name."""
        return self.rules[setting].find(name)


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


def _order_events(settings: Mapping[str, object], faults: list[Fault]) -> ByName[OrderStatus]:
    given = settings.get(ORDER_EVENTS, {})
    statuses: dict[str, OrderStatus] = {}
    if not isinstance(given, Mapping):
        problem = f'must be a JSON object, such as {{"Order Completed": "PAID"}}, not {kind_of(given)}'
        faults.append(Fault(ORDER_EVENTS, "", problem))
        given = {}
    for name, status in given.items():
        if not name:
            faults.append(Fault(ORDER_EVENTS, "", "an event name is empty"))
        elif isinstance(status, str) and status in list(OrderStatus):
            statuses[name] = OrderStatus(status)
        else:
            advice = nearest(status.upper(), [one.value for one in OrderStatus]) if isinstance(status, str) else ""
            faults.append(Fault(ORDER_EVENTS, name, f"the status must be one of {', '.join(OrderStatus)}{advice}"))
    return ByName.of(statuses)
