"""Compile a mapping setting to rules, and apply the rules to an event.

A mapping is an object of source to destination, or to a list of destinations: see `mapping.rules.sources` and
`mapping.rules.destinations`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from mapping.errors import Fault, InvalidMapping, Problem
from mapping.event.casing import fold
from mapping.event.segment import Event
from mapping.rules.destinations import EVENT_PARTS, NEEDS_OF_EVENT, Field, Path, fillable_parts, parse_destination, put
from mapping.rules.sources import NotAContainer, PathSource, Source, compile_source
from mapping.rules.syntax import InvalidSource
from mapping.trace import Filled, MappingTrace
from mapping.values import MAX_DEPTH, ConversionError, is_blank, is_missing, kind_of


class Rule(NamedTuple):
    """One row of a mapping, compiled: where to look, where to put the value, and which field that is.

    `clears`: an explicit `null` clears the field.
    """

    source: Source
    destination: str
    path: Path
    field: Field
    clears: bool


Rules = tuple[Rule, ...]


def compile_rules(
    setting: str,
    mapping: object,
    payload: str,
    parts: Collection[str] = EVENT_PARTS,
    *,
    event: str = "",
    clear_on_null: bool = False,
) -> Rules:
    """Return the rules of one mapping, in the order written.

    `setting` names it in faults, and `event` where it is that of one event; `payload` is the field with the call's data
    (`traits` or `properties`), `parts` are the parts of a request that the call sends. `clear_on_null`: an explicit
    `null` clears the customer's field. Raises InvalidMapping with all faults.
    """
    if not isinstance(mapping, Mapping):
        problem = f"must be a JSON object of source to destination, not {kind_of(mapping)}"
        raise InvalidMapping([Fault(setting, "", problem, event=event)])
    rules: list[Rule] = []
    faults: list[Fault] = []
    for source, destinations in mapping.items():
        compiled, problems = _compile_row(source, destinations, payload, parts, clear_on_null=clear_on_null)
        rules += compiled
        faults += [Fault(setting, source, problem.text, problem.position, event) for problem in problems]
    if faults:
        raise InvalidMapping(faults)
    return tuple(rules)


def _compile_row(
    text: str, destinations: Any, payload: str, parts: Collection[str], *, clear_on_null: bool
) -> tuple[list[Rule], list[Problem]]:
    """Return a rule for each destination of a row, and the row's problems."""
    rules: list[Rule] = []
    problems: list[Problem] = []
    source: Source | None = None
    try:
        source = compile_source(text.strip(), payload)
    except InvalidSource as error:
        problems += error.problems
    for name in destinations if isinstance(destinations, list) and destinations else [destinations]:
        try:
            path, field = parse_destination(name, fillable_parts(parts))
        except ValueError as error:
            problems.append(Problem(str(error)))
            continue
        if source:
            # The null of an expression may stand for an absent value.
            clears = clear_on_null and path[0] == "customer" and isinstance(source, PathSource)
            rules.append(Rule(source, name, path, field if path[0] in parts else _not_sent, clears))
    return rules, problems


def _not_sent(_: object) -> None:
    raise ConversionError("this call sends only customer fields")


def apply_rules(rules: Rules, event: Event, trace: MappingTrace) -> dict[str, Any]:
    """Return the new body that the rules make of an event, without the values that could not be made valid.

    Rules apply in their order: a later value replaces an earlier one at the same place, objects merge. A `null` that
    clears a field replaces no value.
    """
    body = _Body(event, trace)
    nulls: list[tuple[Path, str]] = []
    named: dict[tuple[str, str], int] = {}
    for rule in rules:
        source = rule.source
        try:
            given = source.read(event)
        except NotAContainer as error:
            _leave_out_container(error, rule.path, trace, named)
            continue
        except ConversionError as error:
            trace.leave_out(source.text, rule.destination, str(error))
            continue
        if not is_missing(given):
            body.fill(rule.path, rule.field, given, source.text, source.locate(event) if trace.is_full else "")
        elif not rule.clears or given is not None or not source.is_null(event):
            trace.record_empty(source.text, rule.destination)
            continue
        if rule.clears:
            nulls += [(path, source.text) for path in _null_paths(rule.path, rule.field, given)]
    body.clear(nulls)
    return body.fields


