"""`retries`: shows the events that wait in the retry queue."""

from __future__ import annotations

import typer

from cli.context import Context
from cli.dead_letters.filters import MessageFilter, with_filter
from cli.dead_letters.groups import count_messages, grouped, show_groups
from cli.dead_letters.reading import QueueReader

app = typer.Typer(no_args_is_help=True, help="Show the events that wait in the retry queue.")

# Enough to see the reasons. The retry worker does not see a message while it is read here.
_MOST_MESSAGES = 1000


@app.callback()
def group() -> None:
    """Keep `list` a command of its own, although it is the only one."""


@app.command(
    "list",
    epilog="""Examples:

voucherify-destination retries list

voucherify-destination retries list --code rate_limited --source shop""",
)
@with_filter
def list_(context: typer.Context, wanted: MessageFilter) -> None:
    """Count the waiting events by reason code, with one example of each. Values are masked.

    Only the events whose next try is due can be read, 1,000 at most; the
    others are counted. Reading hides an event from the retry worker until
    the command ends, and counts as a receive.
    """
    ctx: Context = context.obj
    with QueueReader(ctx.target.sqs, ctx.target.value("RetryQueueUrl"), at_most=_MOST_MESSAGES) as reader:
        groups = grouped(filter(wanted.matches, reader.messages()))
    show_groups(
        ctx.output,
        groups,
        reader,
        "retry queue",
        matches_all=wanted.matches_all,
        show_data=False,
        in_flight_means="hidden until their next try, or the retry worker has them",
    )
    if delayed := reader.depth.delayed:
        ctx.output.note(f"about {count_messages(delayed)} delayed until their next try")
