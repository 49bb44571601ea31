"""Shows settings, their changes line by line, and their faults. A secret's value is never shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any, NoReturn

import typer

from cli.errors import Exit
from cli.output import Output
from cli.settings.store import Change, Store, is_secret, setting_named
from handler.settings.setting_types import InvalidSettingValue, Parameter
from handler.settings.sources import DEFAULT_SOURCE
from mapping import Fault, has_event_names


def value_of(name: str, parameter: Parameter) -> Any:
    """Return the JSON value of a setting that is not secret, or its text where it is faulty."""
    try:
        return setting_named(name).type.read(name, parameter)
    except InvalidSettingValue:
        return parameter.value


def in_a_line(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def difference(name: str, before: Parameter | None, after: Parameter) -> list[str]:
    """Return lines that begin with `-` and `+`, one for each row of a mapping."""
    if is_secret(name):
        return ["+ new secret" if before is None else "~ different secret"]
    old = [] if before is None else _lines(value_of(name, before))
    new = _lines(value_of(name, after))
    lines = []
    for tag, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            lines += [f"- {line}" for line in old[old_from:old_to]] + [f"+ {line}" for line in new[new_from:new_to]]
    return lines


def show_changes(output: Output, changes: Sequence[Change]) -> None:
    for change in changes:
        output.line(change.name, "bold")
        show_difference(output, difference(change.name, change.before, change.after))


def show_difference(output: Output, lines: Sequence[str]) -> None:
    for line in lines:
        output.line(f"  {line}", {"+": "green", "-": "red"}.get(line[0], "yellow"))


def change_document(change: Change) -> dict[str, Any]:
    """Return a change as JSON, without the values of a secret."""
    name = change.name
    document: dict[str, Any] = {"setting": name, "isNew": change.before is None, "isSecret": is_secret(name)}
    if not is_secret(name):
        document["before"] = None if change.before is None else value_of(name, change.before)
        document["after"] = value_of(name, change.after)
    return document


def show_faults(output: Output, faults: Mapping[Fault, Sequence[str]]) -> None:
    for fault, sources in faults.items():
        word = "source" if len(sources) == 1 else "sources"
        output.wrong(str(fault) if list(sources) == [DEFAULT_SOURCE] else f"{fault} ({word} {', '.join(sources)})")


def fault_documents(faults: Mapping[Fault, Sequence[str]]) -> list[dict[str, Any]]:
    return [{**fault._asdict(), "sources": list(sources)} for fault, sources in faults.items()]


def refuse(output: Output, faults: Mapping[Fault, Sequence[str]]) -> NoReturn:
    """End a command that has not written anything."""
    show_faults(output, faults)
    output.line("Nothing was written. Fix the faults and run the command again.")
    output.result({"written": [], "faults": fault_documents(faults)})
    raise typer.Exit(Exit.WRONG)


def write_changes(output: Output, store: Store, changes: Sequence[Change], *, yes: bool) -> list[str]:
    """Ask, unless the answer is `yes`, and write parameters. Report each at once, since a later one may be refused."""
    if changes and not yes:
        names = ", ".join(change.name for change in changes)
        output.confirm(f"Write {names} to {store.path}?", "give --yes to write without asking")
    written: list[str] = []
    output.done = lambda: f"{len(written)} of {len(changes)} settings are written"
    for change in changes:
        store.put(change)
        written.append(change.name)
        output.fine(f"{store.path}/{change.name} is written and takes effect within a minute")
    return written


def _lines(value: Any) -> list[str]:
    match value:
        case dict() if has_event_names(value):
            # Each row names its event, since a difference shows a row without those around it.
            return [f"{_json(event)}: {row}" for event, rows in value.items() for row in _lines(rows) or ["{}"]]
        case dict():
            return [f"{_json(key)}: {_json(item)}" for key, item in value.items()]
        case list():
            return [_json(item) for item in value]
    return [in_a_line(value)]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
