"""The mappings that a preview uses: of a file, of a source's current settings, or one of the two sets of defaults."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed
from cli.settings.file import read_file
from cli.settings.schemas import schemas_of
from cli.settings.store import UNKNOWN_SETTING, settings_of_source
from cli.target import Target
from handler.settings.setting_types import InvalidSettingValue, Parameter
from handler.settings.settings import SETTINGS
from mapping import (
    DEFAULT_MAPPING,
    MAPPING_SETTINGS,
    DefaultSet,
    EventMapping,
    InvalidMapping,
    MetadataSchemas,
    setting_of,
)

MappingSettings = Mapping[str, Any]


def settings_of(name: str) -> MappingSettings:
    """Return the mapping settings of a set of defaults, or of a settings file or preset.

    Raises CommandFailed with every fault.
    """
    return changed_settings({}, name)


def changed_settings(current: MappingSettings, name: str) -> MappingSettings:
    """Return settings as they are after `settings apply`: what the file does not name stays.

    The name of a set of defaults changes that setting only. Raises CommandFailed with every fault.
    """
    if name in list(DefaultSet):
        return {**current, DEFAULT_MAPPING: name}
    path = Path(name)
    try:
        settings = {**current, **_settings_of_file(path)}
        EventMapping.compile(settings)
    except (InvalidMapping, InvalidSettingValue) as invalid:
        advice = "\n  ".join(map(str, invalid.faults))
        if any(fault.problem.startswith(UNKNOWN_SETTING) for fault in invalid.faults):
            advice += '\n  put a mapping under the name of its setting: {"trackMapping": {…}}'
        raise CommandFailed(f"{path} has faults", advice) from invalid
    return settings


def current_settings(target: Target, source: str) -> MappingSettings:
    """Return the current mapping settings of a source. Raises CommandFailed."""
    return _mapping_settings(settings_of_source(target, source)[1])


def schemas_of_source(target: Target, source: str) -> MetadataSchemas | None:
    """Return the metadata schemas of a source's project, or None where they cannot be read. Raises CommandFailed."""
    return schemas_of(settings_of_source(target, source)[0])[0]


def _settings_of_file(path: Path) -> dict[str, Any]:
    """Return the mapping settings of a file or preset. Raises CommandFailed and InvalidSettingValue."""
    parameters, faults = read_file(path)
    if faults:
        raise InvalidSettingValue(*faults)
    return _mapping_settings(parameters)


def _mapping_settings(parameters: Mapping[str, Parameter]) -> dict[str, Any]:
    """Return the values of the parameters that belong to the mapping. Raises InvalidSettingValue."""
    return {
        name: SETTINGS[setting_of(name)].type.read(name, parameter)
        for name, parameter in parameters.items()
        if setting_of(name) in MAPPING_SETTINGS and parameter.value.strip()
    }
