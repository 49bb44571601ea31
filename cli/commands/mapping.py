"""`mapping`: writes a settings file with a mapping to start from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import CommandFailed
from cli.events import read_events
from cli.preview.starting_file import EXAMPLE, ORDER_STATUSES, StartingFile
from cli.settings.file import require_new, write_document
from mapping import ORDER_EVENTS

app = typer.Typer(no_args_is_help=True, help="Write a mapping to start from.")

_COMMAND = "voucherify-destination mapping"

EPILOG = f"""Examples:

{_COMMAND} init --output mapping.json

{_COMMAND} init segment-archive/ --output mapping.json --orders"""

_MOST_SOURCES = 5


@app.callback()
def group() -> None:
    """Keep `init` a command of its own, although it is the only one."""


@app.command(epilog=EPILOG)
def init(
    context: typer.Context,
    events: Annotated[
        list[Path] | None, typer.Argument(help="Files or directories of events: .json, .jsonl, .jsonl.gz.")
    ] = None,
    output: Annotated[Path, typer.Option(help="The file to write, which ends in .json.")] = Path("mapping.json"),
    orders: Annotated[bool, typer.Option("--orders", help="Also send order events to Voucherify's orders.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write a settings file with a mapping to start from. Nothing is sent, and no setting is changed.

    With events, it has a mapping for each track event name: the default rows
    that found something, and a row to metadata for each property that no row
    reads. The traits of identify events likewise. Without events, it has an
    example.
    """
    ctx: Context = context.obj
    require_new(output, force=force)
    found = StartingFile()
    for _, event in read_events(events or []):
        found.add(event)
    settings = found.settings(has_orders=orders) if events else _example(has_orders=orders)
    if not settings:
        raise CommandFailed("no track or identify event has data for a row", "leave out the events for an example")
    write_document(output, settings)
    ctx.output.fine(f"{output} is written: {', '.join(settings)}")
    for text in _remarks(found, settings, has_orders=orders):
        ctx.output.line(f"! {text}", "yellow")
    ctx.output.line()
    ctx.output.line("Next, edit the file, see what it makes of your events, and apply it:")
    for command in (f"preview {_shown(events)} --mapping {output}", f"settings apply {output} --dry-run"):
        ctx.output.line(f"  voucherify-destination {command}")
    ctx.output.result(
        {
            "output": str(output),
            "settings": settings,
            "notMapped": [one._asdict() for one in found.not_mapped],
            "unused": dict(found.unused),
        }
    )


def _remarks(found: StartingFile, settings: dict[str, Any], *, has_orders: bool) -> Iterator[str]:
    """Yield what a person should look at in the file."""
    for event, reason, sources in found.not_mapped:
        more = f" and {len(sources) - _MOST_SOURCES} more" if len(sources) > _MOST_SOURCES else ""
        shown = f"no row for {', '.join(sources[:_MOST_SOURCES])}{more}" if sources else "no rows"
        yield f"{event or 'identify'}: {shown}: {reason}"
    if found.unused:
        yield f"events without rows: {', '.join(f'{count} {what}' for what, count in found.unused.most_common())}"
    if has_orders and ORDER_EVENTS not in settings:
        yield f"none of the events is an order: {', '.join(ORDER_STATUSES)}"
    if named := found.events_with_names:
        yield f"properties.name becomes the customer's name in {', '.join(named)}: is it that of a product?"


def _example(*, has_orders: bool) -> dict[str, Any]:
    statuses = {name: status.value for name, status in ORDER_STATUSES.items()}
    return {**EXAMPLE, **({ORDER_EVENTS: statuses} if has_orders else {})}


def _shown(events: list[Path] | None) -> str:
    return " ".join(map(str, events)) if events else "events.jsonl"
