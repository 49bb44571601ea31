"""The functions' properties in template.yaml, so that the bench measures what is deployed."""

from __future__ import annotations

import re
from pathlib import Path

_TEMPLATE = Path(__file__).parents[2] / "template.yaml"


def deployed(name: str) -> int:
    """Return the number under a name. Raises ValueError where there is none."""
    found = re.search(rf"^ +{name}: (\d+)$", _TEMPLATE.read_text("utf-8"), re.MULTILINE)
    if not found:
        raise ValueError(f"template.yaml has no {name}")
    return int(found[1])
