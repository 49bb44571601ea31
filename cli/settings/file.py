"""Turns settings files (TOML, JSON or presets) and a value of the command line into SSM parameters."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cli.errors import CommandFailed, Exit
from cli.events import reading
from cli.settings.store import UNKNOWN_SETTING, find_setting, nearest_setting, problem_of_label
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
    Statuses,
    Url,
    without_duplicates,
)
from handler.settings.settings import Setting
from mapping import Fault, has_event_names, setting_of

# Stored as text; all others are stored as JSON.
_TEXTS = Secret | Url | Choice

# So that an editor completes names and marks typing errors.
_SCHEMA = {"$schema": "./settings.schema.json"}

# Where a source begins: as the key of a table, such a name is a source with dots that has no quotes.
SOURCE_ROOTS = frozenset({"traits", "properties", "context"})


def read_files(paths: Iterable[Path]) -> tuple[dict[str, Parameter], list[Fault]]:
    """Return the parameters of all files by name, and their faults: also a name that is in two of them.

    Raises CommandFailed where a file cannot be read.
    """
    parameters: dict[str, Parameter] = {}
    faults: list[Fault] = []
    found_in: dict[str, Path] = {}
    for path in dict.fromkeys(paths):
        own, of_file = read_file(path)
        faults += of_file
        for name, parameter in own.items():
            if name in found_in:
                faults.append(Fault(name, "", f"is in {found_in[name]} and in {path}; remove it from one of them"))
            found_in.setdefault(name, path)
            parameters.setdefault(name, parameter)
    return parameters, faults


def read_file(path: Path) -> tuple[dict[str, Parameter], list[Fault]]:
    """Return the parameters of a file by name, and its faults. Raises CommandFailed where it cannot be read."""
    try:
        document = _settings_in(_document(path))
    except DuplicateKeys as duplicate:
        return {}, [Fault(path.name, key, "is set twice") for key in duplicate.keys]
    parameters: dict[str, Parameter] = {}
    faults: list[Fault] = []
    for name, value in document.items():
        if name == "$schema":
            continue
        setting = find_setting(name)
        if setting is None:
            faults.append(Fault(name, "", f"{UNKNOWN_SETTING}{nearest_setting(name)}"))
        elif found := list(_faults(name, setting, value)):
            faults += found
        else:
            # A value of the wrong type becomes JSON, which the setting's own check refuses.
            parameters[name] = Parameter(value if isinstance(setting.type, _TEXTS) else _json(value))
    return parameters, faults


def require_new(path: Path, *, force: bool) -> None:
    """Raise CommandFailed where a settings file cannot have this name, or exists already."""
    if path.suffix.lower() != ".json":
        raise CommandFailed(f"{path} does not end in .json", "the file is JSON", Exit.USAGE)
    if path.exists() and not force:
        raise CommandFailed(f"{path} exists", "give --force to overwrite it", Exit.USAGE)


def write_document(path: Path, settings: dict[str, Any]) -> None:
    """Write a settings file. Raises CommandFailed where it cannot be written."""
    try:
        path.write_text(json.dumps({**_SCHEMA, **settings}, indent=2, ensure_ascii=False) + "\n", "utf-8")
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written: {error.strerror or error}", code=Exit.USAGE) from error


def parameter_of(setting: Setting, text: str) -> Parameter:
    """Return a typed value. JSON is compacted, since SSM limits its size; invalid JSON is kept, to be checked later."""
    if isinstance(setting.type, Mapping | Names | Statuses):
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


def _settings_in(document: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a file: of a preset, as in events/presets, those that it has beside its event."""
    match document:
        case {"settings": dict(settings), "event": dict()}:
            return settings
    return document


def _faults(name: str, setting: Setting, value: Any) -> Iterator[Fault]:
    if problem := problem_of_label(name):
        yield Fault(name, "", problem)
    if isinstance(setting.type, Mapping) and isinstance(value, dict):
        yield from _tables(name, value, has_names=setting.type.setting.has_names)
    elif isinstance(setting.type, _TEXTS) and not isinstance(value, str):
        yield Fault(name, "", "must be text")


def _tables(name: str, mapping: dict[str, Any], *, has_names: bool) -> Iterator[Fault]:
    """Yield the objects that are no mapping of an event: in TOML, dots without quotes make them."""
    quotes = "is a table; put a source with dots in quotes: \"traits.email\" = 'customer.email'"
    tables = {key: rows for key, rows in mapping.items() if isinstance(rows, dict)}
    wrong = tables.keys() & SOURCE_ROOTS if has_names else tables.keys()
    yield from (Fault(name, key, quotes) for key in tables if key in wrong)
    if wrong or not has_event_names(mapping):
        return
    for event, rows in tables.items():
        for key in (key for key, row in rows.items() if isinstance(row, dict)):
            label = (
                f'is an object; a label belongs to the name of the parameter, in quotes: "{setting_of(name)}.{event}"'
            )
            yield Fault(name, key, quotes if key in SOURCE_ROOTS else label, event=event)


def _json(value: Any) -> str:
    # JSON has no dates, but TOML does. As text, a date is refused as a destination.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
