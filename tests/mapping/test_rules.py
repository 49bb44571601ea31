"""Faults of a mapping setting: all at once, each with its key, its position and what to write instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mapping import CALLS, EventMapping, Fault, InvalidMapping, Request, destination_schema, map_event

ALLOWED = "use event, customer.*, metadata.*, loyalty.* or referral.*"
EMPTY_PART = "the source has an empty part between its dots"
QUOTE_IT = (
    "invalid JMESPath: put a name with other characters than letters, digits and _ in double quotes, "
    'such as "first-name"'
)
UNEXPECTED_END = "invalid JMESPath: unexpected end"
LITERAL = "text in backticks must be JSON; put plain text in single quotes"


def faults_of_settings(settings: dict[str, object]) -> list[Fault]:
    with pytest.raises(InvalidMapping) as raised:
        EventMapping.compile(settings)
    return list(raised.value.faults)


def faults_of(mapping: object) -> list[Fault]:
    return faults_of_settings({"trackMapping": mapping})


class TestDestinations:
    @pytest.mark.parametrize(
        ("destination", "right"),
        [
            ("customer.adress.city", "customer.address.city"),
            ("customer.address.zip_code", "customer.address.postal_code"),
            ("customer.address.postalCode", "customer.address.postal_code"),
            ("customer.address.line1", "customer.address.line_1"),
            ("customer.emial", "customer.email"),
            ("customer.Email", "customer.email"),
            ("customer.firstname", "customer.firstName"),
            ("customer.first_name", "customer.firstName"),
            ("customer.sourceId", "customer.source_id"),
            ("customer.birthday", "customer.birthdate"),
            ("customer.meta", "customer.metadata"),
            ("customer.name.first", "customer.name"),
            ("customers.name", "customer.name"),
            ("Metadata", "metadata"),
            ("events", "event"),
            ("loyalty.cod", "loyalty.code"),
            ("loyalty.code.value", "loyalty.code"),
            ("referral.referrerId", "referral.referrer_id"),
        ],
    )
    def test_a_misspelt_destination_gets_the_nearest_right_spelling(self, destination: str, right: str) -> None:
        (fault,) = faults_of({"properties.a": destination})
        problem = f"{destination!r} is not a Voucherify field; did you mean {right!r}?"
        assert fault == Fault("trackMapping", "properties.a", problem, None)

    @pytest.mark.parametrize(
        ("destination", "problem"),
        [
            ("zzz", f"'zzz' is not a Voucherify field; {ALLOWED}"),
            ("", f"the destination is empty; {ALLOWED}"),
            ("  ", f"the destination is empty; {ALLOWED}"),
            ("customer..name", f"the destination has an empty part between its dots; {ALLOWED}"),
            ("customer.metadata.", f"the destination has an empty part between its dots; {ALLOWED}"),
            (".event", f"the destination has an empty part between its dots; {ALLOWED}"),
            ("metadata. .a", f"the destination has an empty part between its dots; {ALLOWED}"),
            (None, "the destination must be text or a list of texts, not null"),
            (5, "the destination must be text or a list of texts, not a number"),
            (True, "the destination must be text or a list of texts, not a boolean"),
            ({"x": 1}, "the destination must be text or a list of texts, not an object"),
            ([], "the destination must be text or a list of texts, not an array"),
            ([["event"]], "the destination must be text or a list of texts, not an array"),
            ([None], "the destination must be text or a list of texts, not null"),
        ],
    )
    def test_an_impossible_destination_gets_the_possible_ones(self, destination: object, problem: str) -> None:
        assert faults_of({"properties.a": destination}) == [Fault("trackMapping", "properties.a", problem, None)]

    def test_each_destination_of_a_list_is_checked(self) -> None:
        faults = faults_of({"a": ["customer.email", "customer.emial", 5, "metadata.a", ""]})
        assert [(fault.key, fault.problem) for fault in faults] == [
            ("a", "'customer.emial' is not a Voucherify field; did you mean 'customer.email'?"),
            ("a", "the destination must be text or a list of texts, not a number"),
            ("a", f"the destination is empty; {ALLOWED}"),
        ]

    def test_the_schema_accepts_the_same_destinations(self) -> None:
        names, below = destination_schema()["anyOf"]
        assert {"event", "customer", "customer.address.line_1", "metadata", "referral.referrer_id"} <= set(
            names["enum"]
        )
        for name in [*names["enum"], "metadata.a", "metadata.a b.0", "customer.metadata.plan.name"]:
            assert name in names["enum"] or re.search(below["pattern"], name)
            EventMapping.compile({"trackMapping": {"a": name}})
        for name in ["", "customer.emial", "metadata.", "metadata..a", "customer.name.first", "xmetadata.a", "event.a"]:
            assert name not in names["enum"]
            assert not re.search(below["pattern"], name)
            faults_of({"a": name})


class TestSources:
    @pytest.mark.parametrize(
        ("source", "position", "problem"),
        [
            ("", None, "the source is empty"),
            (" ", None, "the source is empty"),
            (".", 0, EMPTY_PART),
            (".a", 0, EMPTY_PART),
            ("properties.", 10, EMPTY_PART),
            ("properties..a", 10, EMPTY_PART),
            ("properties. .a", 11, EMPTY_PART),
            ("a.b..c || d", 3, EMPTY_PART),
            ("$.", 1, EMPTY_PART),
            ("$..a", 1, EMPTY_PART),
            ("$.a.", 3, EMPTY_PART),
            ('properties."\\x"', 11, "the text in double quotes is not valid JSON"),
            ('"\\x"', 0, "the text in double quotes is not valid JSON"),
        ],
    )
    def test_an_invalid_path_has_a_position(self, source: str, position: int | None, problem: str) -> None:
        assert faults_of({source: "metadata.a"}) == [Fault("trackMapping", source, problem, position)]

    @pytest.mark.parametrize(
        ("source", "position", "problem"),
        [
            ("first-name || email", 5, QUOTE_IT),
            ("email || first-name", 14, QUOTE_IT),
            ("email || größe", 11, QUOTE_IT),
            ("a || b#c", 6, QUOTE_IT),
            ("a = 'b'", 2, "invalid JMESPath: use == to compare two values"),
            ("a[?b = 'c']", 5, "invalid JMESPath: use == to compare two values"),
            ("a =", 2, "invalid JMESPath: use == to compare two values"),
            ("$.a || $.b", 7, "invalid JMESPath: $ is allowed only at the beginning"),
            ("sum($.products[*].price)", 4, "invalid JMESPath: $ is allowed only at the beginning"),
            ("'open", 0, "invalid JMESPath: Unclosed ' delimiter"),
            ("a || 'open", 5, "invalid JMESPath: Unclosed ' delimiter"),
            ('a || "open', 5, 'invalid JMESPath: Unclosed " delimiter'),
            ("a || `1", 5, "invalid JMESPath: Unclosed ` delimiter"),
            ("$.a || 'open", 7, "invalid JMESPath: Unclosed ' delimiter"),
            ("a || `gold`", 5, LITERAL),
            ("`gold`", 0, LITERAL),
            ("``", 0, LITERAL),
            ("`{a: 1}`", 0, LITERAL),
            ("`True`", 0, LITERAL),
            ("'`it`' || `'it'`", 10, LITERAL),
            ("$.a || `gold`", 7, LITERAL),
            ("sum(products[*].price", 21, UNEXPECTED_END),
            ("products[", 9, UNEXPECTED_END),
            ("products[?price", 15, UNEXPECTED_END),
            ("a ||", 4, UNEXPECTED_END),
            ("a &&", 4, UNEXPECTED_END),
            ("$[", 2, UNEXPECTED_END),
            ("{a: b", 5, UNEXPECTED_END),
            ("products[0", 10, UNEXPECTED_END),
            ("products.0.sku || sku", 9, "invalid JMESPath: unexpected 0"),
            ("sum(products))", 13, "invalid JMESPath: unexpected ')'"),
            ("|| a", 0, "invalid JMESPath: unexpected '||'"),
            ("{a b}", 3, "invalid JMESPath: unexpected 'b'"),
            ("a[b]", 2, "invalid JMESPath: unexpected 'b'"),
            ("length(a)(b)", 8, "invalid JMESPath: unexpected ')'"),
            ("]", 0, "invalid JMESPath: unexpected ']'"),
            ("$[0", 3, UNEXPECTED_END),
            ("((((" * 1000, 0, "invalid JMESPath: nested too deeply"),
            ("||".join("a" * 5000), 0, "invalid JMESPath: nested too deeply"),
            (f"a[*] | [{'9' * 5000}]", 0, "invalid JMESPath: a number is too long"),
        ],
    )
    def test_an_invalid_expression_has_a_position(self, source: str, position: int, problem: str) -> None:
        assert faults_of({source: "metadata.a"}) == [Fault("trackMapping", source, problem, position)]

    @pytest.mark.parametrize(
        ("source", "position", "problem"),
        [
            ("leng(products)", 0, "JMESPath has no function leng(); did you mean 'length'?"),
            ("Sum(products)", 0, "JMESPath has no function Sum(); did you mean 'sum'?"),
            ("a || total(products)", 5, "JMESPath has no function total()"),
            ("$.a || leng(b)", 7, "JMESPath has no function leng(); did you mean 'length'?"),
            ("(leng)(a)", 5, "JMESPath has no function leng(); did you mean 'length'?"),
            ("sum()", 0, "sum() takes 1 argument, not 0"),
            ("sum(a, b)", 0, "sum() takes 1 argument, not 2"),
            ("join(a)", 0, "join() takes 2 arguments, not 1"),
            ("not_null()", 0, "not_null() takes 1 or more arguments, not 0"),
            ("multiply(a)", 0, "multiply() takes 2 arguments, not 1"),
            ("a || to_cents(a, b)", 5, "to_cents() takes 1 argument, not 2"),
            ("round()", 0, "round() takes 1 or 2 arguments, not 0"),
            ("round(a, `2`, b)", 0, "round() takes 1 or 2 arguments, not 3"),
            ("sum(round(a, `2`, b))", 4, "round() takes 1 or 2 arguments, not 3"),
            ("default(a)", 0, "default() takes 2 arguments, not 1"),
            ("$.a || splitt(b, ',')", 7, "JMESPath has no function splitt(); did you mean 'split'?"),
            ("tocents(a)", 0, "JMESPath has no function tocents(); did you mean 'to_cents'?"),
        ],
    )
    def test_an_invalid_function_call_has_a_position(self, source: str, position: int, problem: str) -> None:
        assert faults_of({source: "metadata.a"}) == [Fault("trackMapping", source, problem, position)]

    @pytest.mark.parametrize(
        ("source", "places"),
        [
            ("leng(a) || cont(b)", [("leng", 0), ("cont", 11)]),
            ("leng(cont(a))", [("leng", 0), ("cont", 5)]),
            ("a[?leng(b) == `1`].cont(c)", [("leng", 3), ("cont", 19)]),
            ("[?leng(a)].[cont(b)]", [("leng", 2), ("cont", 12)]),
            ("{a: leng(a), b: [sum(b), cont (c)]}", [("leng", 4), ("cont", 25)]),
            ("sort_by(a, &leng(b)) | [?cont(c)] | [0]", [("leng", 12), ("cont", 25)]),
            ("!leng(a) && (cont(b) > (maxx)(c))", [("leng", 1), ("cont", 13), ("maxx", 28)]),
            ("a[1:2].leng(b).*.cont(c)", [("leng", 7), ("cont", 17)]),
        ],
    )
    def test_several_faults_of_one_expression_are_in_its_order(
        self, source: str, places: list[tuple[str, int]]
    ) -> None:
        faults = faults_of({source: "metadata.a"})
        assert [fault.position for fault in faults] == [position for _, position in places]
        for fault, (name, _) in zip(faults, places, strict=True):
            assert fault.problem.startswith(f"JMESPath has no function {name}()")

    def test_several_literals_that_are_not_json_are_reported_at_once(self) -> None:
        faults = faults_of({"`gold` || '`silver`' || `bronze`": "metadata.a"})
        assert [(fault.problem, fault.position) for fault in faults] == [(LITERAL, 0), (LITERAL, 24)]

    def test_faults_of_a_source_and_its_destinations_are_reported_at_once(self) -> None:
        assert faults_of({"leng(a)": ["metadata.a", "metdata.b"]}) == [
            Fault("trackMapping", "leng(a)", "JMESPath has no function leng(); did you mean 'length'?", 0),
            Fault("trackMapping", "leng(a)", "'metdata.b' is not a Voucherify field; did you mean 'metadata'?", None),
        ]

    def test_the_message_counts_characters_from_one(self) -> None:
        (fault,) = faults_of({"a || $.b": "metadata.a"})
        assert fault.position == 5
        assert (
            str(fault) == "trackMapping['a || $.b'], character 6: invalid JMESPath: $ is allowed only at the beginning"
        )


class TestMappings:
    def test_all_faulty_rows_are_reported_at_once_and_no_others(self) -> None:
        faults = faults_of({"a": "nowhere", "b": "customer.email", "c": "customer.emial"})
        assert [fault.key for fault in faults] == ["a", "c"]

    @pytest.mark.parametrize(
        ("mapping", "kind"), [([], "an array"), ("x", "text"), (None, "null"), (1, "a number"), (True, "a boolean")]
    )
    @pytest.mark.parametrize("call", ["identify", "track", "page", "screen", "group"])
    def test_a_mapping_is_an_object(self, call: str, mapping: object, kind: str) -> None:
        (fault,) = faults_of_settings({f"{call}Mapping": mapping})
        assert str(fault) == f"{call}Mapping: must be a JSON object of source to destination, not {kind}"

    def test_the_text_of_the_error_has_all_faults(self) -> None:
        with pytest.raises(InvalidMapping) as raised:
            EventMapping.compile({"identifyMapping": {"a": 1, "b ||": "customer.email"}})
        assert str(raised.value) == (
            "identifyMapping['a']: the destination must be text or a list of texts, not a number; "
            "identifyMapping['b ||'], character 5: invalid JMESPath: unexpected end"
        )

    def test_a_deletion_has_no_mapping(self) -> None:
        assert CALLS["delete"].mapping is None
        EventMapping.compile({"deleteMapping": None})


class TestSwitchesAndFilter:
    @pytest.mark.parametrize("call", CALLS)
    @pytest.mark.parametrize(("value", "kind"), [("true", "text"), (1, "a number"), (None, "null"), ([], "an array")])
    def test_a_switch_is_true_or_false(self, call: str, value: object, kind: str) -> None:
        (fault,) = faults_of_settings({f"{call}Disabled": value})
        assert fault == Fault(f"{call}Disabled", "", f"must be true or false, not {kind}", None)
        assert str(fault) == f"{call}Disabled: must be true or false, not {kind}"

    def test_there_are_six_switches_and_four_are_off_by_default(self) -> None:
        assert {call.disabled_setting: call.is_disabled for call in CALLS.values()} == {
            "identifyDisabled": False,
            "trackDisabled": False,
            "pageDisabled": True,
            "screenDisabled": True,
            "groupDisabled": True,
            "deleteDisabled": True,
        }
        assert EventMapping.compile({}).disabled == {"page", "screen", "group", "delete"}

    @pytest.mark.parametrize(
        "value", ["Order Completed", None, {"a": 1}, 5, True, [5], ["Order Completed", ""], [None]]
    )
    def test_a_filter_is_a_list_of_names(self, value: object) -> None:
        (fault,) = faults_of_settings({"trackEventsFilter": value})
        assert (fault.setting, fault.key, fault.position) == ("trackEventsFilter", "", None)
        assert fault.problem.startswith("must be an array of event names")


def test_the_faults_of_all_settings_are_reported_at_once() -> None:
    faults = faults_of_settings(
        {
            "identifyDisabled": "no",
            "identifyMapping": {"email": "customer.emial", "name": "customer.name", "leng(a)": "customer.phone"},
            "trackMapping": [],
            "pageDisabled": 0,
            "pageMapping": {"": "metadata"},
            "groupMapping": {"a": []},
            "deleteDisabled": None,
            "trackEventsFilter": "Order Completed",
            "requireUserId": "no",
            "clearOnNull": None,
            "defaultMapping": "modern",
        }
    )
    assert [(fault.setting, fault.key, fault.position) for fault in faults] == [
        ("requireUserId", "", None),
        ("clearOnNull", "", None),
        ("defaultMapping", "", None),
        ("identifyDisabled", "", None),
        ("identifyMapping", "email", None),
        ("identifyMapping", "leng(a)", 0),
        ("trackMapping", "", None),
        ("pageDisabled", "", None),
        ("pageMapping", "", None),
        ("groupMapping", "a", None),
        ("deleteDisabled", "", None),
        ("trackEventsFilter", "", None),
    ]


def test_other_settings_are_ignored() -> None:
    mapping = EventMapping.compile({"apiUrl": 5, "trackMappings": []})
    request = map_event({"type": "track", "userId": "u-1", "event": "Bought"}, mapping)
    body: Any = {"event": "Bought", "customer": {"source_id": "u-1"}}
    assert isinstance(request, Request)
    assert request.body == body
