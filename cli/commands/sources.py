"""`sources`: shows the sources that have settings."""

from __future__ import annotations

import typer

from cli.context import Context
from cli.settings.store import parameters_of, settings_of, sources_in
from handler.model.errors import FaultySettings
from handler.settings.sources import DEFAULT_SOURCE

app = typer.Typer(no_args_is_help=True, help="Show the sources.")


@app.callback()
def group() -> None:
    """Keep `list` a command of its own, although it is the only one."""


@app.command("list", epilog="Example: voucherify-destination sources list")
def list_(context: typer.Context) -> None:
    """Show each source: its URL, the number of its own settings, and the faults in force."""
    ctx: Context = context.obj
    by_source = parameters_of(ctx.target)
    url = ctx.target.value("EventsUrl")
    documents = []
    for source in sources_in(by_source):
        try:
            settings_of(source, by_source)
            faults = []
        except FaultySettings as faulty:
            faults = [str(fault) for fault in faulty.faults]
        path = url if source == DEFAULT_SOURCE else f"{url}/{source}"
        documents.append({"source": source, "url": path, "ownSettings": sorted(by_source[source]), "faults": faults})
    ctx.output.result({"sources": documents})
    ctx.output.table(
        ("source", "url", "own settings", "faults"),
        [(one["source"], one["url"], len(one["ownSettings"]), "; ".join(one["faults"])) for one in documents],
        unbroken="source",
    )
