"""settings.schema.json: it is that of the table in code, and takes and refuses what the function does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from handler.settings.settings import SETTINGS
from scripts.settings_schema import FILE, text

SCHEMA = json.loads(FILE.read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def test_the_file_is_up_to_date() -> None:
    assert FILE.read_text("utf-8") == text(), "`make schema` writes it anew"


def test_it_is_a_schema_and_names_every_setting() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(SCHEMA["properties"]) == {"$schema", *SETTINGS}
    assert all(SCHEMA["properties"][name]["description"] for name in SETTINGS)


@pytest.mark.parametrize(
    "settings",
    [
        {"$schema": "./settings.schema.json"},
        {"trackMapping": {"properties.total": "metadata.total", "sum(products[*].price)": ["metadata.sum", "event"]}},
        {"identifyMapping": {"traits.plan": "customer.metadata.crm.plan", "traits": "customer.metadata"}},
        {"trackEventsFilter": ["Order *"], "trackDisabled": False, "ambiguousTrack": "deadLetter"},
        {"apiUrl": "https://us1.api.voucherify.io", "apiKey": "k"},
    ],
)
def test_what_is_right_passes(settings: dict[str, Any]) -> None:
    VALIDATOR.validate(settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"trackMaping": {}},
        {"trackMapping": {"a": "customer.emial"}},
        {"trackMapping": {"a": ["customer.email", "customer.adress.city"]}},
        {"trackMapping": {"a": []}},
        {"trackMapping": {"a": "customer.metadata."}},
        {"trackMapping": []},
        {"trackDisabled": "yes"},
        {"trackEventsFilter": [""]},
        {"ambiguousTrack": "drop"},
    ],
)
def test_what_is_wrong_does_not(settings: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(settings))
