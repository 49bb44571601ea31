"""The command `voucherify-destination`: its common options, and its error messages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli.commands import (
    dead_letters,
    doctor,
    init,
    mapping,
    plan,
    preview,
    replay,
    retries,
    send,
    settings,
    smoke,
    sources,
    trace,
    versions,
)
from cli.context import Context
from cli.errors import CommandFailed, Exit, aws_errors
from cli.interruption import has_said_how_it_ended
from cli.output import NOTHING_CHANGED, Output, advice_lines, escaped
from cli.target import Target

# The common options, with the number of values of each.
_COMMON = {"--stack": 1, "--local": 0, "--port": 1, "--region": 1, "--profile": 1, "--json": 0}


class _Group(TyperGroup):
    """Accepts the common options anywhere on the command line, and turns errors into messages and exit codes."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _common_first(args))

    def invoke(self, ctx: Any) -> object:
        try:
            with aws_errors():
                return super().invoke(ctx)
        except CommandFailed as error:
            failed = error
        except KeyboardInterrupt as interrupt:
            failed = _interrupted(ctx, interrupt)
        except typer.Abort as abort:
            # Of a question: Click raises it for Ctrl-C, and where nobody answers.
            if not isinstance(abort.__context__, KeyboardInterrupt):
                raise
            failed = _interrupted(ctx, abort.__context__)
        except typer.TyperException as wrong:
            if not ctx.params.get("as_json"):
                raise
            failed = CommandFailed(wrong.format_message(), code=Exit.USAGE)
        _say(failed, Output(as_json=bool(ctx.params.get("as_json"))))
        has_said_how_it_ended()
        raise SystemExit(failed.code)


def _say(failed: CommandFailed, output: Output) -> None:
    """Write why a command failed: on standard error, or as its JSON document."""
    error = {"problem": failed.problem, "advice": failed.advice, "exitCode": failed.code}
    output.result({"error": error})
    if not output.as_json:
        print(f"✗ {escaped(failed.problem)}", file=sys.stderr)
        for line in advice_lines(failed.advice):
            print(escaped(line), file=sys.stderr)


def _interrupted(ctx: Any, interrupt: KeyboardInterrupt) -> CommandFailed:
    """Say what a command had done when it was interrupted, and what it left behind."""
    done = ctx.obj.output.done() if ctx.obj else NOTHING_CHANGED
    advice = "" if done == NOTHING_CHANGED else "what is done stays done; run the same command to continue"
    return CommandFailed(f"interrupted: {done}", "\n".join([*map(str, interrupt.args), advice]), Exit.INTERRUPTED)


def _common_first(args: Sequence[str]) -> list[str]:
    """Move the common options to the front, where Typer expects them."""
    common: list[str] = []
    rest: list[str] = []
    left = list(args)
    while left:
        arg = left.pop(0)
        if arg == "--":
            return [*common, *rest, arg, *left]
        name, is_joined, _ = arg.partition("=")
        if name in _COMMON:
            common.append(arg)
            if _COMMON[name] and not is_joined and left:
                common.append(left.pop(0))
        else:
            rest.append(arg)
    return common + rest


app = typer.Typer(
    name="voucherify-destination",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Set up, monitor and repair a Segment destination for Voucherify.",
    epilog="Exit codes: 0 success, 1 something is wrong, 2 wrong command line, 3 AWS or Voucherify not reachable, "
    "130 interrupted.",
)

app.command(epilog=init.EPILOG)(init.init)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.command(epilog=smoke.EPILOG)(smoke.smoke)
app.add_typer(settings.app, name="settings")
app.add_typer(sources.app, name="sources")
app.add_typer(mapping.app, name="mapping")
app.command(epilog=preview.EPILOG)(preview.preview)
app.command(epilog=plan.EPILOG)(plan.plan)
app.add_typer(retries.app, name="retries")
app.add_typer(dead_letters.app, name="dead-letters")
app.command(epilog=send.EPILOG)(send.send)
app.command(epilog=replay.EPILOG)(replay.replay)
app.command(epilog=trace.EPILOG)(trace.trace)
app.add_typer(versions.app, name="versions")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"voucherify-destination {version('voucherify-destination')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    stack: Annotated[
        str, typer.Option(help="The name of the stack.", envvar="VOUCHERIFY_DESTINATION_STACK")
    ] = "voucherify-destination",
    local: Annotated[bool, typer.Option("--local", help="Use the local system of `make serve`.")] = False,
    port: Annotated[
        int | None, typer.Option(help="The port of the local system. Default: the one that runs.", show_default=False)
    ] = None,
    region: Annotated[str | None, typer.Option(help="The AWS region. Default: that of your credentials.")] = None,
    profile: Annotated[str | None, typer.Option(help="The AWS profile. Default: that of the environment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document instead of tables.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read the common options."""
    target = Target.local(port) if local else Target.of_stack(stack, region, profile)
    context.obj = Context(target, Output(as_json=as_json))
