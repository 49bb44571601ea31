"""Parse a JMESPath expression, and report all its faults with their positions.

The library reports only the first fault, and unknown functions and wrong arguments only when it evaluates them.
https://jmespath.org/specification.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from jmespath.exceptions import LexerError, ParseError
from jmespath.lexer import Lexer
from jmespath.parser import Parser

from mapping.errors import Problem
from mapping.rules.functions import FUNCTIONS, OPTIONAL_ARGUMENTS
from mapping.spelling import nearest

if TYPE_CHECKING:
    from jmespath.visitor import _TreeNode

_UNKNOWN_TOKEN = 'put a name with other characters than letters, digits and _ in double quotes, such as "first-name"'
_UNKNOWN_TOKENS = {"=": "use == to compare two values", "$": "$ is allowed only at the beginning"}
_DELIMITED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?P<literal>(?:[^`\\]|\\.)*)`""", re.DOTALL)


class InvalidSource(ValueError):
    """A source that is neither a path nor a JMESPath expression, with all its problems."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)


def parse_expression(text: str, skipped: int) -> _TreeNode:
    """Return the syntax tree of the expression in `text` after the first `skipped` characters. Raises InvalidSource."""
    expression = text[skipped:]
    problems = list(_literal_problems(expression))
    try:
        if not problems:
            tree = Parser().parse(expression).parsed
            problems = list(_function_problems(tree, expression))
            if not problems:
                return tree
    except LexerError as error:
        problem = error.message
        if problem.startswith("Unknown token"):
            problem = _UNKNOWN_TOKENS.get(expression[error.lexer_position], _UNKNOWN_TOKEN)
        problems = [_invalid(problem, error.lexer_position)]
    except ParseError as error:
        is_end = error.token_type == "EOF" or not error.token_type
        problems = [_invalid("unexpected end" if is_end else f"unexpected {error.token_value!r}", error.lex_position)]
    except RecursionError:
        problems = [_invalid("nested too deeply")]
    except ValueError:  # int() in the lexer, for more digits than Python converts
        problems = [_invalid("a number is too long")]
    raise InvalidSource([Problem(problem.text, skipped + (problem.position or 0)) for problem in problems])


def _invalid(problem: str, position: int = 0) -> Problem:
    return Problem(f"invalid JMESPath: {problem}", position)


def _literal_problems(expression: str) -> Iterator[Problem]:
    """Yield a problem for each literal in backticks that is not JSON. The library reads it as text: deprecated."""
    for delimited in _DELIMITED.finditer(expression):
        if delimited["literal"] is None:
            continue
        try:
            json.loads(delimited["literal"].replace("\\`", "`"))
        except (ValueError, RecursionError):
            yield Problem("text in backticks must be JSON; put plain text in single quotes", delimited.start())


def _function_problems(tree: _TreeNode, expression: str) -> Iterator[Problem]:
    for call, position in zip(_calls(tree), _call_positions(expression), strict=True):
        name, given = call["value"], len(call["children"])
        function = FUNCTIONS.FUNCTION_TABLE.get(name)
        if function is None:
            yield Problem(f"JMESPath has no function {name}(){nearest(name, FUNCTIONS.FUNCTION_TABLE)}", position)
            continue
        signature = function["signature"]
        most, takes_more = len(signature), bool(signature) and bool(signature[-1].get("variadic"))
        least = most - (name in OPTIONAL_ARGUMENTS)
        if given < least or (given > most and not takes_more):
            more = " or more" if takes_more else f" or {most}" if least < most else ""
            arguments = f"{least}{more} argument{'s' * (bool(more) or least > 1)}"
            yield Problem(f"{name}() takes {arguments}, not {given}", position)


def _calls(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the function calls of an expression in the order written."""
    if not isinstance(node, dict):  # a number of a slice
        return
    if node["type"] == "function_expression":
        yield node
    children = node["children"]
    if node["type"] == "filter_projection":  # its condition is written before its right side
        left, right, condition = children
        children = [left, condition, right]
    for child in children:
        yield from _calls(child)


def _call_positions(expression: str) -> Iterator[int]:
    """Yield the positions of those calls. The library reads `(sum)(prices)` as a call too."""
    for token, following in pairwise(Lexer().tokenize(expression)):
        if token["type"] in ("unquoted_identifier", "rparen") and following["type"] == "lparen":
            yield token["start"]
