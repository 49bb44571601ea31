"""`smoke`: sends events of its own through the deployed URL, with one line for what it saw each time."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Annotated

import typer

from cli.checks import Check, guarded
from cli.context import Context
from cli.errors import Exit
from cli.interruption import finish_cleanup
from cli.output import Output
from cli.settings.store import settings_of_source
from cli.smoke.run import CUSTOMER, SmokeTest
from cli.smoke.source import SmokeSource
from cli.smoke.waiting import Waiting
from cli.target import Target
from handler.settings.sources import DEFAULT_SOURCE

EPILOG = "Examples: voucherify-destination smoke --stack my-stack; voucherify-destination smoke --local --json"

EVENT = "voucherify-destination smoke test"

CLOCK = time.monotonic
SLEEP = time.sleep


def smoke(
    context: typer.Context,
    like: Annotated[
        str, typer.Option("--like", help="The source whose Voucherify project gets the events.")
    ] = DEFAULT_SOURCE,
    event: Annotated[
        str, typer.Option("--event", help="The name of the track events: a custom event that grants nothing.")
    ] = EVENT,
    update_stack: Annotated[
        bool, typer.Option("--update-stack", help="Also change a parameter of the stack and change it back.")
    ] = False,
) -> None:
    """Send events through the whole system, and check what becomes of each. It takes some minutes.

    The events go to a source of their own, smoke-test, and to one test
    customer. Its settings, its messages and the customer are deleted at the
    end, also after a failure and after Ctrl-C. Run one smoke test of a stack
    at a time.

    On AWS the alias of the function behind the API moves to the previous
    version for some seconds, for all sources, and the alarms on dead letters
    may go off. --update-stack takes two updates of the stack, after which the
    previous version has the code of the current one. Exit code 1: a line
    failed.
    """
    ctx: Context = context.obj
    finish_cleanup()
    ctx.output.done = lambda: "the lines above say what was cleaned up"
    if not run(ctx.target, ctx.output, like, event, update_stack=update_stack):
        raise typer.Exit(Exit.WRONG)


def run(
    target: Target, output: Output, like: str = DEFAULT_SOURCE, event: str = EVENT, *, update_stack: bool = False
) -> bool:
    """Run the smoke test, and return whether no line has failed. Raises CommandFailed where it cannot begin."""
    settings, _ = settings_of_source(target, like)
    waiting = Waiting(CLOCK, SLEEP, output.note)
    source = SmokeSource(target, settings, waiting)
    source.check()
    test = SmokeTest(target, settings, source, event, waiting, updates_stack=update_stack)
    checks: list[Check] = []

    def report(check: Check) -> None:
        checks.append(check)
        check.show(output)

    output.note(f"Sending events to {source.url}.")
    output.note(f"They create the customer {CUSTOMER} at {settings.api_url}.")
    with ExitStack() as at_the_end:
        for step in reversed(test.clean_up):
            at_the_end.callback(lambda step: report(guarded("clean-up", step)), step)
        for check in test.checks():
            report(check)
    output.result([check.to_json() for check in checks])
    return all(check.is_fine is not False for check in checks)