def _leave_out_container(
    error: NotAContainer, path: Path, trace: MappingTrace, named: dict[tuple[str, str], int]
) -> None:
    """Name an object that is something else once, however many rows read from it: `customer.address…`.

    `named` has the positions of these in `trace.left_out`, by their places in the event and in the request.
    """
    parent = ".".join(path[:-1]) or path[0]
    position = named.setdefault((error.place, parent), len(trace.left_out))
    if position == len(trace.left_out):
        trace.leave_out(error.place, ".".join(path), str(error))
    elif trace.left_out[position].destination != ".".join(path):
        trace.left_out[position] = trace.left_out[position]._replace(destination=f"{parent}…")


class _Body:
    """A request's body while one event fills it."""

    __slots__ = ("_event", "_trace", "fields")

    def __init__(self, event: Event, trace: MappingTrace) -> None:
        self.fields: dict[str, Any] = {}
        self._event = event
        self._trace = trace

    def fill(self, path: Path, field: Field | None, given: Any, source: str, found_at: str) -> None:
        """Convert a value and put it at its place; of an object with known fields, each field by itself."""
        try:
            if callable(field):
                needed = NEEDS_OF_EVENT.get(field)
                value = field(given, needed(self._event)) if needed else field(given)
                if is_missing(value):  # blank text
                    self._trace.record_empty(source, ".".join(path))
                    return
                put(self.fields, path, value)
                if self._trace.is_full:
                    self._trace.record_filled(Filled(".".join(path), source, found_at, given, value))
                return
            if field is None:
                raise ConversionError("Voucherify has no such field")
            if is_blank(given):
                self._trace.record_empty(source, ".".join(path))
                return
            if not isinstance(given, dict):
                raise ConversionError(f"{kind_of(given)} is not an object")
        except ValueError as error:
            self._trace.leave_out(source, ".".join(path), str(error))
            return
        for key, name in self._names(given, field):
            self.fill((*path, name), field.get(name), given[key], f"{source}.{key}", f"{found_at}.{key}")

    def _names(self, given: dict[str, Any], fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield the keys of an object that have a value, each with the name of the field that it means."""
        names = {fold(name): name for name in fields}
        for key, value in given.items():
            name = names.get(fold(key), key)
            if not is_missing(value) and self._event.casing.key(given, name) == key:
                yield key, name

    def clear(self, nulls: Iterable[tuple[Path, str]]) -> None:
        """Put `null` at each of these places, with its source, where there is no value and no `null` above it."""
        for path, source in sorted(nulls, key=lambda null: len(null[0])):
            target: Any = self.fields
            for name in path[:-1]:
                target = target.setdefault(name, {}) if isinstance(target, dict) else None
            if isinstance(target, dict) and path[-1] not in target:
                target[path[-1]] = None
                self._trace.record_filled(Filled(".".join(path), source, source, None, None))


def _null_paths(path: Path, field: Field | None, given: Any) -> Iterator[Path]:
    """Yield the places of a request that `null` in a value clears. A customer's ids are never cleared."""
    if given is None:
        if path not in _NEVER_CLEARED:
            yield path
    elif isinstance(given, dict) and len(path) < MAX_DEPTH:
        if isinstance(field, Mapping):
            names = {fold(name): name for name in field}
            for key, item in given.items():
                name = names.get(fold(key))
                if name:
                    yield from _null_paths((*path, name), field[name], item)
        elif path[:2] == ("customer", "metadata"):
            for key, item in given.items():
                yield from _null_paths((*path, key), field, item)


_NEVER_CLEARED = (("customer",), ("customer", "id"), ("customer", "source_id"))
