"""`preview`: what a mapping makes of events, before anything leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.context import Context
from cli.errors import Exit
from cli.events import is_document, read_events
from cli.output import Output
from cli.preview.comparison import ABSENT, Comparison
from cli.preview.coverage import Coverage
from cli.settings.mappings import mapping_in_force, mapping_of_file
from handler.settings.sources import DEFAULT_SOURCE
from mapping import EventMapping, Explanation, Filled, InvalidEvent, Request, Skip, explain

EPILOG = """Examples:

voucherify-destination preview events/track.json

voucherify-destination preview events/presets/referral.json --mapping events/presets/referral.json

voucherify-destination preview segment-archive/ --against new-settings.json"""

_LONGEST_VALUE = 60


def preview(
    context: typer.Context,
    events: Annotated[list[Path], typer.Argument(help="Files or directories: .json, .jsonl, .jsonl.gz.")],
    mapping: Annotated[
        Path | None, typer.Option(help="Settings (JSON or TOML) or a preset; else the settings in force, from SSM.")
    ] = None,
    source: Annotated[str, typer.Option(help="The source whose settings are in force.")] = DEFAULT_SOURCE,
    against: Annotated[Path | None, typer.Option(help="Settings to compare with: what would they change?")] = None,
    examples: Annotated[int, typer.Option(help="With --against: how many changed events to show.", min=0)] = 5,
) -> None:
    """What becomes of events: of one its request, field by field; of many how much arrives, and what stays empty.

    Nothing is sent. With --mapping it works without AWS. Ends with 1 where an event would be rejected.
    """
    ctx: Context = context.obj
    new = mapping_of_file(against) if against else None
    current = mapping_of_file(mapping) if mapping else mapping_in_force(ctx.target, source)
    found = read_events(events)
    if new:
        is_fine = _compare(ctx.output, found, Comparison(current, new, examples))
    else:
        first = list(islice(found, 2))
        if len(first) == 1 and all(is_document(path) and not path.is_dir() for path in events):
            is_fine = _explain(ctx.output, first[0][1], current)
        else:
            is_fine = _cover(ctx.output, chain(first, found), Coverage(current))
    if not is_fine:
        raise typer.Exit(Exit.WRONG)


def _explain(output: Output, event: Any, mapping: EventMapping) -> bool:
    explanation = explain(event, mapping)
    output.result(explanation.to_json())
    match explanation.outcome:
        case Request(method=method, path=path, body=body):
            output.fine(f"{method} {path}")
            if body is not None:
                output.line(json.dumps(body, indent=2, ensure_ascii=False))
        case Skip(reason):
            output.line(f"- skipped: {reason}", "yellow")
        case InvalidEvent() as error:
            output.wrong(f"rejected: {error.code}: {error}")
    _fields(output, explanation)
    return not isinstance(explanation.outcome, InvalidEvent)


def _fields(output: Output, explanation: Explanation) -> None:
    if explanation.filled:
        output.line("\nFilled", "bold")
        output.table(("field", "from", "value"), [_row(filled) for filled in explanation.filled])
    if explanation.unused:
        output.line("\nFilled and not sent", "bold")
        output.table(
            ("field", "from", "why"),
            [(filled.destination, filled.found_at, reason) for filled, reason in explanation.unused],
        )
    if explanation.left_out:
        output.line("\nLeft out", "bold")
        output.table(
            ("field", "from", "why"), [(out.destination, out.source, out.reason) for out in explanation.left_out]
        )
    if explanation.empty:
        output.line("\nStayed empty", "bold")
        output.table(("field", "from"), [(destination, source) for source, destination in explanation.empty])


def _row(filled: Filled) -> tuple[str, str, str]:
    value = _short(filled.value)
    if filled.is_converted:
        value = f"{_short(filled.given)} → {value} (converted)"
    return filled.destination, filled.found_at + (" (by itself)" if filled.is_fallback else ""), value


def _cover(output: Output, events: Iterator[tuple[str, Any]], coverage: Coverage) -> bool:
    for where, event in events:
        coverage.add(where, event)
    output.result(coverage.to_json())
    delivered = sum(coverage.delivered.values())
    output.line(f"{coverage.events} events: {delivered} delivered, {sum(coverage.skipped.values())} skipped, "
                f"{sum(coverage.rejected.values())} rejected")  # fmt: skip
    _counts(output, coverage)
    _rows(output, coverage)
    return not coverage.rejected


def _counts(output: Output, coverage: Coverage) -> None:
    rows: list[tuple[str, str, int]] = [
        ("delivered", f"{call} {name}".strip(), count) for (call, name), count in coverage.delivered.most_common()
    ]
    rows += [("skipped", reason, count) for reason, count in coverage.skipped.most_common()]
    rows += [
        ("rejected", f"{code}, first {coverage.first_rejected[code]}", count)
        for code, count in coverage.rejected.most_common()
    ]
    output.table(("outcome", "of", "events"), rows)
    if coverage.lacking_customer:
        output.wrong(f"{coverage.lacking_customer} lack an id of the customer, and are rejected")
    if coverage.lacking_message_id:
        output.line(
            f"! {coverage.lacking_message_id} lack a messageId: nothing guards them against duplicates", "yellow"
        )


def _rows(output: Output, coverage: Coverage) -> None:
    if coverage.rows:
        output.line("\nRows of the mapping, and how often they filled something", "bold")
        output.table(
            ("call", "source", "destination", "filled"),
            [
                (call, source, destination, f"{filled} of {events}" if filled else f"never, of {events}")
                for (call, source, destination), filled, events in coverage.rows
            ],
        )
    if coverage.left_out:
        output.line("\nLeft out", "bold")
        output.table(
            ("field", "from", "why", "times"),
            [
                (destination, source, reason, times)
                for (source, destination, reason), times in coverage.left_out.most_common()
            ],
        )


def _compare(output: Output, events: Iterator[tuple[str, Any]], comparison: Comparison) -> bool:
    for where, event in events:
        comparison.add(where, event)
    output.result(comparison.to_json())
    output.line(f"{comparison.changed} of {comparison.events} events change")
    if comparison.now_rejected:
        output.wrong(f"{comparison.now_rejected} of them are rejected, and were not before")
    if comparison.fields:
        output.table(("field", "changes in"), comparison.fields.most_common())
    for where, message_id, changes in comparison.examples:
        output.line(f"\n{where}" + (f" ({message_id})" if message_id else ""), "bold")
        output.table(("field", "before", "after"), [(place, _short(old), _short(new)) for place, old, new in changes])
    return not comparison.now_rejected


def _short(value: Any) -> str:
    if value is ABSENT:
        return "—"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
