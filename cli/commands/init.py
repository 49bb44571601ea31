"""`init`: from a stack without settings to the steps in Segment. It keeps what is there, so it can run again."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer

from cli.commands.segment_steps import copy_command, steps
from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.settings.keys import ask_voucherify
from cli.settings.store import Plan, Store
from cli.settings.view import refuse
from cli.target import Target
from handler.settings.setting_types import Parameter
from handler.settings.settings import DEFAULT_API_URL
from handler.settings.sources import DEFAULT_SOURCE
from mapping import nearest

EPILOG = (
    "Examples: voucherify-destination init; "
    "VOUCHERIFY_API_KEY=… VOUCHERIFY_API_TOKEN=… voucherify-destination init --yes --cluster us1"
)

CLUSTERS = {
    "europe": DEFAULT_API_URL,
    "us1": "https://us1.api.voucherify.io",
    "as1": "https://as1.api.voucherify.io",
}

_SECRETS = ("sharedSecret", "accessToken")

# By setting: how a person knows it, and the variable of a script.
_KEYS = {
    "apiKey": ("Application ID", "VOUCHERIFY_API_KEY", "--api-key-file"),
    "apiToken": ("Secret Key", "VOUCHERIFY_API_TOKEN", "--api-token-file"),
}


def _file_of(key: str) -> Any:
    return typer.Option(help=f"A file with the {_KEYS[key][0]}.", exists=True, dir_okay=False, readable=True)


def init(
    context: typer.Context,
    cluster: Annotated[str | None, typer.Option(help="Voucherify's cluster: europe, us1, as1, or its URL.")] = None,
    api_key_file: Annotated[Path | None, _file_of("apiKey")] = None,
    api_token_file: Annotated[Path | None, _file_of("apiToken")] = None,
    source: Annotated[str | None, typer.Option(help="Set up this source; else the one without a name.")] = None,
    skip_check: Annotated[bool, typer.Option("--skip-check", help="Do not ask Voucherify about the keys.")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; the keys come from files or variables.")
    ] = False,
) -> None:
    """Ask for what is missing, check it, write it, and say what to do in Segment. What is set already stays as it is.

    The keys are asked for hidden, or read from VOUCHERIFY_API_KEY and VOUCHERIFY_API_TOKEN, or from files.
    """
    ctx: Context = context.obj
    asks = _Questions(ctx.output, may_ask=not yes and ctx.output.is_interactive)
    target = _with_region(ctx.target, asks)
    store = Store(target, source)
    known = _known(store)
    values = _values(known, cluster, {"apiKey": api_key_file, "apiToken": api_token_file}, asks)
    plan = _checked_plan(ctx.output, store, values)
    if not skip_check:
        _check_keys(ctx.output, {**known, **values})
    if plan.changes and not yes:
        names = ", ".join(change.setting.name for change in plan.changes)
        asks.agree(f"Write {names} under {store.path}?")
    for change in plan.changes:
        store.put(change)
        ctx.output.fine(f"{store.path}/{change.setting.name} is written")
    for name in sorted(known.keys() & {*_KEYS, *_SECRETS}):
        ctx.output.fine(f"{name} is kept as it was")
    _conclude(ctx.output, target, Store(target, source), plan)


class _Questions:
    """What a person is asked, where there is one."""

    def __init__(self, output: Output, *, may_ask: bool) -> None:
        self._output = output
        self._may_ask = may_ask

    def ask(self, question: str, otherwise: str, *, hidden: bool = False, default: str | None = None) -> str:
        """Raises CommandFailed, with what would do `otherwise`, where nobody is there and there is no default."""
        if self._may_ask:
            return str(typer.prompt(question, hide_input=hidden, default=default, err=True)).strip()
        if default is None:
            raise CommandFailed(f"{question} is missing", otherwise, Exit.USAGE)
        return default

    def note(self, text: str) -> None:
        self._output.note(text)

    def agree(self, question: str) -> None:
        if not self._may_ask:
            raise CommandFailed("nobody is there to be asked", "give --yes to write", Exit.USAGE)
        if not typer.confirm(question, default=True, err=True):
            raise CommandFailed("nothing was written")


def _with_region(target: Target, asks: _Questions) -> Target:
    if target.session.region_name:
        return target
    region = asks.ask("AWS region", "give --region, or set AWS_REGION")
    profile = target.session.profile_name  # "default" where none was chosen, which need not exist
    session = boto3.Session(region_name=region, profile_name=None if profile == "default" else profile)
    return replace(target, session=session)


def _known(store: Store) -> dict[str, str]:
    """What is set. A new source begins without what is common: it is there to have keys and secrets of its own."""
    if store.is_new:
        return {}
    return {name: found.value for name, (found, _) in store.effective.items() if found.value.strip()}


def _values(
    known: Mapping[str, str], cluster: str | None, files: Mapping[str, Path | None], asks: _Questions
) -> dict[str, str]:
    """What is missing. The keys come last: without them nobody is let in, so a run that breaks off is not half open."""
    missing = [name for name in _KEYS if name not in known]
    values: dict[str, str] = {}
    # One secret alone is somebody's choice: to add the other would shut out a Segment that does not send it yet.
    if missing or not any(name in known for name in _SECRETS):
        values |= {name: secrets.token_hex(32) for name in _SECRETS if name not in known}
    if cluster or (missing and "apiUrl" not in known):
        values["apiUrl"] = _api_url(cluster, known, asks)
    return values | {name: _key(name, files[name], asks) for name in missing}


def _api_url(cluster: str | None, known: Mapping[str, str], asks: _Questions) -> str:
    if cluster is None:
        cluster = asks.ask(f"Voucherify's cluster ({', '.join(CLUSTERS)}, or its URL)", "--cluster", default="europe")
    url = CLUSTERS.get(cluster.lower(), cluster)
    if "://" not in url:
        raise CommandFailed(f"there is no cluster {url!r}{nearest(url, CLUSTERS)}", "its URL does too", Exit.USAGE)
    if known.get("apiUrl", url) != url:
        raise CommandFailed("apiUrl is set to another cluster", f"settings set apiUrl {url} changes it", Exit.USAGE)
    return url


def _key(name: str, file: Path | None, asks: _Questions) -> str:
    title, variable, option = _KEYS[name]
    if file:
        return file.read_text("utf-8-sig").strip()
    if value := os.environ.get(variable, "").strip():
        asks.note(f"The {title} is that of {variable}.")
        return value
    return asks.ask(f"Voucherify's {title}", f"set {variable}, or give {option}", hidden=True)


def _checked_plan(output: Output, store: Store, values: Mapping[str, str]) -> Plan:
    """Ends the command where what Voucherify is asked with is faulty; what is wrong with others is for `doctor`."""
    plan = store.plan({name: Parameter(value) for name, value in values.items()})
    looked_at = {*values, *_KEYS, "apiUrl"}
    faults = {fault: sources for fault, sources in plan.faults.items() if fault.setting in looked_at}
    if faults:
        refuse(output, faults)
    return plan


def _check_keys(output: Output, values: Mapping[str, str]) -> None:
    api_url = values.get("apiUrl", DEFAULT_API_URL).strip().rstrip("/")
    output.note(f"Asking {api_url} …")
    verdict = ask_voucherify(api_url, values["apiKey"], values["apiToken"])
    if not verdict.is_fine:
        raise CommandFailed(
            f"nothing was written: {verdict.problem}", f"{verdict.advice} (--skip-check leaves this check out)"
        )
    output.fine("Voucherify takes the keys")


def _conclude(output: Output, target: Target, store: Store, plan: Plan) -> None:
    """What is left to do, which is in Segment."""
    url = target.value("EventsUrl") + ("" if store.source == DEFAULT_SOURCE else f"/{store.source}")
    effective = store.effective
    commands = {
        name: copy_command(target, f"{store.path_in(effective[name][1])}/{name}")
        for name in _SECRETS
        if name in effective
    }
    todo = steps(url, commands)
    output.line("")
    output.line("In Segment:", "bold")
    for number, step in enumerate(todo, 1):
        output.line(f"{number}. {step}")
    for name, command in commands.items():
        output.line("")
        output.line(f"To copy the {name}:", "bold")
        output.line(command)
    output.line("")
    output.line("Then `voucherify-destination doctor` looks at all of it.")
    written = [change.setting.name for change in plan.changes]
    output.result({"path": store.path, "written": written, "eventsUrl": url, "steps": todo, "copy": commands})
