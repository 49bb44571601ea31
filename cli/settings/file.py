"""A FILE of settings, TOML or JSON, and a VALUE on the command line: each as the parameter that it would be."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed, Exit
from handler.model.strict_json import describe_decode_error

# The function's own reading of JSON: a key that stands twice is a fault, not a choice.
from handler.settings.setting_types import (
    Choice,
    DuplicateKeys,
    InvalidSettingValue,
    Mapping,
    Names,
    Parameter,
    Secret,
    Url,
    without_duplicates,
)
from handler.settings.settings import SETTINGS, Setting
from mapping import Fault, nearest

# Stored as they are; all others as JSON.
_TEXTS = Secret | Url | Choice

_TABLE_IN_A_MAPPING = "is a table of its own; a source with dots stands in quotes: \"traits.email\" = 'customer.email'"


def read_file(path: Path) -> tuple[dict[str, Parameter], list[Fault]]:
    """The parameters of a file by name, and what is wrong with it. Raises CommandFailed where it cannot be read."""
    try:
        document = _document(path)
    except DuplicateKeys as duplicate:
        return {}, [
            Fault(path.name, key, "stands there twice; one of the two would be ignored") for key in duplicate.keys
        ]
    parameters: dict[str, Parameter] = {}
    faults: list[Fault] = []
    for name, value in document.items():
        found = _faults(name, value)
        faults += found
        if not found and name != "$schema":
            parameters[name] = Parameter(_text(SETTINGS[name], value))
    return parameters, faults


def parameter_of(setting: Setting, text: str) -> Parameter:
    """What a person has typed. JSON takes as little room as it can; faulty JSON stays as it is, to be complained of."""
    if isinstance(setting.kind, Mapping | Names):
        try:
            return Parameter(_json(setting.kind.read(setting.name, Parameter(text))))
        except InvalidSettingValue:
            pass
    return Parameter(text)


def _document(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8-sig")
        match path.suffix.lower():
            case ".toml":
                return tomllib.loads(text)
            case ".json":
                document = json.loads(text, object_pairs_hook=without_duplicates)
            case _:
                raise CommandFailed(f"{path} is neither .toml nor .json", code=Exit.USAGE)
    except DuplicateKeys:
        raise
    except tomllib.TOMLDecodeError as error:
        raise CommandFailed(f"{path} is not TOML: {error}", code=Exit.USAGE) from error
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{path} is not JSON: {describe_decode_error(error)}", code=Exit.USAGE) from error
    if not isinstance(document, dict):
        raise CommandFailed(f"{path} is no object of settings", code=Exit.USAGE)
    return document


def _faults(name: str, value: Any) -> list[Fault]:
    if name == "$schema":
        return []
    setting = SETTINGS.get(name)
    if setting is None:
        return [Fault(name, "", f"is no setting{nearest(name, SETTINGS)}")]
    if isinstance(setting.kind, Mapping) and isinstance(value, dict):
        return [Fault(name, key, _TABLE_IN_A_MAPPING) for key, item in value.items() if isinstance(item, dict)]
    if isinstance(setting.kind, _TEXTS) and not isinstance(value, str):
        return [Fault(name, "", "must be text")]
    return []


def _text(setting: Setting, value: Any) -> str:
    # A value of another kind than its setting becomes JSON too, which the setting's own check complains of.
    return value if isinstance(setting.kind, _TEXTS) else _json(value)


def _json(value: Any) -> str:
    # A date of TOML's is none of JSON's values; as text it is no destination, and is named as such.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
