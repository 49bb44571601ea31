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


def object_at(target: dict[str, Any], path: Path) -> dict[str, Any]:
    """The object at `path` in `target`, made where it is not there, with those on the way.

    Raises ValueError where something other than an object is in the way.
    """
    for name in path:
        target = target.setdefault(name, {})
        if not isinstance(target, dict):
            raise ValueError(f"{name} is not an object")
    return target


def place(target: dict[str, Any], path: Path, value: Any) -> None:
    """Put `value` at `path` in `target`, making the objects on the way.

    Raises ValueError where something other than an object is in the way.
    """
    merge(object_at(target, path[:-1]), path[-1], value)


def merge(target: dict[str, Any], name: str, value: Any) -> None:
    """Put `value` under `name`; an object merges into one that is there.

    `target` must own its objects: `value` is taken as it is and may be written to by a later one.
    """
    existing = target.get(name)
    if isinstance(existing, dict) and isinstance(value, dict):
        existing.update(value)
    else:
        target[name] = value
