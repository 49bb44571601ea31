"""The nearest right spelling of what is written wrong."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, right: Iterable[str]) -> str:
    """`; did you mean 'customer.address.city'?`, or nothing where none is near."""
    import difflib  # costs 7 ms, and only a fault needs it

    close = difflib.get_close_matches(name, list(right), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
