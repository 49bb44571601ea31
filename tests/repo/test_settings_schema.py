"""settings.schema.json is the schema of the table of settings, and accepts the same settings as the function."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from handler.settings.settings import SETTINGS
from scripts.settings_schema import FILE, text

SCHEMA = json.loads(FILE.read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def test_file_is_up_to_date() -> None:
    assert FILE.read_text("utf-8") == text(), "`make schema` writes it anew"


def test_schema_is_valid_and_names_every_setting() -> None:
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
def test_valid_settings_pass(settings: dict[str, Any]) -> None:
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
def test_invalid_settings_fail(settings: dict[str, Any]) -> None:
    assert list(VALIDATOR.iter_errors(settings))
