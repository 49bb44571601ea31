"""What the README says is so: its mapping pairs, its tables, its commands."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from handler.settings import Parameter, check_settings
from mapping import IDENTIFY_MAPPING, TRACK_MAPPING, EventMapping, Request, compile_track_mapping, map_event

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def json_blocks(text: str) -> list[dict[str, Any]]:
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)]


def pairs() -> list[Any]:
    """Each `becomes` with the blocks before it, of which the last is the event and one before that a mapping."""
    found = []
    pattern = r"^(An? (?:identify|track), with [^\n]*):\n(.*?)becomes `(POST [^`]*)`:\n\n(```json\n.*?\n```)"
    for title, before, call, after in re.findall(pattern, README, re.DOTALL | re.MULTILINE):
        *mappings, event = json_blocks(before)
        (body,) = json_blocks(after)
        found.append(pytest.param(mappings, event, call, body, id=title))
    return found


def test_every_pair_is_found() -> None:
    assert len(pairs()) == README.count("becomes `POST") == 3


@pytest.mark.parametrize(("mappings", "event", "call", "body"), pairs())
def test_a_pair_is_what_the_mapping_does(
    mappings: list[dict[str, str]], event: dict[str, Any], call: str, body: dict[str, Any]
) -> None:
    mapping = EventMapping(track_rules=compile_track_mapping(mappings[0])) if mappings else EventMapping()
    request = map_event(event, mapping)
    assert isinstance(request, Request)
    assert f"{request.method} {request.path}" == call
    assert request.body == body


def rows(header: str) -> list[list[str]]:
    """The cells of the table under `header`, without the code marks."""
    table = README.split(header)[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in table]


def test_the_mapping_table_is_the_default_mapping() -> None:
    table = dict(rows("| source | destination |"))
    assert {f"traits.{source}": destination for source, destination in table.items()} == IDENTIFY_MAPPING
    assert {f"properties.{source}": destination for source, destination in table.items()} == TRACK_MAPPING


def test_the_settings_table_names_every_setting_and_no_other() -> None:
    names = [row[0] for row in rows("| setting | type | default | meaning |")]
    needed = {"apiKey": "k", "apiToken": "t", "accessToken": "a", "sharedSecret": "s", "apiUrl": "https://x.example"}
    settings = {name: Parameter(needed.get(name, "")) for name in names}
    assert check_settings(settings).unknown == ()

    source = (ROOT / "handler/settings.py").read_text("utf-8")
    read = set(re.findall(r'check\.\w+\(\s*"(\w+)"', source))
    rotating = set(re.findall(r'check\.rotating\("(\w+)"\)', source))
    assert set(names) == read | {f"{name}Previous" for name in rotating}


def test_the_two_commands_are_on_the_first_screen_and_exist() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for command in ("run", "test", "serve"):
        assert f"make {command}" in first_screen
        assert re.search(rf"^{command}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)]+)\)", README))
def test_a_link_within_the_project_leads_somewhere(link: str) -> None:
    if link.startswith("https://"):
        return
    path, _, anchor = link.partition("#")
    text = (ROOT / path).read_text("utf-8") if path else README
    headings = {
        re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert not anchor or anchor in headings


def test_the_stack_has_the_outputs_and_parameters_that_the_readme_names() -> None:
    template = (ROOT / "template.yaml").read_text("utf-8")
    for name in ("EventsUrl", "SettingsPath", "ResponseBudgetSeconds"):
        assert f"`{name}`" in README
        assert f"\n  {name}:\n" in template
