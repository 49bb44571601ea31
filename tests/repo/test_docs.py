"""The documents state what the code does: the runbook has a row for each code of the source and for no other, commands
name resources that the stack has, and costs are the sums of their formulas."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse
from typer.core import TyperGroup
from typer.main import get_command

import mapping
from cli.main import app
from cli.planning import prices
from handler.model.reason_codes import ReasonCode, RefusalCause, SkipReason
from local.incidents.runbook import commands
from mapping import RejectReason

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs/runbook.md").read_text("utf-8")
COST = (ROOT / "docs/cost.md").read_text("utf-8")
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))
TEMPLATE_TEXT = (ROOT / "template.yaml").read_text("utf-8")
TEMPLATE = yaml_parse(TEMPLATE_TEXT)
COMMAND_LINE: Any = get_command(app)


def rows(text: str, header: str) -> list[list[str]]:
    """The cells of the first table under `header`, without the code marks."""
    table = text[text.index(header) :].splitlines()[2:]
    return [
        [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        for line in table[: next((at for at, line in enumerate(table) if not line.startswith("|")), len(table))]
    ]


TABLE = "| code | cause | what becomes of the event | fix |"


@pytest.mark.parametrize(
    ("section", "codes"),
    [
        ("## Reason codes", {*ReasonCode, *RejectReason, ReasonCode.of_status("<status>")}),
        ("### Refusals", {*RefusalCause}),
        ("### Skipped events", {*SkipReason, *mapping.SkipReason}),
    ],
)
def test_the_runbook_has_a_row_for_each_code_and_no_other_row(section: str, codes: set[str]) -> None:
    table = rows(RUNBOOK.split(f"\n{section}\n")[1], TABLE)
    assert {row[0] for row in table} == codes
    assert all(len(row) == 4 and all(row) for row in table)


def test_each_alarm_has_its_section_with_what_is_asked_at_night() -> None:
    sections = {part.partition("\n")[0]: part for part in RUNBOOK.split("\n## ")}
    for alarm in (
        "Dead letters",
        "Oldest retry too old",
        "Function errors",
        "Function throttles",
        "API 5xx",
        "API 4xx",
        "Slow answers",
        "Settings unusable",
        "Credentials refused",
        "Plan used up",
        "Tracks not deduplicated",
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


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_a_command_of_the_command_line_exists_with_its_options(document: Path) -> None:
    """The parser of a click command raises for an option that it does not know, and returns the arguments too many."""
    text = re.sub(r"<[a-z ]+>", "x", document.read_text("utf-8"))
    for arguments in commands(text, {}):
        command, context = COMMAND_LINE, None
        while isinstance(command, TyperGroup):
            context = command.make_context(command.name, arguments, parent=context, resilient_parsing=True)
            _, found, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found, arguments
            command = found
        _, too_many, _ = command.make_parser(command.context_class(command)).parse_args(list(arguments))
        assert not too_many


def test_the_costs_are_the_sums_of_their_formulas() -> None:
    (program,) = re.findall(r"```python\n(.*?)```", COST, re.DOTALL)
    formulas: dict[str, Any] = {"__name__": "cost"}
    exec(program, formulas)
    assert formulas["MEMORY"] * 1024 == TEMPLATE["Globals"]["Function"]["MemorySize"]
    assert formulas["PARALLEL"] == TEMPLATE["Parameters"]["VoucherifyConcurrency"]["Default"]
    named = {"API": prices.API_REQUEST, "LAMBDA": prices.LAMBDA_REQUEST, "GB_SECOND": prices.GB_SECOND}
    named |= {"SQS": prices.SQS_REQUEST, "WRITE": prices.DYNAMODB_WRITE}
    assert {name: formulas[name] for name in named} == {name: price.usd for name, price in named.items()}
    costs = [formulas["usd"](batch, track) for track in (False, True) for batch in (1, 10, 100)]
    by_service = {row[0]: row[1:] for row in rows(COST, "| USD per million events | identify, 1 |")}
    assert by_service == {service: [f"{cost[service]:.2f}" for cost in costs] for service in costs[0]}
    totals = [f"{sum(cost.values()):.2f}" for cost in costs]
    assert [row[1:] for row in rows(COST, "| USD per million events | identify | track |")] == [
        [identify, track] for identify, track in zip(totals[:3], totals[3:], strict=True)
    ]


@pytest.mark.parametrize(
    "name",
    ["cost", "deploying", "failures", "local", "operations", "runbook", "security", "segment", "settings", "upgrading"],
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
    "CfnInclude",
    "ChangeMessageVisibility",
    "CodeBucket",
    "CouldNotDetermineMessageSource",
    "CreateLogGroup",
    "CreateProvider",
    "DeleteItem",
    "DeleteMessage",
    "EmptyRows",
    "FaultyEnvironment",
    "GenerateDataKey",
    "GetQueueAttributes",
    "MemorySize",
    "NotDelivered",
    "PutItem",
    "PutLogEvents",
    "PutTelemetryRecords",
    "RoleArn",
    "RetryAge",
    "SettingsUnusable",
    "ThrottlingException",
    "UnreadEvents",
    "UpdateAlias",
    "UpdateItem",
    "UpdateReplacePolicy",
    "UsePreviousValue",
    "VoucherifyDestination",
    "VoucherifyLatency",
}
