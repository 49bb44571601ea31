"""`settings`: show, set, apply and compare what lies in Parameter Store. Checked by the function's own code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.settings.file import parameter_of, read_file
from cli.settings.store import Change, Plan, Store, is_secret, setting_named
from cli.settings.view import (
    change_document,
    difference,
    fault_document,
    in_a_line,
    refuse,
    show_changes,
    show_difference,
    show_faults,
    value_of,
)
from handler.settings.setting_types import Parameter
from handler.settings.settings import SETTINGS
from handler.settings.sources import DEFAULT_SOURCE
from mapping import nearest

app = typer.Typer(no_args_is_help=True, help="Show and change the settings.")

Source = Annotated[str | None, typer.Option(help="The settings of this source; else the common ones.")]
Name = Annotated[str, typer.Argument(help="A setting, such as trackMapping.")]
File = Annotated[Path, typer.Argument(help="Settings as TOML or JSON.", exists=True, dir_okay=False, readable=True)]
Advanced = Annotated[bool, typer.Option("--advanced", help="Allow 8 KB instead of 4, which AWS charges for.")]

_COMMAND = "voucherify-destination settings"
_WITHIN = "in force within a minute"


@app.command(epilog=f"Example: {_COMMAND} show --source shop")
def show(context: typer.Context, source: Source = None) -> None:
    """Every setting with its value, and where that comes from; of a secret only whether it is set, and since when."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    rows = {name: _shown(store, name) for name in SETTINGS}
    ctx.output.table(
        ("setting", "value", "from", "changed"),
        [(name, _cell(row), row["from"], (row["changedAt"] or "")[:16]) for name, row in rows.items()],
    )
    unknown = sorted(store.by_source.get(store.source, {}).keys() - SETTINGS.keys())
    for name in unknown:
        ctx.output.wrong(f"{store.path}/{name} is no setting{nearest(name, SETTINGS)}")
    ctx.output.result({"path": store.path, "settings": rows, "unknown": unknown})


@app.command("set", epilog=f"Examples: {_COMMAND} set trackDisabled true; {_COMMAND} set apiToken - <token.txt")
def set_(
    context: typer.Context,
    name: Name,
    value: Annotated[str | None, typer.Argument(help="Its value; - reads it from standard input.")] = None,
    source: Source = None,
    advanced: Advanced = False,
) -> None:
    """Set one setting. Leave out the value of a secret: it is asked for, so that no history of the shell has it.

    The two keys of a new source go together: init --source puts them, or apply.
    """
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    setting = setting_named(name)
    if value not in (None, "-") and is_secret(name):
        ctx.output.note("The history of your shell may keep this secret; without a value it is asked for.")
    parameter = parameter_of(setting, _typed(name) if value in (None, "-") else str(value))
    _put(ctx.output, store, name, parameter, advanced=advanced)


@app.command(epilog=f"Examples: {_COMMAND} apply settings.toml; {_COMMAND} apply shop.json --source shop --yes")
def apply(
    context: typer.Context,
    file: File,
    source: Source = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show, and write nothing.")] = False,
    advanced: Advanced = False,
) -> None:
    """Write what differs from a file, once all of it is right. A setting that the file does not name stays as it is."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    plan = _plan_of(store, file, advanced=advanced)
    if plan.faults:
        refuse(ctx.output, plan.faults)
    show_changes(ctx.output, plan.changes)
    if plan.changes and not dry_run and not yes:
        _confirm(ctx.output, f"Write {len(plan.changes)} to {store.path}?")
    written = [] if dry_run else _write(ctx.output, store, plan.changes)
    if not plan.changes:
        ctx.output.fine(f"nothing to change under {store.path}")
    changes = [change_document(change) for change in plan.changes]
    ctx.output.result({"path": store.path, "changes": changes, "written": written, "faults": []})


@app.command(epilog=f"Exit code 1: something differs, or is wrong. Example: {_COMMAND} diff settings.toml")
def diff(context: typer.Context, file: File, source: Source = None, advanced: Advanced = False) -> None:
    """What `apply` would change; of a secret only that it would."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    plan = _plan_of(store, file, advanced=advanced)
    show_changes(ctx.output, plan.changes)
    show_faults(ctx.output, plan.faults)
    if not plan.changes and not plan.faults:
        ctx.output.fine(f"nothing differs from {store.path}")
    ctx.output.result(_document(store, plan))
    if plan.changes or plan.faults:
        raise typer.Exit(Exit.WRONG)


