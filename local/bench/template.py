"""What template.yaml says of the functions, so that what is measured is what is deployed."""

from __future__ import annotations

import re
from pathlib import Path

_TEMPLATE = Path(__file__).parents[2] / "template.yaml"


def deployed(name: str) -> int:
    """The number under a name that has one."""
    found = re.search(rf"^ +{name}: (\d+)$", _TEMPLATE.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise ValueError(f"template.yaml has no {name}")
    return int(found[1])
