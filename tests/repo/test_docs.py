"""The documents state what the code does: the runbook has a row for each code of the source and for no other, commands
name resources that the stack has, and costs are the sums of their formulas."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from mapping import CALLS
from mapping.segment import TYPES

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
COST = (ROOT / "docs/cost.md").read_text("utf-8")
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
TEMPLATE_TEXT = (ROOT / "template.yaml").read_text("utf-8")
TEMPLATE = yaml_parse(TEMPLATE_TEXT)
MODULES = [
    ast.parse(path.read_text("utf-8"), str(path))
    for package in ("handler", "mapping")
    for path in sorted((ROOT / package).rglob("*.py"))
]

# What stands in the place of a value that is only known at run time.
PLACEHOLDERS = {
    "status": ["<status>"],
    "event.type": sorted(TYPES - CALLS.keys()),
    "call.name": sorted(CALLS),
}

# Who takes a code, and the place of the code among the arguments.
Sinks = dict[str, int]


def nodes(kind: type[ast.AST]) -> Iterator[Any]:
    return (node for module in MODULES for node in ast.walk(module) if isinstance(node, kind))


def calls_in(
    node: ast.AST, within: tuple[ast.FunctionDef, ...] = ()
) -> Iterator[tuple[ast.Call, tuple[ast.FunctionDef, ...]]]:
    """Every call, with the functions that it stands in, the innermost last."""
    if isinstance(node, ast.Call):
        yield node, within
    if isinstance(node, ast.FunctionDef):
        within = (*within, node)
    for child in ast.iter_child_nodes(node):
        yield from calls_in(child, within)


CLASSES: dict[str, ast.ClassDef] = {node.name: node for node in nodes(ast.ClassDef)}
SOURCE_CALLS = [found for module in MODULES for found in calls_in(module)]
CONSTANTS = {
    node.targets[0].id: str(node.value.value)
    for module in MODULES
    for node in module.body
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant)
}


def kinds_of(root: str) -> set[str]:
    """The class and all that derive from it."""
    derived = {name for name, node in CLASSES.items() if root in map(ast.unparse, node.bases)}
    return {root}.union(*map(kinds_of, derived))


def texts(expression: ast.expr) -> list[str]:
    """The texts that an expression can be; none where it hands on what has been said elsewhere."""
    match expression:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name(id=name) if name in CONSTANTS:
            return [CONSTANTS[name]]
        case ast.IfExp(body=one, orelse=other):
            return texts(one) + texts(other)
        case ast.JoinedStr(values=parts):
            return list(map("".join, product(*map(texts, parts))))
        case ast.FormattedValue(value=value):
            return PLACEHOLDERS[ast.unparse(value)]
        case ast.Attribute(attr="code" | "cause" | "reason"):
            return []
        case ast.Call(args=[ast.Subscript(slice=ast.Constant(value="code"))]):  # read from a record that was written
            return []
    raise AssertionError(f"line {expression.lineno}: what can {ast.unparse(expression)} be?")


def codes(sinks: Sinks, keyword: str) -> set[str]:
    """Every text that is handed to a sink, also by way of functions that hand an argument of their own on."""
    found: set[str] = set()
    further: Sinks = {}
    for call, functions in SOURCE_CALLS:
        place = sinks.get(ast.unparse(call.func))
        if place is None:
            continue
        (given,) = [word.value for word in call.keywords if word.arg == keyword] or [call.args[place]]
        if isinstance(given, ast.Name) and given.id not in CONSTANTS:
            name, parameters = next(
                (function.name, parameters)
                for function in reversed(functions)
                if given.id in (parameters := [parameter.arg for parameter in function.args.args])
            )
            is_method = parameters[0] == "self"
            further[f"self.{name}" if is_method else name] = parameters.index(given.id) - is_method
        else:
            found.update(texts(given))
    return found if further.items() <= sinks.items() else codes(sinks | further, keyword)


def handed_up(root: str) -> set[str]:
    """The codes that classes of one kind hand to their base by `super().__init__(…)`."""
    return {
        call.args[0].value
        for name in kinds_of(root)
        for call, _ in calls_in(CLASSES[name])
        if ast.unparse(call.func) == "super().__init__"
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def attributes(roots: set[str], attribute: str) -> set[str]:
    """What classes give an attribute of theirs."""
    found = set()
    for node in (node for name in roots for node in CLASSES[name].body):
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text)))
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.Constant(value=str(text)))
            ) if name == attribute:
                found.add(text)
    return found


def reason_codes() -> set[str]:
    events = dict.fromkeys(kinds_of("InvalidEvent") | kinds_of("NoAnswer"), 0)
    return codes({"Failure": 1, **events}, "code") | handed_up("InvalidEvent") | handed_up("NoAnswer")


def refusals() -> set[str]:
    unavailable = kinds_of("Unavailable") | {"UnknownSource"}
    return codes(dict.fromkeys(kinds_of("RequestRefused"), 0), "cause") | attributes(unavailable, "cause")


def skip_reasons() -> set[str]:
    in_results = {
        text
        for call, _ in SOURCE_CALLS
        for word in call.keywords
        if word.arg == "skip_reason"
        for text in texts(word.value)
    }
    return codes({"Skip": 0}, "reason") | in_results


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the first table under `header`, without the code marks."""
    table = text[text.index(header) :].splitlines()[2:]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in table[: next((at for at, line in enumerate(table) if not line.startswith("|")), len(table))]
    ]


TABLE = "| code | cause | what becomes of the event | fix |"


