"""`versions`: shows the published versions of both functions, rolls back to the ones before, and deletes older ones.

Each function has two aliases: `live`, which takes all requests and events and belongs to the stack, and `previous`,
which `prune` sets to the version that is live before a deployment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.target import Target

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

LIVE = "live"
PREVIOUS = "previous"

_OUTPUTS = ("DeliverFunctionName", "RedeliverFunctionName")

app = typer.Typer(
    no_args_is_help=True, help="Show the versions of the functions, roll back to the ones before, or delete older ones."
)


class Version(NamedTuple):
    """A published version; `number` as Lambda writes it."""

    number: str
    published_at: str
    description: str


@dataclass(frozen=True)
class Function:
    """A function with its published versions, the oldest first, and the versions of its aliases."""

    name: str
    versions: list[Version]
    aliases: dict[str, str]
    is_shifting: bool

    @classmethod
    def of(cls, client: LambdaClient, name: str) -> Function:
        pages = client.get_paginator("list_versions_by_function").paginate(FunctionName=name)
        versions = [
            Version(found["Version"], found["LastModified"], found["Description"])
            for page in pages
            for found in page["Versions"]
            if found["Version"] != "$LATEST"
        ]
        versions.sort(key=lambda version: int(version.number))
        aliases = client.list_aliases(FunctionName=name)["Aliases"]
        shifting = [alias for alias in aliases if alias.get("RoutingConfig", {}).get("AdditionalVersionWeights")]
        by_name = {alias["Name"]: alias["FunctionVersion"] for alias in aliases}
        return cls(name, versions, by_name, is_shifting=bool(shifting))

    @property
    def live(self) -> str:
        return self.aliases[LIVE]

    @property
    def previous(self) -> str | None:
        """The version to roll back to, if it is another one than the live one."""
        number = self.aliases.get(PREVIOUS)
        return None if number == self.live else number

    @property
    def unneeded(self) -> list[Version]:
        """The versions that are neither live nor the newest, which the stack may name."""
        return [version for version in self.versions[:-1] if version.number != self.live]

    def to_json(self) -> dict[str, Any]:
        return {
            "function": self.name,
            "live": self.live,
            "previous": self.previous,
            "versions": [version._asdict() for version in self.versions],
        }


def _functions(target: Target) -> list[Function]:
    return [Function.of(target.lambda_, target.value(output)) for output in _OUTPUTS]


@app.command("list", epilog="Example: voucherify-destination versions list")
def list_(context: typer.Context) -> None:
    """Show the published versions of both functions: which one is live, and which one a rollback would take."""
    ctx: Context = context.obj
    functions = _functions(ctx.target)
    ctx.output.result([function.to_json() for function in functions])
    rows = [
        (function.name, version.number, _state(function, version), version.published_at, version.description)
        for function in functions
        for version in reversed(function.versions)
    ]
    ctx.output.table(("function", "version", "state", "published (UTC)", "parameters"), rows)


def _state(function: Function, version: Version) -> str:
    return {function.live: LIVE, function.previous: PREVIOUS}.get(version.number, "")


@app.command(
    epilog="Examples: voucherify-destination versions rollback; voucherify-destination versions rollback --yes"
)
def rollback(
    context: typer.Context, yes: Annotated[bool, typer.Option("--yes", help="Roll back without asking.")] = False
) -> None:
    """Let both functions take requests and events with the versions from before the last deployment.

    It is one call for each function and takes effect within seconds, without
    a deployment. Code, and the parameters that the functions read, go back;
    settings and all other resources stay. The next deployment takes a newer
    version again.
    """
    ctx: Context = context.obj
    functions = _functions(ctx.target)
    if shifting := [function.name for function in functions if function.is_shifting]:
        problem = f"a gradual deployment of {' and '.join(shifting)} is in progress"
        raise CommandFailed(problem, "stop it in CodeDeploy, with a rollback: aws deploy stop-deployment")
    moves = [(function, function.previous) for function in functions if function.previous]
    if not moves:
        advice = "run voucherify-destination versions list; deploy an older commit instead (docs/upgrading.md)"
        raise CommandFailed("there is no version from before the last deployment", advice)
    if not yes:
        shown = ", ".join(f"{function.name} from version {function.live} to {to}" for function, to in moves)
        ctx.output.confirm(f"Roll back {shown}?", "add --yes")
    for function, to in moves:
        ctx.target.lambda_.update_alias(FunctionName=function.name, Name=LIVE, FunctionVersion=to)
        ctx.output.fine(f"{function.name} is back from version {function.live} to {to}")
    ctx.output.result([{"function": function.name, "from": function.live, "to": to} for function, to in moves])


@app.command(epilog="Example: voucherify-destination versions prune")
def prune(context: typer.Context) -> None:
    """Before a deployment: remember the live versions for a rollback, and delete the older ones.

    `make deploy` runs it first. After a deployment there would be nothing
    left to roll back to. Each kept version of a function with SnapStart costs
    money.
    """
    ctx: Context = context.obj
    try:
        functions = _functions(ctx.target)
    except CommandFailed as failed:  # the first deployment, or the first with this command
        if failed.code is Exit.UNREACHABLE:
            raise
        ctx.output.note(f"no versions yet: {failed.problem}")
        ctx.output.result([])
        return
    client = ctx.target.lambda_
    for function in functions:
        set_alias = client.update_alias if PREVIOUS in function.aliases else client.create_alias
        set_alias(FunctionName=function.name, Name=PREVIOUS, FunctionVersion=function.live)
        for version in function.unneeded:
            client.delete_function(FunctionName=function.name, Qualifier=version.number)
        deleted = ", ".join(version.number for version in function.unneeded) or "none"
        ctx.output.fine(f"{function.name}: version {function.live} is kept for a rollback; deleted: {deleted}")
    ctx.output.result(
        [
            {"function": one.name, "kept": one.live, "deleted": [version.number for version in one.unneeded]}
            for one in functions
        ]
    )
