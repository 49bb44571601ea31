"""`send`: posts events of a file to the deployed URL, signed as Segment signs them, and shows what became of each."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import Exit
from cli.events import read_events
from cli.segment import Answer, credentials_for, events_url
from cli.segment import send as post
from cli.settings.store import settings_of_source
from handler.settings.sources import DEFAULT_SOURCE
from mapping import message_id_of

EPILOG = """Examples:

voucherify-destination send events/presets/identify.json

voucherify-destination send events.jsonl --source shop"""

_FINE = 200


def send(
    context: typer.Context,
    events: Annotated[
        list[Path], typer.Argument(help="Files or directories: .json, .jsonl, .jsonl.gz; - for standard input.")
    ],
    source: Annotated[str, typer.Option(help="The source whose URL and secrets apply.")] = DEFAULT_SOURCE,
) -> None:
    """Post events to the URL of the API, one a request, as a Segment webhook does.

    They are delivered to Voucherify like any others. An event without a
    messageId gets one, with which trace finds it. Exit code 1: an event was
    not delivered at once, or skipped.
    """
    ctx: Context = context.obj
    settings, _ = settings_of_source(ctx.target, source)
    url = events_url(ctx.target, source)
    sent: list[tuple[str, str, Answer]] = []
    ctx.output.done = lambda: f"{len(sent)} events were sent"
    for place, event in read_events(events):
        event = _with_id(event)
        body = json.dumps(event).encode()
        message_id = message_id_of(event) or ""
        sent.append((place, message_id, post(url, body, credentials_for(body, settings.secrets))))
    ctx.output.result(
        {
            "url": url,
            "events": [
                {"place": place, "messageId": message_id, "status": answer.status, "answer": dict(answer.body)}
                for place, message_id, answer in sent
            ],
        }
    )
    rows = [(place, message_id, str(answer)) for place, message_id, answer in sent]
    ctx.output.table(("place", "messageId", "answer"), rows, unbroken="messageId")
    if any(answer.status != _FINE for _, _, answer in sent):
        ctx.output.line("To see what became of one: voucherify-destination trace MESSAGE_ID")
        raise typer.Exit(Exit.WRONG)


def _with_id(event: Any) -> Any:
    if not isinstance(event, dict) or message_id_of(event):
        return event
    return {**event, "messageId": str(uuid.uuid4())}
