"""The command `voucherify-destination`: its options for every command, and how it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from typer.core import TyperGroup

from cli.commands import dead_letters, doctor, init, preview, replay, settings, trace
from cli.context import Context
from cli.errors import CommandFailed, Exit
from cli.output import Output
from cli.target import LOCAL_PORT, Target

# The options of every command, by how many values each takes. They may stand anywhere on the line.
_COMMON = {"--stack": 1, "--local": 0, "--port": 1, "--region": 1, "--profile": 1, "--json": 0}


class _Group(TyperGroup):
    """Takes the options of every command wherever they stand, and ends as cli.errors says."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _common_first(args))

    def invoke(self, ctx: Any) -> object:
        try:
            return super().invoke(ctx)
        except CommandFailed as failed:
            _explain(failed)
        except NoCredentialsError:
            _explain(
                CommandFailed("AWS has no credentials of yours", "aws configure, or aws sso login", Exit.UNREACHABLE)
            )
        except ClientError as error:
            answer = error.response.get("Error", {})
            problem = f"AWS refused {error.operation_name}: {answer.get('Code')}: {answer.get('Message')}"
            _explain(CommandFailed(problem, code=Exit.UNREACHABLE))
        except BotoCoreError as error:
            _explain(CommandFailed(f"AWS could not be asked: {error}", code=Exit.UNREACHABLE))
        except KeyboardInterrupt:
            _explain(
                CommandFailed("interrupted", "what was done stays done; the same command goes on", Exit.INTERRUPTED)
            )
        return None


def _common_first(args: Sequence[str]) -> list[str]:
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


def _explain(failed: CommandFailed) -> None:
    print(f"✗ {failed.problem}", file=sys.stderr)
    if failed.advice:
        print(f"  {failed.advice}", file=sys.stderr)
    raise SystemExit(failed.code)


app = typer.Typer(
    name="voucherify-destination",
    cls=_Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Set up, watch and mend a Segment destination for Voucherify.",
    epilog="Exit codes: 0 fine, 1 something is wrong, 2 called wrongly, 3 AWS or Voucherify unreached, 130 stopped.",
)


app.command(epilog=init.EPILOG)(init.init)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.add_typer(settings.app, name="settings")
app.command(epilog=preview.EPILOG)(preview.preview)
app.add_typer(dead_letters.app, name="dead-letters")
app.command(epilog=replay.EPILOG)(replay.replay)
app.command(epilog=trace.EPILOG)(trace.trace)


@app.callback()
def common(
    context: typer.Context,
    stack: Annotated[
        str, typer.Option(help="The stack to work on.", envvar="VOUCHERIFY_DESTINATION_STACK")
    ] = "voucherify-destination",
    local: Annotated[bool, typer.Option("--local", help="Work on the local system of `make serve`.")] = False,
    port: Annotated[int, typer.Option(help="The port of that system.")] = LOCAL_PORT,
    region: Annotated[str | None, typer.Option(help="AWS region; else that of the credentials.")] = None,
    profile: Annotated[str | None, typer.Option(help="AWS profile; else that of the environment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON document instead of tables.")] = False,
) -> None:
    """These options may stand before or after the command."""
    target = Target.local(port) if local else Target.of_stack(stack, region, profile)
    context.obj = Context(target, Output(as_json=as_json))


def main() -> None:
    """The console script's entry."""
    app()
