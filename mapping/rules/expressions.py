"""Sources that are JMESPath expressions, with keys in any casing. https://jmespath.org/specification.html"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jmespath.exceptions import JMESPathTypeError
from jmespath.functions import TYPES_MAP
from jmespath.visitor import Options, TreeInterpreter

from mapping.event.segment import Event, envelope_name
from mapping.rules.functions import FUNCTIONS
from mapping.values import ConversionError

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode


_OPTIONS = Options(custom_functions=FUNCTIONS)


@dataclass(frozen=True, slots=True)
class ExpressionSource:
    """A JMESPath expression. `payload` is empty where every name starts at the event."""

    text: str
    expression: _TreeNode
    payload: str

    def read(self, event: Event) -> Any:
        """Return the expression's value, or None. Raises ConversionError."""
        try:
            return _Interpreter(event, self.payload).visit(self.expression, event.fields)
        except JMESPathTypeError as error:
            expected = " or ".join(error.expected_types)
            raise ConversionError(f"{error.function_name}() takes {expected}, not {_actual_type(error)}") from error
        except Exception as error:  # the library raises many kinds for odd values, and only this value is left out
            raise ConversionError(f"the expression cannot be computed: {type(error).__name__}") from error

    def is_null(self, event: Event) -> bool:
        """Return False: the `null` of an expression may stand for an absent value."""
        return False

    def reads(self) -> Iterator[tuple[str, ...]]:
        """Yield the paths in the event that the value depends on; of an array, all of it."""
        for path in _paths_in(self.expression):
            known = envelope_name(path[0]) if path else None
            if known:
                yield (known, *path[1:])
            else:
                yield (self.payload, *path) if self.payload else path

    def locate(self, event: Event) -> str:
        """Return the expression itself, since its value has no single place in the event."""
        return self.text


def _paths_in(node: Any) -> Iterator[tuple[str, ...]]:
    """Yield the paths that an expression reads from where it starts.

    The right side of a projection or a pipe starts at the value of the left side, which is read as a whole.
    """
    kind, children = node["type"], node["children"]
    if kind == "field":
        yield (node["value"],)
    elif kind == "subexpression":
        yield _chain(children) or next(_paths_in(children[0]), ())
    elif kind == "current":
        yield ()
    elif kind in _STARTS_LEFT:
        yield from _paths_in(children[0])
    else:
        for child in children:
            if isinstance(child, dict):
                yield from _paths_in(child)


_STARTS_LEFT = frozenset(
    {"projection", "value_projection", "filter_projection", "flatten", "index_expression", "pipe", "key_val_pair"}
)


def _chain(nodes: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of fields that follow each other."""
    names: list[str] = []
    for node in nodes:
        if node["type"] == "subexpression" and not names:
            names += _chain(node["children"])
        elif node["type"] == "field":
            names.append(node["value"])
        else:
            break
    return tuple(names)


class _Interpreter(TreeInterpreter):
    """Evaluates JMESPath with the names that a mapping's paths have."""

    def __init__(self, event: Event, payload: str) -> None:
        super().__init__(_OPTIONS)
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
            if _actual_type(error) == "null":  # the event does not have the argument
                return None
            raise


def _actual_type(error: JMESPathTypeError) -> str:
    """Return JMESPath's name of the type. For an element of an array the library has Python's name."""
    return TYPES_MAP.get(error.actual_type, error.actual_type)
