"""`settings`: shows, changes and compares the settings in Parameter Store. The function's own code checks them."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.segment import copy_command
from cli.settings.file import parameter_of, read_files, require_new, write_document
from cli.settings.store import (
    UNKNOWN_SETTING,
    Plan,
    Store,
    find_setting,
    is_secret,
    nearest_setting,
    setting_named,
)
from cli.settings.view import (
    change_document,
    difference,
    fault_documents,
    in_a_line,
    refuse,
    show_changes,
    show_difference,
    show_faults,
    value_of,
    write_changes,
)
from handler.settings.setting_types import Parameter
from handler.settings.settings import ROTATING, SETTINGS
from handler.settings.sources import DEFAULT_SOURCE
from mapping import has_event_names, setting_of

app = typer.Typer(no_args_is_help=True, help="Show and change the settings.")

Source = Annotated[str | None, typer.Option(help="The source that has these settings. Default: the common settings.")]
Name = Annotated[str, typer.Argument(help="The name of a setting, such as trackMapping or trackMapping.orders.")]
Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...", help="TOML or JSON files, or presets.", exists=True, dir_okay=False, readable=True
    ),
]
Advanced = Annotated[bool, typer.Option("--advanced", help="Allow 8 KB instead of 4 KB, which AWS charges for.")]

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Write without asking.")]

_COMMAND = "voucherify-destination settings"


@app.command(epilog=f"Example: {_COMMAND} show --source shop")
def show(context: typer.Context, source: Source = None) -> None:
    """Show every setting: its value, its origin, and when it was changed. Secrets are not shown."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    store.require_source()
    rows = {name: _row(store, name) for name in _names(store)}
    ctx.output.table(
        ("setting", "value", "from", "changed"),
        [(name, _cell(row), row["from"], (row["changedAt"] or "")[:16]) for name, row in rows.items()],
    )
    unknown = sorted(name for name in store.own if find_setting(name) is None)
    for name in unknown:
        ctx.output.wrong(f"{store.path}/{name}: {UNKNOWN_SETTING}{nearest_setting(name)}")
    ctx.output.result({"path": store.path, "settings": rows, "unknown": unknown})


@app.command("set", epilog=f"Examples: {_COMMAND} set trackDisabled true; {_COMMAND} set apiToken - --yes <token.txt")
def set_(
    context: typer.Context,
    name: Name,
    value: Annotated[str | None, typer.Argument(help="The value; - reads it from standard input.")] = None,
    source: Source = None,
    yes: Yes = False,
    advanced: Advanced = False,
) -> None:
    """Change one setting. Leave out the value of a secret to be asked for it, so that your shell does not record it.

    A new source needs both credentials at once: use init --source or
    settings apply.
    """
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    setting = setting_named(name)
    if value not in (None, "-") and is_secret(name):
        ctx.output.note("Your shell may record this secret. Leave out the value to be asked for it.")
    parameter = parameter_of(setting, _typed(name) if value in (None, "-") else str(value))
    _put(ctx.output, store, name, parameter, yes=yes, advanced=advanced)


@app.command(epilog=f"Examples: {_COMMAND} apply settings.toml; {_COMMAND} apply events/presets/*.json --dry-run")
def apply(
    context: typer.Context,
    files: Files,
    source: Source = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show the changes without writing.")] = False,
    advanced: Advanced = False,
) -> None:
    """Check files and write the settings that differ. Settings that are in no file are unchanged."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    plan = _plan_of(store, files, advanced=advanced)
    if plan.faults:
        refuse(ctx.output, plan.faults)
    show_changes(ctx.output, plan.changes)
    written = [] if dry_run else write_changes(ctx.output, store, plan.changes, yes=yes)
    if not plan.changes:
        ctx.output.fine(f"no changes to {store.path}")
    ctx.output.result({**_document(store, plan), "written": written})


@app.command(epilog=f"Exit code 1: something differs or is wrong. Example: {_COMMAND} diff settings.toml")
def diff(context: typer.Context, files: Files, source: Source = None, advanced: Advanced = False) -> None:
    """Show what settings apply would change. Secrets are not shown."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    plan = _plan_of(store, files, advanced=advanced)
    show_changes(ctx.output, plan.changes)
    show_faults(ctx.output, plan.faults)
    if not plan.changes and not plan.faults:
        ctx.output.fine(f"no differences from {store.path}")
    ctx.output.result(_document(store, plan))
    if plan.changes or plan.faults:
        raise typer.Exit(Exit.WRONG)


