"""Find keys in any casing. Segment's libraries and sources write `firstName`, `first_name` or `first-name`.

Two names are the same if their letters and digits are, whatever their case. The exact key wins. Where it is missing
(absent, `null` or empty), the first of the others that has a value wins, in the order of the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mapping.values import is_missing


def fold(name: str) -> str:
    """Return what all casings of a name have in common: `user_id`, `UserID` and `User ID` are one name."""
    return _fold_once(name) if len(name) <= _LONGEST_CACHED else _fold(name)


def _fold(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold() or name


# Events repeat their names. Longer ones are rare, and would fill the memory.
_LONGEST_CACHED = 64
_fold_once = lru_cache(maxsize=8192)(_fold)


class Casing:
    """Finds keys in the objects of one event, and folds the keys of each object once."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        # By id(); the object is kept with its keys, so that its id is not reused.
        self._keys: dict[int, tuple[Mapping[str, Any], dict[str, str]]] = {}

    def get(self, object_: Mapping[str, Any], name: str) -> Any:
        """Return the value under `name`, or None."""
        value = object_.get(name)
        if value or not is_missing(value):
            return value
        return object_.get(self._folded_keys(object_).get(fold(name), name))

    def key(self, object_: Mapping[str, Any], name: str) -> str:
        """Return the key that `name` means; `name` itself where there is none."""
        return self._folded_keys(object_).get(fold(name), name) if is_missing(object_.get(name)) else name

    def _folded_keys(self, object_: Mapping[str, Any]) -> Mapping[str, str]:
        """Return the first key with a value of each folded name."""
        known = self._keys.get(id(object_))
        if known is None:
            keys: dict[str, str] = {}
            for key, value in object_.items():
                if not is_missing(value):
                    keys.setdefault(fold(key), key)
            known = self._keys[id(object_)] = (object_, keys)
        return known[1]
