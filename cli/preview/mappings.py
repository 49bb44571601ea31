"""The mapping that a preview uses: one of a file, or the current one of a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed
from cli.settings.file import read_file
from cli.settings.schemas import schemas_of
from cli.settings.store import UNKNOWN_SETTING, settings_of_source
from cli.target import Target
from handler.settings.setting_types import InvalidSettingValue
from handler.settings.settings import SETTINGS
from mapping import CALLS, TRACK_EVENTS_FILTER, EventMapping, InvalidMapping, MetadataSchemas

_MAPPING_SETTINGS = frozenset(
    {TRACK_EVENTS_FILTER}
    | {call.disabled_setting for call in CALLS.values()}
    | {call.mapping_setting for call in CALLS.values()}
)


def mapping_of_file(path: Path) -> EventMapping:
    """Return the mapping of a settings file or a preset. Raises CommandFailed with every fault."""
    try:
        preset = _settings_of_preset(path)
        return EventMapping.compile(_mapping_settings(path) if preset is None else preset)
    except (InvalidMapping, InvalidSettingValue) as invalid:
        advice = "\n  ".join(map(str, invalid.faults))
        if any(fault.problem.startswith(UNKNOWN_SETTING) for fault in invalid.faults):
            advice += '\n  put a mapping under the name of its setting: {"trackMapping": {…}}'
        raise CommandFailed(f"{path} has faults", advice) from invalid


def mapping_of_source(target: Target, source: str) -> EventMapping:
    """Return the current mapping of a source. Raises CommandFailed."""
    return settings_of_source(target, source)[0].policy.mapping


def schemas_of_source(target: Target, source: str) -> MetadataSchemas | None:
    """Return the metadata schemas of a source's project, or None where they cannot be read. Raises CommandFailed."""
    return schemas_of(settings_of_source(target, source)[0])[0]


def _settings_of_preset(path: Path) -> dict[str, Any] | None:
    """Return the settings of a preset as in events/presets, or None where the file is not one."""
    try:
        preset = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None  # reported when it is read as settings
    settings = preset.get("settings") if isinstance(preset, dict) else None
    return settings if isinstance(settings, dict) else None


def _mapping_settings(path: Path) -> dict[str, Any]:
    """Return the settings of a file that belong to the mapping. Raises CommandFailed and InvalidSettingValue."""
    parameters, faults = read_file(path)
    if faults:
        raise InvalidSettingValue(*faults)
    return {
        name: SETTINGS[name].type.read(name, parameter)
        for name, parameter in parameters.items()
        if name in _MAPPING_SETTINGS
    }
