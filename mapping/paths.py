"""Where a value goes: destination paths, placing by path, and what missing means.

Missing, written down once: `null`, the empty string and an absent key are missing. `0`, `false`, an empty object,
an empty array and a blank string are values.
"""

from __future__ import annotations

from typing import Any

Path = tuple[str, ...]


def split(path: str) -> Path:
    """The parts of a dotted path. Raises ValueError, saying what is wrong, where a part is empty."""
    parts = tuple(path.split("."))
    if not all(part.strip() for part in parts):
        raise ValueError("is empty" if not path.strip() else "has an empty part between its dots")
    return parts


def is_missing(value: object) -> bool:
    return value is None or value == ""


def place(target: dict[str, Any], path: Path, value: Any) -> None:
    """Put `value` at `path` in `target`, making the objects on the way; an object merges into one that is there.

    Raises ValueError where something other than an object is in the way. `target` must own its objects: `value` is
    taken as it is and may be written to by a later placing.
    """
    for name in path[:-1]:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise ValueError(f"{name} is not an object")
    name = path[-1]
    if isinstance(value, dict) and isinstance(existing := target.get(name), dict):
        existing.update(value)
    else:
        target[name] = value
