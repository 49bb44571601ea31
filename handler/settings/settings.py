"""The settings of a source: one table of all settings, and the check of parameters against it.

Names, defaults and meanings are those of Segment's own Voucherify destination where it has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

from handler.model.errors import FaultySettings
from handler.model.policy import AmbiguousTrack, DeliveryPolicy, StaleAttributesAction, UnguardedTrack
from handler.settings import setting_types as types
from handler.settings.setting_types import InvalidSettingValue, Parameter, SettingType
from mapping import (
    CALLS,
    CLEAR_ON_NULL,
    DEFAULT_MAPPING,
    MAPPINGS,
    ORDER,
    ORDER_EVENTS,
    REQUIRE_USER_ID,
    TRACK_EVENTS_FILTER,
    Call,
    DefaultSet,
    EventMapping,
    Fault,
    InvalidMapping,
    MappingSetting,
    setting_of,
)

DEFAULT_API_URL = "https://api.voucherify.io"
DEFAULT_CALL_SHARE = 80
MOST_CALLS_PER_DAY = 1_000_000_000


class Setting(NamedTuple):
    """One setting: its name, its type, its default and its meaning."""

    name: str
    type: SettingType
    default: Any
    meaning: str
    is_required: bool = False


def _of_call(call: Call) -> Iterator[Setting]:
    yield Setting(call.disabled_setting, types.Flag(), call.is_disabled, f"drop {call.name} events")
    if call.mapping:
        yield _of_mapping(call.mapping, f"source to destination of {call.name}")


def _of_mapping(mapping: MappingSetting, meaning: str) -> Setting:
    by_name = ", or such a mapping for each event name" if mapping.has_names else ""
    return Setting(mapping.name, types.Mapping(mapping), mapping.classic, meaning + by_name)


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("apiKey", types.Secret(in_header=True), "", "Voucherify's Application ID", is_required=True),
        Setting("apiToken", types.Secret(in_header=True), "", "Voucherify's Secret Key", is_required=True),
        Setting("apiUrl", types.Url(DEFAULT_API_URL), DEFAULT_API_URL, "the address of the project's cluster"),
        Setting("sharedSecret", types.Secret(), "", "checks the signature, X-Signature"),
        Setting("sharedSecretPrevious", types.Secret(), "", "accepted beside sharedSecret while that is rotated"),
        Setting("accessToken", types.Secret(), "", "checks Authorization; the write key of Segment's libraries"),
        Setting("accessTokenPrevious", types.Secret(), "", "accepted beside accessToken while that is rotated"),
        Setting("trackingApiDisabled", types.Flag(), False, "close the paths /v1/… to Segment's libraries"),
        *chain.from_iterable(map(_of_call, CALLS.values())),
        Setting(ORDER_EVENTS, types.Statuses(), {}, "the track events that are orders, each with the order's status"),
        _of_mapping(ORDER, "source to destination of orders"),
        Setting(
            DEFAULT_MAPPING,
            types.Choice(list(DefaultSet)),
            DefaultSet.CLASSIC,
            "the set of default mappings: those of Segment's classic destination, or of Voucherify (Actions)",
        ),
        Setting(TRACK_EVENTS_FILTER, types.Names(), [], "names of the track events that pass, * for any characters"),
        Setting(REQUIRE_USER_ID, types.Flag(), False, "skip events that would create a customer without a userId"),
        Setting(CLEAR_ON_NULL, types.Flag(), False, "clear the customer's field where a mapped source is null"),
        Setting(
            "callShare",
            types.WholeNumber(1, 100),
            DEFAULT_CALL_SHARE,
            "percentage of Voucherify's calls in each window that may be used; the rest is the shop's own",
        ),
        Setting(
            "callsPerDay",
            types.WholeNumber(0, MOST_CALLS_PER_DAY),
            0,
            "calls of Voucherify that may be made in a day (UTC), 0 for any number; events wait for the next day",
        ),
        Setting(
            "ambiguousTrack",
            types.Choice(list(AmbiguousTrack)),
            AmbiguousTrack.RETRY,
            "the action for a track that Voucherify may have applied without an answer",
        ),
        Setting(
            "unguardedTrack",
            types.Choice(list(UnguardedTrack)),
            UnguardedTrack.QUEUE,
            "the action for a track while DynamoDB cannot say whether it was delivered before",
        ),
        Setting(
            "staleAttributes",
            types.Choice(list(StaleAttributesAction)),
            StaleAttributesAction.DROP,
            "the action for an attribute of a queued event that a newer event has set since",
        ),
    )
}

# The secrets with a `…Previous` beside them, which is accepted too while the secret is rotated.
ROTATING = ("sharedSecret", "accessToken")


class Secrets(NamedTuple):
    """The accepted secrets, the current one first and then the previous one; empty where none is set."""

    shared_secrets: Sequence[str]
    access_tokens: Sequence[str]


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings of one source. `unknown` lists the parameters that are not settings: perhaps a typing error."""

    source: str
    api_url: str
    api_key: str = field(repr=False)
    api_token: str = field(repr=False)
    secrets: Secrets = field(repr=False)
    is_tracking_api_open: bool
    call_share: int
    calls_per_day: int
    policy: DeliveryPolicy
    unknown: tuple[str, ...]

    @property
    def project_id(self) -> str:
        """A name for the Voucherify project: sources with the same one share its customers."""
        return f"{self.api_url} {self.api_key}"