@pytest.mark.parametrize(
    ("section", "of_the_source"),
    [("## Reason codes", reason_codes), ("### Refusals", refusals), ("### Skipped events", skip_reasons)],
)
def test_the_runbook_has_a_row_for_each_code_of_the_source_and_for_no_other(
    section: str, of_the_source: Callable[[], set[str]]
) -> None:
    table = rows(RUNBOOK.split(f"\n{section}\n")[1], TABLE)
    assert {row[0] for row in table} == of_the_source()
    assert all(len(row) == 4 and all(row) for row in table)


def test_the_codes_are_really_found() -> None:
    """Some of each way to say a code, lest the search finds none and the tables none too."""
    assert {
        "voucherify_<status>",
        "credentials_refused",
        "voucherify_connection_lost",
        "unknown_type",
    } <= reason_codes()
    assert {"wrong_token", "missing_token", "faulty_settings", "unknown_source", "body_too_large"} <= refusals()
    assert {"alias_not_supported", "delete_disabled", "customer_deleted", "opted_out"} <= skip_reasons()


def test_each_alarm_has_its_section_with_what_is_asked_at_night() -> None:
    sections = {part.partition("\n")[0]: part for part in RUNBOOK.split("\n## ")}
    for alarm in (
        "Dead letters",
        "Oldest retry too old",
        "Function errors",
        "Function throttles",
        "API 5xx",
        "API 4xx",
        "Settings unusable",
        "Credentials refused",
        "Plan used up",
        "Nothing received",
    ):
        for question in ("It means.", "Meanwhile", "The cause", "The fix", "It is over"):
            assert f"**{question}" in sections[alarm], (alarm, question)


def test_a_link_of_the_template_into_the_runbook_leads_to_a_section() -> None:
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.*)$", RUNBOOK, re.MULTILINE)}
    assert set(re.findall(r"docs/runbook\.md#([\w-]+)", TEMPLATE_TEXT)) <= headings


def shell_blocks() -> list[Any]:
    return [
        pytest.param(block, id=f"{document.name} {number}")
        for document in DOCUMENTS
        for number, block in enumerate(re.findall(r"```sh\n(.*?)```", document.read_text("utf-8"), re.DOTALL))
    ]


@pytest.mark.parametrize("block", shell_blocks())
def test_a_command_can_be_pasted_and_names_what_the_stack_has(block: str) -> None:
    without_placeholders = re.sub(r"<[a-z ]+>", "x", block)
    subprocess.run(["bash", "-n"], input=without_placeholders, text=True, check=True, capture_output=True)
    of_events = {
        f"{name}{event}"
        for name, resource in TEMPLATE["Resources"].items()
        for event in resource.get("Properties", {}).get("Events", {})
    }
    assert set(re.findall(r"output ([A-Z]\w+)", block)) <= TEMPLATE["Outputs"].keys()
    assert set(re.findall(r"resource ([A-Z]\w+)", block)) <= TEMPLATE["Resources"].keys() | of_events
    for message in re.findall(r'message (?:=|in) \[?("[^]\n]*?")(?:\]| |\n)', block):
        for name in re.findall(r'"([^"]+)"', message):
            assert f'"{name}"' in (ROOT / "handler/observability.py").read_text("utf-8")


def test_the_costs_are_the_sums_of_their_formulas() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", COST, re.DOTALL)
    formulas: dict[str, Any] = {"__name__": "cost"}
    exec(program, formulas)
    assert formulas["MEMORY"] * 1024 == TEMPLATE["Globals"]["Function"]["MemorySize"]
    assert formulas["PARALLEL"] == TEMPLATE["Parameters"]["VoucherifyConcurrency"]["Default"]
    costs = [formulas["usd"](batch, track) for track in (False, True) for batch in (1, 10, 100)]
    by_service = {row[0]: row[1:] for row in rows(COST, "| USD per million events | identify, 1 |")}
    assert by_service == {service: [f"{cost[service]:.2f}" for cost in costs] for service in costs[0]}
    totals = [f"{sum(cost.values()):.2f}" for cost in costs]
    assert [row[1:] for row in rows(COST, "| USD per million events | identify | track |")] == [
        [identify, track] for identify, track in zip(totals[:3], totals[3:], strict=True)
    ]


@pytest.mark.parametrize(
    "name", ["cost", "failures", "operations", "runbook", "security", "segment", "settings", "upgrading"]
)
def test_a_document_names_only_parameters_that_the_template_has(name: str) -> None:
    text = (ROOT / f"docs/{name}.md").read_text("utf-8")
    named = set(re.findall(r"`([A-Z][a-z]+[A-Z]\w+)(?:=\w+)?`", text))
    known = {*TEMPLATE["Parameters"], *TEMPLATE["Outputs"], *TEMPLATE["Resources"], *OTHER_NAMES}
    assert named <= known


# Names of AWS, of metrics and of the code that look like a parameter's.
OTHER_NAMES = {
    "AccessDeniedException",
    "ApproximateAgeOfOldestMessage",
    "ChangeMessageVisibility",
    "CouldNotDetermineMessageSource",
    "CreateLogGroup",
    "DeleteItem",
    "DeleteMessage",
    "FaultyEnvironment",
    "GetQueueAttributes",
    "MemorySize",
    "NotDelivered",
    "PutItem",
    "PutLogEvents",
    "PutTelemetryRecords",
    "RetryAge",
    "SettingsUnusable",
    "ThrottlingException",
    "UpdateItem",
    "VoucherifyDestination",
    "VoucherifyLatency",
}
