"""The filter of track events, compared with a plain definition of its wildcards."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mapping.event_names import EventFilter

TEXT = st.text("ab*", max_size=8)


def is_match(pattern: str, name: str) -> bool:
    """The definition: `*` stands for any characters, or none."""
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(is_match(pattern[1:], name[start:]) for start in range(len(name) + 1))
    return bool(name) and name[0] == pattern[0] and is_match(pattern[1:], name[1:])


@given(st.lists(TEXT.filter(bool), min_size=1, max_size=3), TEXT)
def test_a_name_passes_where_a_pattern_matches(patterns: list[str], name: str) -> None:
    expected = name in patterns or any("*" in pattern and is_match(pattern, name) for pattern in patterns)
    assert EventFilter.of(patterns).passes(name) is expected


def test_a_name_that_is_too_long_reaches_no_pattern_but_may_be_given_exactly() -> None:
    name = "a" * 301
    assert not EventFilter.of(["*"]).passes(name)
    assert EventFilter.of(["*"]).passes(name[:300])
    assert EventFilter.of([name]).passes(name)


def test_no_name_passes_no_filter() -> None:
    assert not EventFilter.of(["*"]).passes(None)
    assert EventFilter.of([]).passes(None)
