"""Where a value comes from: the source of a mapping's row, compiled once.

A source is a path (`traits.email`, `products.0.sku`, `products[0].sku`, `$.properties['a.b']`, `properties."a.b"`) or a
JMESPath expression (`properties.revenue || properties.total`); what reads as a path is one, so that no key changes its
meaning for being valid JMESPath. Both begin in the event where their first name is one of Segment's envelope fields,
else in the call's payload (`email` is `traits.email` of an identify). The choice is made by the name alone, never by
what an event holds; after `$.` it is always the event. Keys are found in any casing.

https://jmespath.org/specification.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from jmespath.exceptions import JMESPathTypeError, LexerError, ParseError
from jmespath.functions import TYPES_MAP, Functions
from jmespath.lexer import Lexer
from jmespath.parser import Parser
from jmespath.visitor import TreeInterpreter

from mapping.errors import Problem
from mapping.event.segment import Event, envelope_name
from mapping.rules.paths import Path
from mapping.spelling import nearest
from mapping.values import ConversionError

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode

_BARE = r"""[^.\[\]"'`(){}|&!<>=*@]+"""
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_FIRST = re.compile(rf"(?P<bare>{_BARE})|(?P<json>{_QUOTED})")
_NEXT = re.compile(
    rf"""\.(?P<bare>{_BARE})|\.(?P<json>{_QUOTED})|\[(?P<index>-?\d+)\]|\['(?P<key>[^']*)'\]|\[(?P<json_key>{_QUOTED})\]"""
)
_INDEX = re.compile(r"-?\d{1,9}")
_QUOTE_IT = 'a name with other characters than letters, digits and _ stands in double quotes, as "first-name"'
_INSTEAD_OF = {
    "=": "two values are compared by ==",
    "$": "$ stands at the beginning only",
}
_NO_LITERAL = "a literal in backticks is JSON; text stands in single quotes"
_DELIMITED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?P<literal>(?:[^`\\]|\\.)*)`""", re.DOTALL)
_EMPTY_PART = "the source has an empty part between its dots"


class InvalidSource(ValueError):
    """A source that is neither a path nor a JMESPath expression, with each of its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)


class Source(Protocol):
    """A compiled source; `text` is as the mapping writes it."""

    @property
    def text(self) -> str: ...

    @property
    def parent(self) -> PathSource | None:
        """Where the object is of which a path's last name is a key; None of anything else."""

    @property
    def name(self) -> str:
        """That last name."""

    def read(self, event: Event) -> Any:
        """Return the value in an event, or None. Raise ConversionError for values that the source cannot work with."""

    def found_at(self, event: Event) -> str:
        """Where in the event that was, with its own casing, as far as one place can be named."""


def compile_source(text: str, payload: str) -> Source:
    """The source of one row. `payload` is where the call keeps its data. Raises InvalidSource."""
    is_rooted = text.startswith(("$.", "$[")) or text == "$"
    path = _path(text, 1 if is_rooted else 0)
    if path is None:
        skipped = 2 if text.startswith("$.") else int(is_rooted)
        return ExpressionSource(text, _parse(text, skipped), "" if is_rooted else payload)
    if is_rooted:
        return PathSource(text, path)
    name = envelope_name(path[0])
    return PathSource(text, (name, *path[1:]) if name else (payload, *path))


@dataclass(frozen=True, slots=True)
class PathSource:
    """A path from the event."""

    text: str
    path: Path
    name: str = field(init=False, default="")

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.path[-1] if self.path else "")

    @property
    def parent(self) -> PathSource | None:
        return PathSource("", self.path[:-1]) if self.path else None

    def read(self, event: Event) -> Any:
        value: Any = event.fields
        for part in self.path:
            if isinstance(value, dict):
                found = value.get(part)
                value = found or event.casing.get(value, part)
            elif isinstance(value, list) and _INDEX.fullmatch(part):
                index = int(part)
                value = value[index] if -len(value) <= index < len(value) else None
            else:
                return None
        return value

    def found_at(self, event: Event) -> str:
        value: Any = event.fields
        keys = []
        for part in self.path:
            keys.append(event.casing.key(value, part) if isinstance(value, dict) else part)
            value = value.get(keys[-1]) if isinstance(value, dict) else value[int(part)]
        return ".".join(key if re.fullmatch(_BARE, key) else json.dumps(key, ensure_ascii=False) for key in keys) or "$"


@dataclass(frozen=True, slots=True)
class ExpressionSource:
    """A JMESPath expression. `payload` is empty where it begins in the event whatever its names."""

    text: str
    expression: _TreeNode
    payload: str
    name: str = field(init=False, default="")

    @property
    def parent(self) -> None:
        return None

    def read(self, event: Event) -> Any:
        try:
            return _Interpreter(event, self.payload).visit(self.expression, event.fields)
        except JMESPathTypeError as error:
            expected = " or ".join(error.expected_types)
            raise ConversionError(f"{error.function_name}() takes {expected}, not {_actual_type(error)}") from error
        except Exception as error:  # whatever it does with what an event holds, this one value is left out
            raise ConversionError(f"the expression cannot be computed: {type(error).__name__}") from error

    def found_at(self, event: Event) -> str:
        return self.text


class _Interpreter(TreeInterpreter):
    """JMESPath with names as a mapping's paths have them."""

    def __init__(self, event: Event, payload: str) -> None:
        super().__init__()
        self._event = event
        self._payload = payload

    def visit_field(self, node: _TreeNode, value: Any) -> Any:
        name = node["value"]
        if value is self._event.fields and self._payload:
            known = envelope_name(name)
            if known:
                return value.get(known)
            value = value.get(self._payload)
        return self._event.casing.get(value, name) if isinstance(value, dict) else None

    def visit_function_expression(self, node: _TreeNode, value: Any) -> Any:
        try:
            return super().visit_function_expression(node, value)
        except JMESPathTypeError as error:
            if _actual_type(error) == "null":  # a function of what the event does not have
                return None
            raise


def _actual_type(error: JMESPathTypeError) -> str:
    """JMESPath's name of the type; of an element of an array the library says Python's."""
    return TYPES_MAP.get(error.actual_type, error.actual_type)


def _path(text: str, start: int) -> Path | None:
    """The parts of a path from `start` on, or None where it is none. Raises InvalidSource where a part is empty."""
    if not text.strip():
        raise InvalidSource([Problem("the source is empty")])
    parts = []
    position = start
    while position < len(text):
        match = (_NEXT if position else _FIRST).match(text, position)
        if match is None:
            if text[position] == "." and (position == 0 or text[position + 1 : position + 2] in ("", ".")):
                raise InvalidSource([Problem(_EMPTY_PART, position)])
            return None
        part = _part(match)
        if match.lastgroup == "bare" and not part.strip():
            raise InvalidSource([Problem(_EMPTY_PART, match.start("bare"))])
        parts.append(part)
        position = match.end()
    return tuple(parts)


def _part(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    part = match[kind]
    if not kind.startswith("json"):
        return part
    try:
        return str(json.loads(part))
    except ValueError as error:
        raise InvalidSource([Problem("the text in double quotes is not JSON", match.start(kind))]) from error


def _parse(text: str, skipped: int) -> _TreeNode:
    expression = text[skipped:]
    problems = [Problem(_NO_LITERAL, skipped + position) for position in _wrong_literals(expression)]
    if problems:
        raise InvalidSource(problems)
    try:
        parsed = Parser().parse(expression).parsed
        problems = [
            Problem(problem, skipped + position)
            for call, position in zip(_calls(parsed), _call_positions(expression), strict=True)
            if (problem := _problem_of(call))
        ]
    except LexerError as error:
        what = error.message
        if what.startswith("Unknown token"):
            what = _INSTEAD_OF.get(expression[error.lexer_position], _QUOTE_IT)
        raise _no_jmespath(what, skipped + error.lexer_position) from error
    except ParseError as error:
        is_short = error.token_type == "EOF" or not error.token_type
        what = "it ends too early" if is_short else f"unexpected {error.token_value!r}"
        raise _no_jmespath(what, skipped + error.lex_position) from error
    except RecursionError as error:
        raise _no_jmespath("it is nested too deeply", skipped) from error
    except ValueError as error:  # the one other that the lexer lets through
        raise _no_jmespath("a number in it is too long", skipped) from error
    if problems:
        raise InvalidSource(problems)
    return parsed


def _no_jmespath(what: str, position: int) -> InvalidSource:
    return InvalidSource([Problem(f"no JMESPath: {what}", position)])


def _wrong_literals(expression: str) -> Iterator[int]:
    """Where a literal in backticks is not JSON. The library reads it as text, which JMESPath has deprecated."""
    for delimited in _DELIMITED.finditer(expression):
        if delimited["literal"] is None:
            continue
        try:
            json.loads(delimited["literal"].replace("\\`", "`"))
        except (ValueError, RecursionError):
            yield delimited.start()


def _calls(node: Any) -> Iterator[dict[str, Any]]:
    """The calls of functions in an expression, in the order written."""
    if not isinstance(node, dict):  # a number of a slice
        return
    if node["type"] == "function_expression":
        yield node
    children = node["children"]
    if node["type"] == "filter_projection":  # its condition is written before what follows it
        left, right, condition = children
        children = [left, condition, right]
    for child in children:
        yield from _calls(child)


def _call_positions(expression: str) -> Iterator[int]:
    """Where those calls stand. The library takes `(sum)(prices)` for one too."""
    for token, following in pairwise(Lexer().tokenize(expression)):
        if token["type"] in ("unquoted_identifier", "rparen") and following["type"] == "lparen":
            yield token["start"]


def _problem_of(call: dict[str, Any]) -> str:
    """What is wrong with a function's name, or with how many arguments it has; empty where nothing is."""
    name, given = call["value"], len(call["children"])
    function = Functions.FUNCTION_TABLE.get(name)
    if function is None:
        return f"JMESPath has no function {name}(){nearest(name, Functions.FUNCTION_TABLE)}"
    wanted = len(function["signature"])
    takes_more = bool(function["signature"]) and bool(function["signature"][-1].get("variadic"))
    if given == wanted or (takes_more and given > wanted):
        return ""
    arguments = f"{wanted} or more arguments" if takes_more else f"{wanted} argument{'s' * (wanted > 1)}"
    return f"{name}() takes {arguments}, not {given}"