def check_settings(source: str, parameters: Mapping[str, Parameter]) -> Settings:
    """Return the settings from parameters by name. Raises FaultySettings with all faults."""
    values, faults = _read(parameters)
    faults += _faults_together(parameters)
    mapping = None
    try:
        mapping = EventMapping.compile(
            {name: value for name, value in values.items() if _is_given(parameters.get(name))}
        )
    except InvalidMapping as invalid:
        faults += invalid.faults
    if faults or mapping is None:
        raise FaultySettings(source, faults)
    return Settings(
        source=source,
        api_url=values["apiUrl"],
        api_key=values["apiKey"],
        api_token=values["apiToken"],
        secrets=Secrets(*(_current_and_previous(values, name) for name in ROTATING)),
        is_tracking_api_open=not values["trackingApiDisabled"],
        call_share=values["callShare"],
        calls_per_day=values["callsPerDay"],
        policy=DeliveryPolicy(
            mapping,
            AmbiguousTrack(values["ambiguousTrack"]),
            UnguardedTrack(values["unguardedTrack"]),
            StaleAttributesAction(values["staleAttributes"]),
        ),
        unknown=tuple(sorted(name for name in parameters if setting_of(name) not in SETTINGS)),
    )


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema of a settings file, for editors. https://json-schema.org/draft/2020-12"""
    properties = {
        setting.name: {
            "description": setting.meaning,
            **setting.type.schema(),
            **({} if setting.default in ("", None, {}) else {"default": setting.default}),
        }
        for setting in SETTINGS.values()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of the Segment destination for Voucherify",
        "type": "object",
        "properties": {"$schema": {"type": "string"}, **properties},
        "patternProperties": {
            rf"^{mapping.name}\..+$": SETTINGS[mapping.name].type.schema()
            for mapping in MAPPINGS.values()
            if mapping.has_names
        },
        "additionalProperties": False,
        "$defs": types.DEFINITIONS,
    }


def _read(parameters: Mapping[str, Parameter]) -> tuple[dict[str, Any], list[Fault]]:
    """Return the value of each setting, and all faults. A faulty setting gets its default, which is never used."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for setting in SETTINGS.values():
        values[setting.name] = setting.default
        if setting.is_required and not _is_given(parameters.get(setting.name)):
            faults.append(Fault(setting.name, "", "is required and not set"))
    for name, parameter in parameters.items():
        setting_ = SETTINGS.get(setting_of(name))
        if setting_ and _is_given(parameter):
            try:
                values[name] = setting_.type.read(name, parameter)
            except InvalidSettingValue as invalid:
                faults += invalid.faults
    return values, faults


def _faults_together(parameters: Mapping[str, Parameter]) -> list[Fault]:
    """Return the faults of settings that depend on each other."""
    given = {name for name, parameter in parameters.items() if _is_given(parameter)}
    faults = [
        Fault(f"{name}Previous", "", f"is accepted beside {name}, which is not set")
        for name in ROTATING
        if f"{name}Previous" in given and name not in given
    ]
    if not faults and not given & set(ROTATING):
        problem = "is not set, nor is accessToken: set one of them, or both, so that requests can be checked"
        faults.append(Fault("sharedSecret", "", problem))
    return faults


def _is_given(parameter: Parameter | None) -> bool:
    return parameter is not None and bool(parameter.value.strip())


def _current_and_previous(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(filter(None, (values[name], values[f"{name}Previous"])))
