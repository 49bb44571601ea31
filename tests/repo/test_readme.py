"""The README and the guides state what the code does: mapping examples, tables, commands and links."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jmespath.functions import Functions
from typer import Typer

from cli.main import app
from handler.settings.settings import SETTINGS
from mapping import CALLS, MAPPINGS, EventMapping, Request, map_event
from mapping.rules.functions import FUNCTIONS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAPPING = (ROOT / "docs/mapping.md").read_text("utf-8")
SETTINGS_GUIDE = (ROOT / "docs/settings.md").read_text("utf-8")


def json_blocks(text: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)]


def pairs() -> list[Any]:
    """Return each `becomes` with the blocks before it: the event, and before that its mapping, if it names one."""
    found = []
    pattern = r"^(An? (?:identify|track), with [^\n]*):\n(.*?)becomes `(POST [^`]*)`:\n\n(```json\n.*?\n```)"
    for title, before, call, after in re.findall(pattern, README + MAPPING, re.DOTALL | re.MULTILINE):
        *mappings, event = json_blocks(before)
        (body,) = json_blocks(after)
        found.append(pytest.param(mappings, event, call, body, id=title))
    return found


def test_every_pair_is_found() -> None:
    assert len(pairs()) == (README + MAPPING).count("becomes `POST") == 6


@pytest.mark.parametrize(("mappings", "event", "call", "body"), pairs())
def test_a_pair_is_what_the_mapping_does(
    mappings: list[dict[str, str]], event: dict[str, Any], call: str, body: dict[str, Any]
) -> None:
    settings = {f"{event['type']}Mapping": mapping for mapping in mappings}
    if call == "POST /v1/orders":
        settings["orderEvents"] = json_blocks(MAPPING.split("## Orders")[1])[0]
    request = map_event(event, EventMapping.compile(settings))
    assert isinstance(request, Request)
    made = {f"{one.method} {one.path}": one.body for one in (request, *request.also) if isinstance(one, Request)}
    assert made[call] == body


def rows(header: str, text: str) -> list[list[str]]:
    """Return the cells of the table under `header`, without the code marks."""
    table = text.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]


def test_the_mapping_table_is_the_default_mapping() -> None:
    table = dict(rows("| source | destination |", MAPPING))
    for call in ("identify", "track", "page", "screen"):
        mapping = MAPPINGS[f"{call}Mapping"]
        names = {"name", "firstName", "lastName"} if call in ("page", "screen") else set()
        assert mapping.classic == {
            f"{mapping.payload}.{source}": destination for source, destination in table.items() if source not in names
        }


def test_the_mapping_of_orders_is_the_default_one() -> None:
    table = rows("| source of an order | destination of an order |", MAPPING)
    mapping = MAPPINGS["orderMapping"]
    assert list(mapping.classic.items()) == [
        (f"{mapping.payload}.{source}", destination) for source, destination in table
    ]


def test_the_table_of_functions_is_what_they_do() -> None:
    table = rows("| function | value | example | with | becomes |", MAPPING)
    assert {name.partition("(")[0] for name, *_ in table} == (
        FUNCTIONS.FUNCTION_TABLE.keys() - Functions.FUNCTION_TABLE.keys()
    )
    for _, _, source, properties, value in table:
        mapping = EventMapping.compile({"trackMapping": {source.strip(): "metadata.x"}})
        event = {"type": "track", "userId": "u-1", "event": "Bought", "properties": json.loads(properties)}
        request = map_event(event, mapping)
        assert isinstance(request, Request)
        assert request.body
        assert json.dumps(request.body["metadata"]["x"]) == value


def test_the_settings_table_names_every_setting_with_its_type_and_default() -> None:
    header = "| setting | type | default | meaning |"
    table = {name: (ssm_type, default) for name, ssm_type, default, _ in rows(header, SETTINGS_GUIDE)}
    assert table.keys() == SETTINGS.keys()
    for name, (ssm_type, default) in table.items():
        assert ssm_type == SETTINGS[name].type.ssm_type
        if isinstance(SETTINGS[name].default, bool):
            assert default == str(SETTINGS[name].default).lower()
        elif SETTINGS[name].is_required:
            assert default == "required"


def test_every_preset_is_listed_and_the_first_one_shown() -> None:
    presets = {path.name: json.loads(path.read_text("utf-8")) for path in (ROOT / "events/presets").glob("*.json")}
    cells = [row[0] for row in rows("| preset | purpose |", MAPPING)]
    listed = [re.fullmatch(r"\[(.*)\]\(\.\./events/presets/(.*)\)", cell) for cell in cells]
    assert {match[2]: match[1] for match in listed if match} == {
        name: preset["title"] for name, preset in presets.items()
    }
    assert listed[0]
    assert presets[listed[0][2]]["settings"] in json_blocks(MAPPING)


def test_the_guide_to_the_mapping_has_every_call_with_its_setting_and_default() -> None:
    table = {row[0]: row for row in rows("| call | becomes | event name | disabled by | default |", MAPPING)}
    assert table.keys() == {*CALLS, "alias"}
    for name, call in CALLS.items():
        assert call.disabled_setting in table[name][3]
        assert table[name][4] == ("off" if call.is_disabled else "on")


def test_the_first_screen_has_a_picture_the_two_commands_and_a_recording() -> None:
    first_screen = "\n".join(README.splitlines()[:40])
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "```mermaid" in first_screen
    assert "$ make run\n✓ " in first_screen
    for command in ("run", "test"):
        assert f"\nmake {command} " in first_screen
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


def test_the_readme_stays_short() -> None:
    assert len(README.encode()) < 9_000


DOCUMENTS = sorted(path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob(".github/**/*.md")])


def commands_of(typer_app: Typer) -> dict[str, set[str]]:
    """Return the commands with their subcommands."""
    single = {
        str(command.name or getattr(command.callback, "__name__", "")) for command in typer_app.registered_commands
    }
    groups = {
        str(group.name): set(commands_of(group.typer_instance))
        for group in typer_app.registered_groups
        if group.typer_instance
    }
    return groups | {name: set() for name in single}


COMMANDS = commands_of(app)


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_a_link_within_the_project_leads_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_lists_every_document() -> None:
    index = (ROOT / "docs/README.md").read_text("utf-8")
    listed = set(re.findall(r"^\| \[(.*?)\]\(\1\)", index, re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_a_command_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:`|^|\n|&& )make ([a-z]+)", text)) <= targets

    for name, further in re.findall(r"(?:`|\n|\$ )voucherify-destination ([a-z-]+)(?: ([a-z]+))?", text):
        assert name in COMMANDS, name
        assert not (further and COMMANDS[name]) or further in COMMANDS[name], (name, further)


def test_the_stack_has_the_outputs_and_parameters_that_the_guides_name() -> None:
    template = (ROOT / "template.yaml").read_text("utf-8")
    for name in ("EventsUrl", "TrackingApiUrl", "SettingsPath", "SettingsTtlSeconds", "ResponseBudgetSeconds"):
        assert any(f"`{name}`" in document.read_text("utf-8") for document in DOCUMENTS)
        assert f"\n  {name}:\n" in template
