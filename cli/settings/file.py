"""Turns a settings file (TOML or JSON) and a value of the command line into SSM parameters."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed, Exit
from cli.events import reading
from cli.settings.store import UNKNOWN_SETTING
from handler.model.strict_json import describe_decode_error

# The function's own reading of JSON: a duplicate key is a fault.
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

# Stored as text; all others are stored as JSON.
_TEXTS = Secret | Url | Choice


def read_file(path: Path) -> tuple[dict[str, Parameter], list[Fault]]:
    """Return the parameters of a file by name, and its faults. Raises CommandFailed where it cannot be read."""
    try:
        document = _document(path)
    except DuplicateKeys as duplicate:
        return {}, [Fault(path.name, key, "is set twice") for key in duplicate.keys]
    parameters: dict[str, Parameter] = {}
    faults: list[Fault] = []
    for name, value in document.items():
        if name == "$schema":
            continue
        found = _faults(name, value)
        faults += found
        if not found:
            # A value of the wrong type becomes JSON, which the setting's own check refuses.
            is_text = isinstance(SETTINGS[name].type, _TEXTS)
            parameters[name] = Parameter(value if is_text else _json(value))
    return parameters, faults


def parameter_of(setting: Setting, text: str) -> Parameter:
    """Return a typed value. JSON is compacted, since SSM limits its size; invalid JSON is kept, to be checked later."""
    if isinstance(setting.type, Mapping | Names):
        try:
            return Parameter(_json(setting.type.read(setting.name, Parameter(text))))
        except InvalidSettingValue:
            pass
    return Parameter(text)


def _document(path: Path) -> dict[str, Any]:
    with reading(str(path)):
        content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
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
        raise CommandFailed(f"{path} is not an object of settings", code=Exit.USAGE)
    return document


def _faults(name: str, value: Any) -> list[Fault]:
    setting = SETTINGS.get(name)
    if setting is None:
        return [Fault(name, "", f"{UNKNOWN_SETTING}{nearest(name, SETTINGS)}")]
    if isinstance(setting.type, Mapping) and isinstance(value, dict):
        problem = "is a table; put a source with dots in quotes: \"traits.email\" = 'customer.email'"
        return [Fault(name, key, problem) for key, item in value.items() if isinstance(item, dict)]
    if isinstance(setting.type, _TEXTS) and not isinstance(value, str):
        return [Fault(name, "", "must be text")]
    return []


def _json(value: Any) -> str:
    # JSON has no dates, but TOML does. As text, a date is refused as a destination.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
