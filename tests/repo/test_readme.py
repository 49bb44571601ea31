"""What the README says is so: its mapping pairs, its tables, its commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from handler.settings.settings import SETTINGS
from mapping import CALLS, EventMapping, Request, map_event

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
MAPPING = (ROOT / "docs/mapping.md").read_text("utf-8")


def json_blocks(text: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)]


def pairs() -> list[Any]:
    """Each `becomes` with the blocks before it: the event, and before that a mapping where one is named."""
    found = []
    pattern = r"^(An? (?:identify|track), with [^\n]*):\n(.*?)becomes `(POST [^`]*)`:\n\n(```json\n.*?\n```)"
    for title, before, call, after in re.findall(pattern, README + MAPPING, re.DOTALL | re.MULTILINE):
        *mappings, event = json_blocks(before)
        (body,) = json_blocks(after)
        found.append(pytest.param(mappings, event, call, body, id=title))
    return found


def test_every_pair_is_found() -> None:
    assert len(pairs()) == (README + MAPPING).count("becomes `POST") == 5


@pytest.mark.parametrize(("mappings", "event", "call", "body"), pairs())
def test_a_pair_is_what_the_mapping_does(
    mappings: list[dict[str, str]], event: dict[str, Any], call: str, body: dict[str, Any]
) -> None:
    settings = {f"{event['type']}Mapping": mapping for mapping in mappings}
    request = map_event(event, EventMapping.compile(settings))
    assert isinstance(request, Request)
    assert f"{request.method} {request.path}" == call
    assert request.body == body


def rows(header: str, text: str = README) -> list[list[str]]:
    """The cells of the table under `header`, without the code marks."""
    table = text.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]


def test_the_mapping_table_is_the_default_mapping() -> None:
    table = dict(rows("| source | destination |"))
    for call in ("identify", "track", "page", "screen"):
        payload = CALLS[call].payload
        assert {f"{payload}.{source}": destination for source, destination in table.items()} == CALLS[
            call
        ].default_mapping


def test_the_settings_table_names_every_setting_with_its_type_and_default() -> None:
    table = {name: (ssm_type, default) for name, ssm_type, default, _ in rows("| setting | type | default | meaning |")}
    assert table.keys() == SETTINGS.keys()
    for name, (ssm_type, default) in table.items():
        assert ssm_type == SETTINGS[name].kind.ssm_type
        if isinstance(SETTINGS[name].default, bool):
            assert default == str(SETTINGS[name].default).lower()
        elif SETTINGS[name].is_required:
            assert default == "required"


def test_every_preset_is_listed_and_the_first_one_shown() -> None:
    presets = {path.name: json.loads(path.read_text("utf-8")) for path in (ROOT / "events/presets").glob("*.json")}
    listed = [re.fullmatch(r"\[(.*)\]\(events/presets/(.*)\)", row[0]) for row in rows("| preset | what it sends |")]
    assert {match[2]: match[1] for match in listed if match} == {
        name: preset["title"] for name, preset in presets.items()
    }
    assert listed[0]
    assert presets[listed[0][2]]["settings"]["trackMapping"] in json_blocks(README)


def test_the_guide_to_the_mapping_has_every_call_with_its_setting_and_default() -> None:
    table = {row[0]: row for row in rows("| call | becomes | named | switched off by | default |", MAPPING)}
    assert table.keys() == {*CALLS, "alias"}
    for name, call in CALLS.items():
        assert call.disabled_setting in table[name][3]
        assert table[name][4] == ("off" if call.is_disabled else "on")


def test_the_two_commands_are_on_the_first_screen_and_exist() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in ("run", "test", "serve"):
        assert f"make {command}" in first_screen
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize(
    ("document", "link"),
    [
        pytest.param(document, link, id=f"{document.name}: {link}")
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)]+)\)", document.read_text("utf-8"))
    ],
)
def test_a_link_within_the_project_leads_somewhere(document: Path, link: str) -> None:
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.M)
        assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_stack_has_the_outputs_and_parameters_that_the_readme_names() -> None:
    template = (ROOT / "template.yaml").read_text("utf-8")
    for name in ("EventsUrl", "TrackingApiUrl", "SettingsPath", "ResponseBudgetSeconds"):
        assert f"`{name}`" in README
        assert f"\n  {name}:\n" in template
