"""Faults of a mapping setting: every one at once, each with its key and what would be right."""

from __future__ import annotations

import pytest

from mapping import Fault, InvalidMapping, compile_identify_mapping, compile_track_mapping

ALLOWED = "it may be event, customer.*, metadata.*, loyalty.* and referral.*"


def faults_of(mapping: object) -> list[Fault]:
    with pytest.raises(InvalidMapping) as raised:
        compile_track_mapping(mapping)
    return list(raised.value.faults)


@pytest.mark.parametrize(
    ("source", "destination", "problem"),
    [
        ("properties.a", "customer.adress.city", "did you mean 'customer.address.city'?"),
        ("properties.a", "customer.emial", "did you mean 'customer.email'?"),
        ("properties.a", "customers.name", "did you mean 'customer.name'?"),
        ("properties.a", "customer.name.first", "did you mean 'customer.name'?"),
        ("properties.a", "loyalty.cod", "did you mean 'loyalty.code'?"),
        ("properties.a", "zzz", ALLOWED),
        ("properties.a", "", "the destination is empty; " + ALLOWED),
        ("properties.a", "customer..name", "the destination has an empty part between its dots; " + ALLOWED),
        ("properties.a", "customer.metadata.", "the destination has an empty part between its dots; " + ALLOWED),
        ("properties.a", None, "the destination must be text, not null"),
        ("properties.a", 5, "the destination must be text, not a number"),
        ("properties.a", {"x": 1}, "the destination must be text, not an object"),
        ("", "customer.name", "the source is empty"),
        ("properties..a", "customer.name", "the source has an empty part between its dots"),
        (".a", "customer.name", "the source has an empty part between its dots"),
    ],
)
def test_a_faulty_row_is_named_with_what_would_be_right(source: str, destination: object, problem: str) -> None:
    (fault,) = faults_of({source: destination})
    assert (fault.setting, fault.key) == ("trackMapping", source)
    assert fault.problem.endswith(problem)


def test_every_fault_is_named_at_once_and_good_rows_are_not() -> None:
    faults = faults_of({"a": "nowhere", "b": "customer.email", "c": "customer.emial"})
    assert [fault.key for fault in faults] == ["a", "c"]


@pytest.mark.parametrize(
    ("mapping", "kind"), [([], "an array"), ("x", "text"), (None, "null"), (1, "a number"), (True, "a boolean")]
)
def test_a_mapping_is_an_object(mapping: object, kind: str) -> None:
    (fault,) = faults_of(mapping)
    assert str(fault) == f"trackMapping: must be a JSON object of source to destination, not {kind}"


def test_the_error_says_it_all_in_its_text() -> None:
    with pytest.raises(InvalidMapping) as raised:
        compile_identify_mapping({"a": 1, "b": 2})
    assert str(raised.value) == (
        "identifyMapping['a']: the destination must be text, not a number; "
        "identifyMapping['b']: the destination must be text, not a number"
    )