@app.command(epilog=f"Example: {_COMMAND} history trackMapping")
def history(context: typer.Context, name: Name, source: Source = None) -> None:
    """The versions of a setting, the newest first: when, by whom, and what changed; a secret's values are not read."""
    ctx: Context = context.obj
    setting_named(name)
    versions = Store(ctx.target, source).history(name, decrypted=not is_secret(name))
    documents: list[dict[str, Any]] = []
    before: Parameter | None = None
    for version in versions:
        parameter = Parameter(version["Value"], version["Type"] == "StringList")
        document: dict[str, Any] = {
            "version": version["Version"],
            "changedAt": version["LastModifiedDate"].isoformat(timespec="seconds"),
            "by": version.get("LastModifiedUser", ""),
        }
        if not is_secret(name):
            document |= {"value": value_of(name, parameter), "changes": difference(name, before, parameter)}
        documents.insert(0, document)
        before = parameter
    for document in documents:
        ctx.output.line(f"version {document['version']}  {document['changedAt']}  {document['by']}", "bold")
        show_difference(ctx.output, document.get("changes", []))
    ctx.output.result(documents)


@app.command(epilog=f"Examples: {_COMMAND} rollback trackMapping; {_COMMAND} rollback trackMapping --to 3")
def rollback(
    context: typer.Context,
    name: Name,
    to: Annotated[int | None, typer.Option(help="The version to go back to; else the one before.")] = None,
    source: Source = None,
    advanced: Advanced = False,
) -> None:
    """Put an earlier version of a setting again, checked as settings are now; it becomes the newest version."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    setting_named(name)
    versions = {version["Version"]: version for version in store.history(name, decrypted=True)}
    newest = max(versions)
    wanted = to if to is not None else max((number for number in versions if number < newest), default=None)
    if wanted is None:
        raise CommandFailed(f"{name} has no version before {newest}")
    if wanted not in versions:
        raise CommandFailed(f"{name} has no version {wanted}", "settings history names those there are", Exit.USAGE)
    version = versions[wanted]
    parameter = parameter_of(SETTINGS[name], version["Value"])
    if version["Type"] == "StringList":
        parameter = Parameter(version["Value"], is_list=True)
    _put(ctx.output, store, name, parameter, advanced=advanced)


def _shown(store: Store, name: str) -> dict[str, Any]:
    """A setting as `show` has it."""
    setting = SETTINGS[name]
    found = store.effective.get(name)
    if found is None:
        value = {} if is_secret(name) else {"value": setting.default}
        return {"isSet": False, **value, "from": "default", "changedAt": None}
    parameter, source = found
    stored = store.stored.get(f"{store.path_in(source)}/{name}")
    return {
        "isSet": True,
        **({} if is_secret(name) else {"value": value_of(name, parameter)}),
        "from": "common" if source == DEFAULT_SOURCE else source,
        "changedAt": stored.changed_at.isoformat(timespec="seconds") if stored else None,
    }


def _cell(row: Mapping[str, Any]) -> str:
    if not row["isSet"] and isinstance(row.get("value"), dict):
        return f"{len(row['value'])} rows"  # README.md has them
    if "value" in row:
        return in_a_line(row["value"])
    return "set, not shown" if row["isSet"] else "not set"


def _typed(name: str) -> str:
    """From a person, hidden where it is a secret, or from standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(name, hide_input=is_secret(name), err=True))
    return sys.stdin.read().rstrip("\r\n")


def _plan_of(store: Store, file: Path, *, advanced: bool) -> Plan:
    parameters, faults = read_file(file)
    plan = store.plan(parameters, advanced=advanced)
    return Plan(plan.changes, {**{fault: [store.source] for fault in faults}, **plan.faults})


def _put(output: Output, store: Store, name: str, parameter: Parameter, *, advanced: bool) -> None:
    """Write one setting. What was wrong with others before does not keep it from being put right."""
    plan = store.plan({name: parameter}, advanced=advanced)
    before = store.faults(store.by_source) if plan.faults else {}
    refused = {fault: of for fault, of in plan.faults.items() if fault.setting == name or fault not in before}
    if refused:
        refuse(output, refused)
    show_changes(output, plan.changes)
    written = _write(output, store, plan.changes)
    if not plan.changes:
        output.fine("it is so already")
    for fault in plan.faults:
        output.note(f"still wrong: {fault}")
    output.result({**_document(store, plan), "written": written})


def _write(output: Output, store: Store, changes: Sequence[Change]) -> list[str]:
    """Each is said as soon as it is written: should a later one be refused, it is known what was done."""
    for change in changes:
        store.put(change)
        output.fine(f"{store.path}/{change.setting.name} is written, {_WITHIN}")
    return [change.setting.name for change in changes]


def _confirm(output: Output, question: str) -> None:
    if not output.is_interactive:
        raise CommandFailed("nobody is there to be asked", "give --yes to write, or --dry-run to look", Exit.USAGE)
    if not typer.confirm(question, err=True):
        raise CommandFailed("nothing was written")


def _document(store: Store, plan: Plan) -> dict[str, Any]:
    return {
        "path": store.path,
        "changes": [change_document(change) for change in plan.changes],
        "faults": [fault_document(fault, sources) for fault, sources in plan.faults.items()],
    }
