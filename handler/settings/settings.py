"""The shop's settings: one table of them, and parameters checked against it, every fault at once.

Names, defaults and meaning are those of Segment's own Voucherify destination where it has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from handler.api.authentication import Secrets
from handler.delivery.dispatcher import Policy
from handler.model.errors import FaultySettings
from handler.settings import setting_types as kinds
from handler.settings.setting_types import InvalidSettingValue, Parameter, SettingType
from handler.voucherify.answers import AmbiguousTrack, UnguardedTrack
from mapping import CALLS, TRACK_EVENTS_FILTER, EventMapping, Fault, InvalidMapping

DEFAULT_API_URL = "https://api.voucherify.io"


class Setting(NamedTuple):
    """One setting: its name, what it may be, what holds where it is not set, and what it means."""

    name: str
    kind: SettingType
    default: Any
    meaning: str
    is_required: bool = False


_OF_CALLS = [
    setting
    for call in CALLS.values()
    for setting in (
        Setting(call.disabled_setting, kinds.Flag(), call.is_disabled, f"drop {call.name} events"),
        Setting(call.mapping_setting, kinds.Mapping(), call.default_mapping, f"source to destination of {call.name}"),
    )
    if setting.default is not None
]

SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("apiKey", kinds.Secret(in_header=True), "", "Voucherify's Application ID", is_required=True),
        Setting("apiToken", kinds.Secret(in_header=True), "", "Voucherify's Secret Key", is_required=True),
        Setting("apiUrl", kinds.Url(DEFAULT_API_URL), DEFAULT_API_URL, "the address of the project's cluster"),
        Setting("sharedSecret", kinds.Secret(), "", "checks the signature, X-Signature"),
        Setting("sharedSecretPrevious", kinds.Secret(), "", "accepted beside sharedSecret while that is rotated"),
        Setting("accessToken", kinds.Secret(), "", "checks Authorization; the write key of Segment's libraries"),
        Setting("accessTokenPrevious", kinds.Secret(), "", "accepted beside accessToken while that is rotated"),
        Setting("trackingApiDisabled", kinds.Flag(), False, "close the paths /v1/… to Segment's libraries"),
        *_OF_CALLS,
        Setting(TRACK_EVENTS_FILTER, kinds.Names(), [], "names of the track events that pass, * for any characters"),
        Setting(
            "ambiguousTrack",
            kinds.Choice(list(AmbiguousTrack)),
            AmbiguousTrack.RETRY,
            "what becomes of a track that may have been applied",
        ),
        Setting(
            "unguardedTrack",
            kinds.Choice(list(UnguardedTrack)),
            UnguardedTrack.QUEUE,
            "what becomes of a track where DynamoDB cannot say whether it was delivered before",
        ),
    )
}

# Secrets that are accepted beside the one before, `…Previous`, while they are rotated.
ROTATING = ("sharedSecret", "accessToken")


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings of one source. `unknown` names the parameters that are none of ours: a typing error, perhaps."""

    source: str
    api_url: str
    api_key: str = field(repr=False)
    api_token: str = field(repr=False)
    secrets: Secrets = field(repr=False)
    is_tracking_api_open: bool
    policy: Policy
    unknown: tuple[str, ...]


def check_settings(source: str, parameters: Mapping[str, Parameter]) -> Settings:
    """Settings from parameters by name. Raises FaultySettings with every fault at once, never with a value."""
    values, faults = _read(parameters)
    faults += _faults_together(parameters)
    mapping = None
    try:
        mapping = EventMapping.compile({name: value for name, value in values.items() if name in parameters})
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
        policy=Policy(mapping, AmbiguousTrack(values["ambiguousTrack"]), UnguardedTrack(values["unguardedTrack"])),
        unknown=tuple(sorted(parameters.keys() - SETTINGS.keys())),
    )


def settings_schema() -> dict[str, Any]:
    """A JSON Schema of a file of settings, for editors. https://json-schema.org/draft/2020-12"""
    properties = {
        setting.name: {
            "description": setting.meaning,
            **setting.kind.schema(),
            **({} if setting.default in ("", None) else {"default": setting.default}),
        }
        for setting in SETTINGS.values()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of the Segment destination for Voucherify",
        "type": "object",
        "properties": {"$schema": {"type": "string"}, **properties},
        "additionalProperties": False,
        "$defs": kinds.DEFINITIONS,
    }


def _read(parameters: Mapping[str, Parameter]) -> tuple[dict[str, Any], list[Fault]]:
    """The value of each setting, and its faults; a faulty setting reads as its default, and nothing is used of it."""
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for setting in SETTINGS.values():
        values[setting.name] = setting.default
        parameter = parameters.get(setting.name)
        if parameter is None or not parameter.value.strip():
            if setting.is_required:
                faults.append(Fault(setting.name, "", "is required and not set"))
            continue
        try:
            values[setting.name] = setting.kind.read(setting.name, parameter)
        except InvalidSettingValue as invalid:
            faults += invalid.faults
    return values, faults


def _faults_together(parameters: Mapping[str, Parameter]) -> list[Fault]:
    """The faults of settings that go together."""
    given = {name for name, parameter in parameters.items() if parameter.value.strip()}
    faults = [
        Fault(f"{name}Previous", "", f"is accepted beside {name}, which is not set")
        for name in ROTATING
        if f"{name}Previous" in given and name not in given
    ]
    if not faults and not given & set(ROTATING):
        problem = "set it or accessToken, or both: without one nobody can be let in"
        faults.append(Fault("sharedSecret", "", problem))
    return faults


def _current_and_previous(values: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(filter(None, (values[name], values[f"{name}Previous"])))
