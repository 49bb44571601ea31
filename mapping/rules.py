"""A mapping setting to compiled rules, every fault with its place; and rules applied to an event.

A mapping is an object of source path to destination path, both dotted. A source path starts in the event where its
first part is one of Segment's envelope fields (`traits.email`, `context.ip`, `userId`), else in the payload of the
call (`email` is `traits.email` of an identify). The choice is made by the name alone, never by what an event holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mapping.errors import Fault, InvalidMapping
from mapping.fields import Field, destinations, field_at
from mapping.paths import Path, is_missing, look_up, place, split
from mapping.request import LeftOut
from mapping.segment import ENVELOPE
from mapping.values import Unfit, kind_of

_ALLOWED = "event, customer.*, metadata.*, loyalty.* and referral.*"


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a mapping: where to look, where to put it, and what it must be there."""

    source: str
    source_path: Path
    destination: str
    destination_path: Path
    field: Field


Rules = tuple[Rule, ...]


def compile_rules(setting: str, mapping: object, payload: str) -> Rules:
    """The rules of one mapping setting, in the order written.

    `setting` names it in faults; `payload` is where the call keeps its data: `traits` or `properties`. Raises
    InvalidMapping with every fault.
    """
    if not isinstance(mapping, Mapping):
        raise InvalidMapping(
            [Fault(setting, "", f"must be a JSON object of source to destination, not {kind_of(mapping)}")]
        )
    rules: list[Rule] = []
    faults: list[Fault] = []
    for source, destination in mapping.items():
        try:
            rules.append(_compile(source, destination, payload))
        except ValueError as error:
            faults.append(Fault(setting, source, str(error)))
    if faults:
        raise InvalidMapping(faults)
    return tuple(rules)


def _compile(source: str, destination: object, payload: str) -> Rule:
    try:
        source_path = split(source)
    except ValueError as error:
        raise ValueError(f"the source {error}") from error
    if source_path[0] not in ENVELOPE:
        source_path = (payload, *source_path)
    if not isinstance(destination, str):
        raise ValueError(f"the destination must be text, not {kind_of(destination)}")
    try:
        destination_path = split(destination)
    except ValueError as error:
        raise ValueError(f"the destination {error}; it may be {_ALLOWED}") from error
    field = field_at(destination_path)
    if field is None:
        raise ValueError(f"{destination!r} is no field of Voucherify; {_right_spelling(destination)}")
    return Rule(source, source_path, destination, destination_path, field)


def _right_spelling(destination: str) -> str:
    import difflib  # costs 7 ms, and only a fault needs it

    close = difflib.get_close_matches(destination, destinations(), n=1)
    return f"did you mean {close[0]!r}?" if close else f"it may be {_ALLOWED}"


def apply_rules(rules: Iterable[Rule], fields: Mapping[str, Any]) -> tuple[dict[str, Any], list[LeftOut]]:
    """What the rules make of an event's `fields`: a new body, and what could not be made valid.

    Rules apply in their order: a later value replaces an earlier one at the same place, objects merge.
    """
    body: dict[str, Any] = {}
    left_out: list[LeftOut] = []
    for rule in rules:
        value = look_up(fields, rule.source_path)
        if not is_missing(value):
            _fill(body, rule.field, rule.source, rule.destination_path, value, left_out)
    return body, left_out


def _fill(
    body: dict[str, Any], field: Field | None, source: str, path: Path, value: Any, left_out: list[LeftOut]
) -> None:
    try:
        if field is None:
            raise Unfit("Voucherify has no such field")
        if not isinstance(field, Mapping):
            place(body, path, field(value))
            return
        if not isinstance(value, dict):
            raise Unfit(f"{kind_of(value)} is not an object")
    except ValueError as error:
        left_out.append(LeftOut(source, ".".join(path), str(error)))
        return
    for name, item in value.items():
        if not is_missing(item):
            _fill(body, field.get(name), f"{source}.{name}", (*path, name), item, left_out)
