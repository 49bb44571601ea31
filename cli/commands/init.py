"""`init`: writes the first settings and prints the steps in Segment. It can run again: existing settings are kept."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import boto3
import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.segment import connection_steps, copy_command, events_url
from cli.settings.credentials import check_credentials
from cli.settings.store import Plan, Store
from cli.settings.view import refuse, write_changes
from cli.target import Target
from handler.settings.setting_types import Parameter
from handler.settings.settings import DEFAULT_API_URL
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

# By setting: its name in Voucherify, and the environment variable and the option that give it.
_CREDENTIALS = {
    "apiKey": ("Application ID", "VOUCHERIFY_API_KEY", "--api-key-file"),
    "apiToken": ("Secret Key", "VOUCHERIFY_API_TOKEN", "--api-token-file"),
}


def _file_of(name: str) -> Any:
    return typer.Option(help=f"A file with the {_CREDENTIALS[name][0]}.", exists=True, dir_okay=False, readable=True)


def init(
    context: typer.Context,
    cluster: Annotated[str | None, typer.Option(help="Voucherify's cluster: europe, us1, as1, or its URL.")] = None,
    api_key_file: Annotated[Path | None, _file_of("apiKey")] = None,
    api_token_file: Annotated[Path | None, _file_of("apiToken")] = None,
    source: Annotated[str | None, typer.Option(help="The source to set up. Default: the one without a name.")] = None,
    skip_check: Annotated[bool, typer.Option("--skip-check", help="Do not check the credentials.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask questions.")] = False,
) -> None:
    """Write the settings that are missing and print the steps in Segment. Existing settings are unchanged.

    The credentials of your Voucherify project are asked for without showing
    them, or read from VOUCHERIFY_API_KEY and VOUCHERIFY_API_TOKEN or from
    files. They are checked with a call to Voucherify. The secrets that
    Segment has to send are generated.
    """
    ctx: Context = context.obj
    prompt = _Prompt(ctx.output, may_ask=not yes and ctx.output.is_interactive)
    target = _with_region(ctx.target, prompt)
    store = Store(target, source)
    known = _known(store)
    values = _missing_values(known, cluster, {"apiKey": api_key_file, "apiToken": api_token_file}, prompt)
    plan = _checked_plan(ctx.output, store, values)
    if not skip_check:
        _check(ctx.output, {**known, **values})
    write_changes(ctx.output, store, plan.changes, yes=yes)
    for name in sorted(known.keys() & {*_CREDENTIALS, *_SECRETS}):
        ctx.output.fine(f"{name} is unchanged")
    _show_steps(ctx.output, target, Store(target, source), plan)


class _Prompt:
    """Asks a person, if one is at the terminal."""

    def __init__(self, output: Output, *, may_ask: bool) -> None:
        self.output = output
        self._may_ask = may_ask

    def ask(self, question: str, otherwise: str, *, hidden: bool = False, default: str | None = None) -> str:
        """Return an answer, or the default. Raises CommandFailed with `otherwise` where there is neither."""
        if self._may_ask:
            return str(typer.prompt(question, hide_input=hidden, default=default, err=True)).strip()
        if default is None:
            raise CommandFailed(f"{question} is missing", otherwise, Exit.USAGE)
        return default


def _with_region(target: Target, prompt: _Prompt) -> Target:
    if target.session.region_name:
        return target
    region = prompt.ask("AWS region", "give --region, or set AWS_REGION")
    profile = target.session.profile_name  # "default" if none was chosen, which need not exist
    session = boto3.Session(region_name=region, profile_name=None if profile == "default" else profile)
    return replace(target, session=session)


def _known(store: Store) -> dict[str, str]:
    """Return the existing values. A new source starts without the common ones: it gets credentials of its own."""
    if not store.own:
        return {}
    return {name: found.value for name, (found, _) in store.effective.items() if found.value.strip()}


def _missing_values(
    known: Mapping[str, str], cluster: str | None, files: Mapping[str, Path | None], prompt: _Prompt
) -> dict[str, str]:
    """Return the missing values. The credentials come last: no event is accepted before they are written."""
    missing = [name for name in _CREDENTIALS if name not in known]
    values: dict[str, str] = {}
    # If one secret exists, the other one is left out on purpose: Segment does not send it.
    if missing or not any(name in known for name in _SECRETS):
        values |= {name: secrets.token_hex(32) for name in _SECRETS if name not in known}
    if cluster or (missing and "apiUrl" not in known):
        values["apiUrl"] = _api_url(cluster, known, prompt)
    return values | {name: _credential(name, files[name], prompt) for name in missing}


def _api_url(cluster: str | None, known: Mapping[str, str], prompt: _Prompt) -> str:
    if cluster is None:
        question = f"Voucherify's cluster ({', '.join(CLUSTERS)}, or its URL)"
        cluster = prompt.ask(question, "give --cluster", default="europe")
    url = CLUSTERS.get(cluster.lower(), cluster)
    if "://" not in url:
        advice = f"give {', '.join(CLUSTERS)}, or the cluster's URL"
        raise CommandFailed(f"unknown cluster {url!r}{nearest(url, CLUSTERS)}", advice, Exit.USAGE)
    if known.get("apiUrl", url) != url:
        raise CommandFailed("apiUrl is set to another cluster", f"to change it: settings set apiUrl {url}", Exit.USAGE)
    return url


def _credential(name: str, file: Path | None, prompt: _Prompt) -> str:
    title, variable, option = _CREDENTIALS[name]
    if file:
        return file.read_text("utf-8-sig").strip()
    if value := os.environ.get(variable, "").strip():
        prompt.output.note(f"Using the {title} in {variable}.")
        return value
    return prompt.ask(f"Voucherify's {title}", f"set {variable}, or give {option}", hidden=True)


def _checked_plan(output: Output, store: Store, values: Mapping[str, str]) -> Plan:
    """Return the changes. End the command if a credential or a new value is faulty; `doctor` reports other faults."""
    plan = store.plan({name: Parameter(value) for name, value in values.items()})
    checked = {*values, *_CREDENTIALS, "apiUrl"}
    faults = {fault: sources for fault, sources in plan.faults.items() if fault.setting in checked}
    if faults:
        refuse(output, faults)
    return plan


def _check(output: Output, values: Mapping[str, str]) -> None:
    api_url = values.get("apiUrl", DEFAULT_API_URL).strip().rstrip("/")
    output.note(f"Checking the credentials with {api_url} …")
    verdict = check_credentials(api_url, values["apiKey"], values["apiToken"])
    if not verdict.is_fine:
        raise CommandFailed(
            f"nothing was written: {verdict.problem}", f"{verdict.advice} (or skip this check: --skip-check)"
        )
    output.fine("the credentials are valid")


def _show_steps(output: Output, target: Target, store: Store, plan: Plan) -> None:
    """Print what is left to do in Segment."""
    url = events_url(target, store.source)
    effective = store.effective
    commands = {
        name: copy_command(target, f"{store.path_in(effective[name][1])}/{name}")
        for name in _SECRETS
        if name in effective
    }
    steps = connection_steps(url, commands)
    output.line()
    output.line("In Segment:", "bold")
    for number, step in enumerate(steps, 1):
        output.line(f"{number}. {step}")
    for name, command in commands.items():
        output.line()
        output.line(f"To print the {name}:", "bold")
        output.line(command)
    output.line()
    output.line("Then check everything: voucherify-destination doctor")
    written = [change.name for change in plan.changes]
    output.result({"path": store.path, "written": written, "eventsUrl": url, "steps": steps, "copy": commands})
