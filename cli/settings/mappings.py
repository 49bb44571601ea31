"""The mapping that a preview goes by: of a file, or the one in force."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed
from cli.settings.file import read_file
from cli.settings.store import parameters_of, settings_of, sources_in
from cli.target import Target
from handler.model.errors import FaultySettings
from handler.settings.setting_types import InvalidSettingValue
from handler.settings.settings import SETTINGS
from mapping import CALLS, TRACK_EVENTS_FILTER, EventMapping, Fault, InvalidMapping

_OF_THE_MAPPING = frozenset(
    {TRACK_EVENTS_FILTER}
    | {call.disabled_setting for call in CALLS.values()}
    | {call.mapping_setting for call in CALLS.values()}
)


def mapping_of_file(path: Path) -> EventMapping:
    """The mapping in a file of settings, JSON or TOML, or in a preset. Raises CommandFailed with every fault."""
    try:
        preset = _settings_of_preset(path)
        return EventMapping.compile(_values(path) if preset is None else preset)
    except (InvalidMapping, InvalidSettingValue) as invalid:
        raise _faulty(f"{path} has faults", invalid.faults) from invalid


def mapping_in_force(target: Target, source: str) -> EventMapping:
    """The mapping of a source as the function reads it. Raises CommandFailed."""
    by_source = parameters_of(target)
    sources = sources_in(by_source)
    if source not in sources:
        raise CommandFailed(f"there are no settings for the source {source}", f"there are: {', '.join(sources)}")
    try:
        return settings_of(source, by_source).policy.mapping
    except FaultySettings as faulty:
        raise _faulty(f"the settings of the source {source} have faults", faulty.faults) from faulty


def _settings_of_preset(path: Path) -> dict[str, Any] | None:
    """The settings of a file as in events/presets; None of any other."""
    try:
        preset = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # what is wrong with it, the reader of settings says
    settings = preset.get("settings") if isinstance(preset, dict) else None
    return settings if isinstance(settings, dict) else None


def _values(path: Path) -> dict[str, Any]:
    """Return the mapping settings as the function would read them.

    Raises:
        CommandFailed, InvalidSettingValue
    """
    try:
        parameters, faults = read_file(path)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be read: {error.strerror}") from error
    if faults:
        raise InvalidSettingValue(*faults)
    return {
        name: SETTINGS[name].kind.read(name, parameter)
        for name, parameter in parameters.items()
        if name in _OF_THE_MAPPING
    }


def _faulty(problem: str, faults: Sequence[Fault]) -> CommandFailed:
    advice = "\n  ".join(map(str, faults))
    if any(fault.problem.startswith("is no setting") for fault in faults):
        advice += '\n  a mapping stands under the name of its setting, as in {"trackMapping": {…}}'
    return CommandFailed(problem, advice)
