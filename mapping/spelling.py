"""Suggest the right spelling of a misspelt name."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, right: Iterable[str]) -> str:
    """Return `; did you mean 'customer.address.city'?` with the nearest right name, or an empty text."""
    import difflib  # takes 7 ms to import, and only a fault needs it

    close = difflib.get_close_matches(name, list(right), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
