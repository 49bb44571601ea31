"""`settings`: show, set, apply and compare what lies in Parameter Store. Checked by the function's own code."""

from __future__ import annotations

import typer

from cli.context import Context

app = typer.Typer(no_args_is_help=True, help="Show and change the settings.")


@app.command()
def show(context: typer.Context) -> None:
    """Every setting, secrets masked."""
    ctx: Context = context.obj
    ctx.output.line(ctx.target.settings_path)
