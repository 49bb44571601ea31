"""A mapping setting to compiled rules, every fault with its place; and rules applied to an event.

A mapping is an object of source to destination, or to a list of destinations. `mapping.rules.sources` says what a
source may be; a destination is a dotted path.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from mapping.errors import Fault, InvalidMapping, Problem
from mapping.event.casing import fold
from mapping.event.segment import Event
from mapping.rules.fields import FIELDS, Convert, Field, destinations, field_at
from mapping.rules.paths import Path, is_missing, merge, object_at, place, split
from mapping.rules.sources import InvalidSource, PathSource, Source, compile_source
from mapping.spelling import nearest
from mapping.trace import Filled, MappingTrace
from mapping.values import ConversionError, kind_of, to_json_value, to_text

_ALLOWED = "event, customer.*, metadata.*, loyalty.* and referral.*"


class Rule(NamedTuple):
    """One row of a mapping: where to look, where to put it, and what it must be there."""

    source: Source
    destination: str
    path: Path
    field: Field


class Row(NamedTuple):
    """A rule as the key of an object, as it is and in any casing, the name of a field, and what makes a value valid."""

    key: str
    folded: str
    name: str
    convert: Convert
    rule: Rule


class Fields(NamedTuple):
    """Rules, one after the other, that fill fields of the one object at `place` from keys of the one object at
    `parent`, as most do: so the way to both is gone once.
    """

    parent: PathSource
    place: Path
    rows: tuple[Row, ...]


Rules = tuple[Fields | Rule, ...]


def each_rule(rules: Rules) -> Iterator[Rule]:
    """Every rule in the order written."""
    for rule in rules:
        if isinstance(rule, Fields):
            yield from (row.rule for row in rule.rows)
        else:
            yield rule


def compile_rules(setting: str, mapping: object, payload: str, parts: Container[str] = FIELDS) -> Rules:
    """The rules of one mapping setting, in the order written.

    `setting` names it in faults; `payload` is where the call keeps its data: `traits` or `properties`; `parts` are
    those of a request's parts that the call sends. Raises InvalidMapping with every fault.
    """
    if not isinstance(mapping, Mapping):
        problem = f"must be a JSON object of source to destination, not {kind_of(mapping)}"
        raise InvalidMapping([Fault(setting, "", problem)])
    rules: list[Rule] = []
    faults: list[Fault] = []
    for text, destination in mapping.items():
        entry = _Entry(text, destination, payload, parts)
        rules += entry.rules
        faults += [Fault(setting, text, problem.text, problem.position) for problem in entry.problems]
    if faults:
        raise InvalidMapping(faults)
    return tuple(_grouped(rules))


def _grouped(rules: Iterable[Rule]) -> Iterator[Fields | Rule]:
    for objects, group in groupby(rules, _objects_of):
        if objects:
            yield Fields(*objects, tuple(_rows(group)))
        else:
            yield from group


def _rows(rules: Iterable[Rule]) -> Iterator[Row]:
    for rule in rules:
        if callable(rule.field):
            key = rule.source.name
            yield Row(key, fold(key), rule.path[-1], rule.field, rule)


def _objects_of(rule: Rule) -> tuple[PathSource, Path] | None:
    """The one that a rule reads a key of and the one that it fills a field of, if it does just that."""
    parent = rule.source.parent
    return (parent, rule.path[:-1]) if parent and callable(rule.field) else None


class _Entry:
    """The rules of one entry of a mapping, one for each destination, and its problems."""

    def __init__(self, text: str, destination: object, payload: str, parts: Container[str]) -> None:
        self.rules: list[Rule] = []
        self.problems: list[Problem] = []
        try:
            source = compile_source(text.strip(), payload)
        except InvalidSource as invalid:
            source = None
            self.problems += invalid.problems
        names: list[Any] = destination if isinstance(destination, list) and destination else [destination]
        for name in names:
            try:
                path, field = _destination(name, parts)
            except ValueError as error:
                self.problems.append(Problem(str(error)))
            else:
                if source:
                    self.rules.append(Rule(source, name, path, field))


def _destination(name: Any, parts: Container[str]) -> tuple[Path, Field]:
    """Where a row puts its value, and what it must be there. Raises ValueError."""
    if not isinstance(name, str):
        raise ValueError(f"the destination must be text or a list of texts, not {kind_of(name)}")
    try:
        path = split(name)
    except ValueError as error:
        raise ValueError(f"the destination {error}; it may be {_ALLOWED}") from error
    field = field_at(path)
    if field is None:
        hint = nearest(name, destinations()) or f"; it may be {_ALLOWED}"
        raise ValueError(f"{name!r} is no field of Voucherify{hint}")
    return path, field if path[0] in parts else _not_sent


def _not_sent(_: object) -> None:
    raise ConversionError("this call sends a customer only")


def apply_rules(rules: Rules, event: Event, trace: MappingTrace) -> dict[str, Any]:
    """What the rules make of an event: a new body. What could not be made valid is left out.

    Rules apply in their order: a later value replaces an earlier one at the same place, objects merge.
    """
    filling = _Filling(event, trace)
    for rule in each_rule(rules) if trace.is_full else rules:
        if isinstance(rule, Fields):
            filling.apply_fields(rule)
        else:
            filling.apply(rule)
    return filling.body


class _Filling:
    """A body while it is filled from one event."""

    __slots__ = ("_event", "_journal", "body")

    def __init__(self, event: Event, trace: MappingTrace) -> None:
        self.body: dict[str, Any] = {}
        self._event = event
        self._journal = trace

    def apply(self, rule: Rule) -> None:
        """Fill what the rule's source gives."""
        try:
            given = rule.source.read(self._event)
        except ConversionError as unfit:
            self._journal.leave_out(rule.source.text, rule.destination, str(unfit))
        else:
            self._fill(rule, given)

    def apply_fields(self, fields: Fields) -> None:
        """Fill what their rules give, where no trace is kept."""
        parent = fields.parent.read(self._event)
        if not isinstance(parent, dict):
            for row in fields.rows if parent is not None else ():
                self.apply(row.rule)
            return
        others, target = None, None
        for key, folded, name, convert, rule in fields.rows:
            given = parent.get(key)
            if not given and is_missing(given):
                if others is None:
                    others = self._event.casing.keys(parent)
                if folded not in others:
                    continue
                given = parent[others[folded]]
            try:
                value = given if convert is to_text and type(given) is str else convert(given)
                if target is None:
                    target = object_at(self.body, fields.place)
            except ValueError as error:
                self._journal.leave_out(rule.source.text, rule.destination, str(error))
                continue
            if type(value) is dict:
                merge(target, name, value)
            else:
                target[name] = value

    def _fill(self, rule: Rule, given: Any) -> None:
        is_full = self._journal.is_full
        if is_missing(given):
            if is_full:
                self._journal.empty.append((rule.source.text, rule.destination))
            return
        found_at = rule.source.found_at(self._event) if is_full else ""
        self.fill(rule.field, rule.source.text, found_at, rule.path, given)

    def fill(self, field: Field | None, source: str, found_at: str, path: Path, given: Any) -> None:
        """Put a value at its place, as what it must be there; of an object with known fields each by itself."""
        try:
            if field is None:
                raise ConversionError("Voucherify has no such field")
            if callable(field):
                value = field(given)
                place(self.body, path, value)
                if self._journal.is_full:
                    # A copy, since a later row may merge into what is placed.
                    self._journal.fill(Filled(".".join(path), source, found_at, given, to_json_value(value)))
                return
            if not isinstance(given, dict):
                raise ConversionError(f"{kind_of(given)} is not an object")
        except ValueError as error:
            self._journal.leave_out(source, ".".join(path), str(error))
            return
        for key, name in self._names(given, field):
            self.fill(field.get(name), f"{source}.{key}", f"{found_at}.{key}", (*path, name), given[key])

    def _names(self, given: dict[str, Any], fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """The keys of an object that hold something, each with the field that is meant by it in any casing."""
        names = {fold(name): name for name in fields}
        for key, value in given.items():
            name = names.get(fold(key), key)
            if not is_missing(value) and self._event.casing.key(given, name) == key:
                yield key, name
