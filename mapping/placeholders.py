"""Texts that clients send as an id when they have none, such as `undefined` and `[object Object]`.

Each is how a language writes "no value", or an object, as text. All visitors with such an id would be one customer.
"""

from __future__ import annotations

import re

# Words of JavaScript, Python, Ruby, Swift, Objective-C and Go for a missing value, and a boolean in place of an id. An
# id that is made of such words alone, such as `undefined-undefined` or `(null)`, is no id either.
_WORDS = frozenset({"undefined", "null", "nan", "none", "nil", "true", "false"})

# https://tc39.es/ecma262/#sec-object.prototype.tostring
_OBJECT = re.compile(r"\[object \w+\]", re.IGNORECASE)

# .NET's Guid.Empty, and Apple's advertising id without the user's consent: https://www.rfc-editor.org/rfc/rfc9562#name-nil-uuid
_NIL_UUID = "00000000-0000-0000-0000-000000000000"

# The longest text that is checked; ids of placeholders are short.
_MAX_CHARACTERS = 100

_SEPARATORS = re.compile(r"[\W_]+")


def is_placeholder(text: str) -> bool:
    """Whether a trimmed id only says that there is none, in any casing."""
    if len(text) > _MAX_CHARACTERS:
        return False
    words = {word for word in _SEPARATORS.split(text.casefold()) if word}
    return bool(words) and (words <= _WORDS or text == _NIL_UUID or bool(_OBJECT.fullmatch(text)))
