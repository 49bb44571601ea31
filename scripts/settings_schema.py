"""Write settings.schema.json, the JSON Schema of a file of settings, for completion and checks in an editor."""

from __future__ import annotations

import json
from pathlib import Path

from handler.settings.settings import settings_schema

FILE = Path(__file__).parent.parent / "settings.schema.json"


def text() -> str:
    """Return the content of the file."""
    return json.dumps(settings_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