@app.command(epilog=f"Example: {_COMMAND} history trackMapping")
def history(context: typer.Context, name: Name, source: Source = None) -> None:
    """Show the versions of a setting, the newest first: date, author and changes. Secrets are not read."""
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
    to: Annotated[int | None, typer.Option(help="The version to restore. Default: the previous one.")] = None,
    source: Source = None,
    yes: Yes = False,
    advanced: Advanced = False,
) -> None:
    """Restore an earlier version of a setting, as a new version. It is checked first."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    setting = setting_named(name)
    versions = {version["Version"]: version for version in store.history(name, decrypted=True)}
    newest = max(versions)
    wanted = to if to is not None else max((number for number in versions if number < newest), default=None)
    if wanted is None:
        raise CommandFailed(f"{name} has no version before {newest}")
    if wanted not in versions:
        raise CommandFailed(f"{name} has no version {wanted}", "run settings history to list its versions", Exit.USAGE)
    version = versions[wanted]
    is_list = version["Type"] == "StringList"
    parameter = Parameter(version["Value"], is_list=True) if is_list else parameter_of(setting, version["Value"])
    _put(ctx.output, store, name, parameter, yes=yes, advanced=advanced)


@app.command(epilog=f"Examples: {_COMMAND} get trackMapping; {_COMMAND} get apiUrl --source shop")
def get(context: typer.Context, name: Name, source: Source = None) -> None:
    """Print the value in force of one setting, its default where it is not set. A secret is not shown."""
    ctx: Context = context.obj
    setting_named(name)
    store = Store(ctx.target, source)
    store.require_source()
    row = _row(store, name)
    ctx.output.result({"setting": name, **row})
    ctx.output.line(in_a_line(row["value"]) if "value" in row else _cell(row))


@app.command(epilog=f"Example: {_COMMAND} unset accessTokenPrevious")
def unset(context: typer.Context, name: Name, source: Source = None, yes: Yes = False) -> None:
    """Delete one setting, so that its default, or the common setting, is in force. Its history is deleted too."""
    ctx: Context = context.obj
    store = Store(ctx.target, source)
    setting_named(name)
    if name not in store.own:
        raise CommandFailed(f"{store.path}/{name} is not set")
    faults = store.faults_without(name)
    if faults:
        refuse(ctx.output, faults)
    if not yes:
        ctx.output.confirm(f"Delete {store.path}/{name}, with its history?", "give --yes to delete without asking")
    store.delete([name])
    ctx.output.fine(f"{store.path}/{name} is deleted, which takes effect within a minute")
    ctx.output.result({"path": store.path, "deleted": [name]})


@app.command(epilog=f"Examples: {_COMMAND} rotate accessToken; {_COMMAND} unset accessTokenPrevious")
def rotate(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(ROTATING)}.")],
    source: Source = None,
    yes: Yes = False,
) -> None:
    """Replace a secret that Segment sends by a new one. The old one stays accepted until you unset it.

    Then change it in Segment. Nothing is refused meanwhile. If the old
    secret has leaked, unset it at once.
    """
    ctx: Context = context.obj
    if name not in ROTATING:
        raise CommandFailed(f"{name} has no previous value beside it", f"rotate {' or '.join(ROTATING)}", Exit.USAGE)
    store = Store(ctx.target, source)
    if name not in store.own:
        raise CommandFailed(f"{store.path}/{name} is not set", "run settings show for the place where it is set")
    previous = f"{name}Previous"
    plan = store.plan({previous: store.own[name], name: Parameter(secrets.token_hex(32))})
    written = write_changes(ctx.output, store, plan.changes, yes=yes)
    command = copy_command(ctx.target, f"{store.path}/{name}")
    ctx.output.line("In a minute, set the new value in Segment. To print it:")
    ctx.output.line(command)
    option = f" --source {source}" if source else ""
    ctx.output.line(f"When Segment sends it: {_COMMAND} unset {previous}{option}")
    ctx.output.result({"path": store.path, "written": written, "copy": command})


@app.command(epilog=f"Example: {_COMMAND} pull settings.json")
def pull(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A new file, which ends in .json.")],
    source: Source = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a source's own settings to a file, without secrets. Edit it, and settings apply writes what you changed."""
    ctx: Context = context.obj
    require_new(file, force=force)
    store = Store(ctx.target, source)
    store.require_source()
    values = {name: value_of(name, parameter) for name, parameter in store.own.items() if not is_secret(name)}
    write_document(file, values)
    ctx.output.fine(f"{len(values)} settings written to {file}")
    ctx.output.result({"file": str(file), "settings": values})


def _names(store: Store) -> list[str]:
    """Return the names of all settings, each followed by its labelled parameters."""
    labelled = sorted(name for name in store.effective if name not in SETTINGS)
    return [
        name for setting in SETTINGS for name in (setting, *(one for one in labelled if setting_of(one) == setting))
    ]


def _row(store: Store, name: str) -> dict[str, Any]:
    """Return a setting as `show` prints it."""
    found = store.effective.get(name)
    if found is None:
        value = {} if is_secret(name) else {"value": SETTINGS[name].default}
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
        return _rows(len(row["value"])) if row["value"] else "none"  # the documentation lists them
    if has_event_names(row.get("value")):
        return ", ".join(f"{event} ({_rows(len(rows))})" for event, rows in row["value"].items())
    if "value" in row:
        return in_a_line(row["value"])
    return "set, not shown" if row["isSet"] else "not set"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count} rows"


def _typed(name: str) -> str:
    """Read a value from a person, hidden if it is a secret, or from standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(name, hide_input=is_secret(name), err=True))
    return sys.stdin.read().rstrip("\r\n")


def _plan_of(store: Store, files: Sequence[Path], *, advanced: bool) -> Plan:
    parameters, faults = read_files(files)
    plan = store.plan(parameters, advanced=advanced)
    return Plan(plan.changes, {**{fault: [store.source] for fault in faults}, **plan.faults})


def _put(output: Output, store: Store, name: str, parameter: Parameter, *, yes: bool, advanced: bool) -> None:
    """Write one setting. Existing faults of other settings do not prevent that."""
    plan = store.plan({name: parameter}, advanced=advanced)
    before = store.faults(store.by_source) if plan.faults else {}
    refused = {fault: of for fault, of in plan.faults.items() if fault.setting == name or fault not in before}
    if refused:
        refuse(output, refused)
    show_changes(output, plan.changes)
    written = write_changes(output, store, plan.changes, yes=yes)
    if not plan.changes:
        output.fine("unchanged: it has this value already")
    for fault in plan.faults:
        output.note(f"still wrong: {fault}")
    output.result({**_document(store, plan), "written": written})


def _document(store: Store, plan: Plan) -> dict[str, Any]:
    return {
        "path": store.path,
        "changes": [change_document(change) for change in plan.changes],
        "faults": fault_documents(plan.faults),
    }
