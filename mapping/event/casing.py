"""Keys in any casing. Segment's libraries and sources write `firstName`, `first_name`, `FirstName` or `first-name`.

The rule, written down once: two names are the same where their letters and digits are, whatever their case. The exact
key wins. Where it is missing (absent, `null` or empty) the first of the others that holds something does, in the
order of the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mapping.rules.paths import is_missing


def fold(name: str) -> str:
    """`user_id`, `UserID` and `User ID` are one name. One without letters and digits is like no other."""
    return _fold_once(name) if len(name) <= _LONGEST_KEPT else _fold(name)


def _fold(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold() or name


# Events repeat their names; longer ones are nobody's, and would only fill the memory.
_LONGEST_KEPT = 64
_fold_once = lru_cache(maxsize=8192)(_fold)


class Casing:
    """Finds keys in the objects of one event, whose keys it folds once each."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        # By identity; the object is kept beside its keys, so that no other can come to have its identity.
        self._keys: dict[int, tuple[Mapping[str, Any], dict[str, str]]] = {}

    def get(self, object_: Mapping[str, Any], name: str) -> Any:
        """The value under `name`, or None."""
        value = object_.get(name)
        return object_.get(self.key(object_, name)) if not value and is_missing(value) else value

    def key(self, object_: Mapping[str, Any], name: str) -> str:
        """The key that is meant by `name`; `name` itself where there is none."""
        return self.keys(object_).get(fold(name), name) if is_missing(object_.get(name)) else name

    def keys(self, object_: Mapping[str, Any]) -> Mapping[str, str]:
        """The keys that hold something by what they fold to, the first of each."""
        known = self._keys.get(id(object_))
        if known is None:
            known = self._keys[id(object_)] = (object_, _folded(object_))
        return known[1]


def _folded(object_: Mapping[str, Any]) -> dict[str, str]:
    keys: dict[str, str] = {}
    for key, value in object_.items():
        if not is_missing(value):
            keys.setdefault(fold(key), key)
    return keys
