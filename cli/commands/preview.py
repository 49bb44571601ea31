"""`preview`: shows what a mapping makes of events, before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
from cli.preview.mappings import changed_settings, current_settings, schemas_of_source, settings_of
from cli.preview.metadata import metadata_changes
from handler.settings.sources import DEFAULT_SOURCE
from mapping import (
    ORDER_EVENTS,
    DefaultSet,
    EventMapping,
    Explanation,
    Filled,
    InvalidEvent,
    MetadataSchemas,
    Request,
    Skip,
    explain,
)

EPILOG = """Examples:

voucherify-destination preview events/track.json

voucherify-destination preview events/presets/referral.json --mapping events/presets/referral.json

voucherify-destination preview segment-archive/ --against new-settings.json

voucherify-destination preview segment-archive/ --against actions

tail -n 100 events.jsonl | voucherify-destination preview - --mapping new-settings.json"""

_LONGEST_VALUE = 60


def preview(
    context: typer.Context,
    events: Annotated[
        list[Path], typer.Argument(help="Files or directories: .json, .jsonl, .jsonl.gz; - for standard input.")
    ],
    mapping: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|classic|actions",
            help="A settings file, a preset, or a set of default mappings. Default: the current settings in SSM.",
        ),
    ] = None,
    source: Annotated[str, typer.Option(help="The source whose current settings apply.")] = DEFAULT_SOURCE,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|classic|actions",
            help="A settings file, or the set of defaults that defaultMapping would have: show what settings apply "
            "would change.",
        ),
    ] = None,
    examples: Annotated[int, typer.Option(help="With --against: the number of examples to show.", min=0)] = 5,
) -> None:
    """Show the requests of one event field by field, or the totals of many events. Nothing is sent.

    Events are mapped as those of a Segment webhook. classic and actions are
    the two sets of default mappings: those of Segment's classic Voucherify
    destination, and those of "Voucherify (Actions)" in its catalogue.

    With --mapping it needs no AWS credentials; without, it checks metadata
    against the project's schemas. Exit code 1: an event would
    be rejected.
    """
    ctx: Context = context.obj
    settings = settings_of(mapping) if mapping else current_settings(ctx.target, source)
    current = EventMapping.compile(settings)
    unreadable: list[str] = []
    found = read_events(events, on_bad_line=unreadable.append)
    if against:
        if against in list(DefaultSet):
            _note_own_mappings(ctx.output, current)
        new = EventMapping.compile(changed_settings(settings, against))
        is_fine = _show_comparison(ctx.output, found, Comparison(current, new, examples))
    else:
        first = list(islice(found, 2))
        if len(first) == 1 and all(is_document(path) and not path.is_dir() for path in events):
            schemas = None if mapping else schemas_of_source(ctx.target, source)
            is_fine = _show_explanation(ctx.output, explain(first[0][1], current), schemas)
        else:
            is_fine = _show_coverage(ctx.output, chain(first, found), Coverage(current), unreadable)
    for problem in unreadable:
        ctx.output.note(f"✗ {problem}")
    if unreadable or not is_fine:
        raise typer.Exit(Exit.WRONG)


def _note_own_mappings(output: Output, mapping: EventMapping) -> None:
    """Say which settings have a mapping of their own for every event, so that no default applies."""
    own = [name for name, rules in mapping.rules.items() if all(named.parameter for named in rules)]
    if own:
        output.note(f"compared without the defaults of {', '.join(own)}, which the settings replace by their own rows")


def _show_explanation(output: Output, explanation: Explanation, schemas: MetadataSchemas | None) -> bool:
    output.result(_document(explanation, schemas))
    _show_request(output, explanation, metadata_changes(explanation.outcome, schemas), explanation.empty)
    for one in explanation.also:
        output.line()
        # The rows of the customer are those of the first request.
        empty = [row for row in one.empty if row not in explanation.empty]
        _show_request(output, one, metadata_changes(one.outcome, schemas), empty)
    if explanation.not_sent:
        output.line()
        output.line(f"Not sent: {', '.join(explanation.not_sent)} — add a row?", "yellow")
    return not any(isinstance(one.outcome, InvalidEvent) for one in explanation.all)


def _document(explanation: Explanation, schemas: MetadataSchemas | None) -> dict[str, Any]:
    """Return an explanation as JSON, with what the metadata schemas change in each request."""
    document = explanation.to_json()
    if schemas:
        for one, request in zip(explanation.all, (document, *document["also"]), strict=True):
            request["metadata"] = metadata_changes(one.outcome, schemas)
    return document


def _show_request(
    output: Output, explanation: Explanation, changes: list[dict[str, Any]], empty: Sequence[tuple[str, str]]
) -> None:
    match explanation.outcome:
        case Request(method=method, path=path, body=body):
            output.fine(f"{method} {path}")
            if body is not None:
                output.line(f"  by {explanation.mapped_by}")
                output.json_lines(body)
        case Skip(reason):
            output.line(f"- skipped: {reason}", "yellow")
        case InvalidEvent() as error:
            output.wrong(f"rejected: {error.code}: {error}")
    _section(output, "Sent", ("field", "from", "value"), [_row(filled) for filled in explanation.filled])
    unused = [(filled.destination, filled.found_at, reason) for filled, reason in explanation.unused]
    _section(output, "Found but not sent", ("field", "from", "reason"), unused)
    left_out = [(out.destination, out.source, out.reason) for out in explanation.left_out]
    _section(output, "Left out", ("field", "from", "reason"), left_out)
    refused = [(one["field"], _short(one["value"]), one["action"]) for one in changes]
    _section(output, "Refused by the project's metadata schema", ("field", "value", "what is sent"), refused)
    _section(output, "Empty", ("field", "from"), [(destination, source) for source, destination in empty])


def _section(output: Output, title: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    if rows:
        output.line()
        output.line(title, "bold")
        output.table(columns, rows)


def _row(filled: Filled) -> tuple[str, str, str]:
    value = _short(filled.value)
    if filled.is_converted:
        given = "" if isinstance(filled.given, list | dict) else f"{_short(filled.given)} → "
        value = f"{given}{value} (converted)"
    if filled.source == ORDER_EVENTS:
        return filled.destination, f"{filled.found_at} (by {ORDER_EVENTS})", value
    if filled.is_fallback:
        return filled.destination, f"{filled.found_at} (fallback)" if filled.found_at else filled.source, value
    return filled.destination, filled.found_at, value


def _show_coverage(
    output: Output, events: Iterator[tuple[str, Any]], coverage: Coverage, unreadable: Sequence[str]
) -> bool:
    for where, event in events:
        coverage.add(where, event)
    output.result({**coverage.to_json(), "unreadable": list(unreadable)})
    skipped, rejected = coverage.skipped.total(), coverage.rejected.total()
    output.line(
        f"{coverage.events} events: {coverage.delivered_events} delivered, {skipped} skipped, {rejected} rejected"
    )
    rows: list[tuple[Any, ...]] = [
        *(("delivered", name, count) for name, count in coverage.delivered.most_common()),
        *(("delivered", f"order: {name}", count) for name, count in coverage.orders.most_common()),
        *(("skipped", reason, count) for reason, count in coverage.skipped.most_common()),
        *(
            ("rejected", f"{code}, first {coverage.first_rejected[code]}", count)
            for code, count in coverage.rejected.most_common()
        ),
    ]
    output.table(("outcome", "of", "events"), rows)
    if coverage.without_customer:
        output.wrong(f"{coverage.without_customer} events have no userId or anonymousId and are rejected")
    if coverage.without_message_id:
        text = f"! {coverage.without_message_id} events have no messageId: if they are sent twice, they count twice"
        output.line(text, "yellow")
    for mapping, events_, used in coverage.rows:
        cells = [(row.source, row.destination, f"{filled} of {events_}" if filled else "never") for row, filled in used]
        title = mapping.mapped_by if mapping.mapped_by.startswith(mapping.setting) else f"{mapping.setting} (default)"
        _section(output, f"Rows of {title}, for {_count(events_)}", ("source", "destination", "used by"), cells)
    if coverage.unused_mappings:
        output.line()
        output.line(f"! no event has the mapping {', '.join(coverage.unused_mappings)}", "yellow")
    left_out = [
        (destination, source, reason, times) for (source, destination, reason), times in coverage.left_out.most_common()
    ]
    _section(output, "Left out", ("field", "from", "reason", "times"), left_out)
    unsent = [(name, source, times) for (name, source), times in coverage.not_sent.most_common()]
    _section(output, "Not sent — add a row?", ("event", "property", "events"), unsent)
    return not coverage.rejected


def _count(events: int) -> str:
    return "1 event" if events == 1 else f"{events} events"


def _show_comparison(output: Output, events: Iterator[tuple[str, Any]], comparison: Comparison) -> bool:
    for where, event in events:
        comparison.add(where, event)
    output.result(comparison.to_json())
    output.line(f"{comparison.changed} of {comparison.events} events change")
    if comparison.now_rejected:
        output.wrong(f"{comparison.now_rejected} of them would be rejected, and are not rejected now")
    if comparison.fields:
        output.table(("field", "changes in"), comparison.fields.most_common())
    for where, message_id, changes in comparison.examples:
        rows = [(place, _short(old), _short(new)) for place, old, new in changes]
        _section(output, where + (f" ({message_id})" if message_id else ""), ("field", "before", "after"), rows)
    return not comparison.now_rejected


def _short(value: Any) -> str:
    if value is ABSENT:
        return "—"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
