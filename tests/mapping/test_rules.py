"""Faults of a mapping setting: all at once, each with its key, its position and what to write instead."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mapping import CALLS, ORDER, TRACK, EventMapping, Fault, InvalidMapping, Request, destination_schema, map_event

ALLOWED = "use event, customer.*, metadata.*, loyalty.* or referral.*"
EMPTY_PART = "the source has an empty part between its dots"
QUOTE_IT = (
    "invalid JMESPath: put a name with other characters than letters, digits and _ in double quotes, "
    'such as "first-name"'
)
UNEXPECTED_END = "invalid JMESPath: unexpected end"
MIXED = "an object among rows: give a mapping rows only, or an object for each event name only"
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
        names, below = destination_schema(TRACK.parts)["anyOf"]
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
    @pytest.mark.parametrize("call", ["identify", "track", "page", "screen", "group", "order"])
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


class TestMappingsByEvent:
    """Faults of mappings by event name and of labelled parameters, as text: they name setting, event and key."""

    @pytest.mark.parametrize("parameter", ["trackMapping", "trackMapping.orders", "pageMapping", "screenMapping.x"])
    def test_a_fault_names_the_parameter_the_event_and_the_key(self, parameter: str) -> None:
        mapping = {
            "Order Completed": {"total": "metadata.total", "totl": "metdata.total", "": "event"},
            "Order *": {"a || $.b": "metadata.a", "b": 5, "leng(a)": ["metadata.c", "customer.emial"]},
            "*": {"name": "customer.name"},
        }
        not_found = "is not a Voucherify field; did you mean"
        assert faults_of_settings({parameter: mapping}) == [
            Fault(parameter, "totl", f"'metdata.total' {not_found} 'metadata'?", None, "Order Completed"),
            Fault(parameter, "", "the source is empty", None, "Order Completed"),
            Fault(parameter, "a || $.b", "invalid JMESPath: $ is allowed only at the beginning", 5, "Order *"),
            Fault(parameter, "b", "the destination must be text or a list of texts, not a number", None, "Order *"),
            Fault(parameter, "leng(a)", "JMESPath has no function leng(); did you mean 'length'?", 0, "Order *"),
            Fault(parameter, "leng(a)", f"'customer.emial' {not_found} 'customer.email'?", None, "Order *"),
        ]

    @pytest.mark.parametrize(
        ("settings", "messages"),
        [
            pytest.param(
                {"trackMapping.orders": {"Order Completed": {"a ||": "event"}}},
                ["trackMapping.orders['Order Completed']['a ||'], character 5: invalid JMESPath: unexpected end"],
                id="the text has parameter, event, key and character",
            ),
            pytest.param(
                {"trackMapping": {"Bought": {"a": {"b": "event"}}}},
                ["trackMapping['Bought']['a']: the destination must be text or a list of texts, not an object"],
                id="an object inside the mapping of an event",
            ),
            pytest.param(
                {"trackMapping": {"Bought": {"a": "event"}, "b": "event", "Sold": {}, "c": "evnt"}},
                [
                    f"trackMapping['Bought']: {MIXED}",
                    f"trackMapping['Sold']: {MIXED}",
                    "trackMapping['c']: 'evnt' is not a Voucherify field; did you mean 'event'?",
                ],
                id="rows and objects",
            ),
            pytest.param(
                {"trackMapping": {"Bought": {"a": "event"}, "*": None}},
                [
                    f"trackMapping['Bought']: {MIXED}",
                    "trackMapping['*']: the destination must be text or a list of texts, not null",
                ],
                id="null instead of an event's mapping",
            ),
            pytest.param(
                {"trackMapping.x": {"": {"a": "event"}, "*": {"a": "event"}}},
                ["trackMapping.x: an event name is empty"],
                id="an empty event name",
            ),
            pytest.param(
                {"trackMapping": {"A": {"a": "event"}}, "trackMapping.x": {"A": {"b": "event"}, "B": {}}},
                ["trackMapping.x['A']: the event is in trackMapping too"],
                id="a name twice",
            ),
            pytest.param(
                {
                    "trackMapping.x": {"A": {"a": "event"}},
                    "trackMapping.y": {"A": {"b": "event"}},
                    "trackMapping.z": {"A": {"c": "evnt"}},
                },
                [
                    "trackMapping.y['A']: the event is in trackMapping.x too",
                    "trackMapping.z['A']: the event is in trackMapping.x too",
                    "trackMapping.z['A']['c']: 'evnt' is not a Voucherify field; did you mean 'event'?",
                ],
                id="a name three times, and its rows",
            ),
            pytest.param(
                {"trackMapping": {"a": "event"}, "trackMapping.x": {"b": "event"}},
                ["trackMapping.x: one mapping for all events is in trackMapping too"],
                id="two mappings for all events",
            ),
            pytest.param(
                {"trackMapping": {"a": "event"}, "trackMapping.x": {"*": {"b": "event"}, "A": {"b": "event"}}},
                ["trackMapping.x['*']: the event is in trackMapping too"],
                id="one mapping for all events and *",
            ),
            pytest.param(
                {"trackMapping": {}, "trackMapping.x": {"*": {"b": "event"}}},
                ["trackMapping.x['*']: the event is in trackMapping too"],
                id="an empty mapping for all events and *",
            ),
            pytest.param(
                {"trackMapping.x": [], "orderMapping.x": "order.amount", "pageMapping.x": None},
                [
                    "trackMapping.x: must be a JSON object of source to destination, not an array",
                    "pageMapping.x: must be a JSON object of source to destination, not null",
                    "orderMapping.x: must be a JSON object of source to destination, not text",
                ],
                id="no objects",
            ),
            pytest.param(
                {"identifyMapping": {"A": {"a": "customer.email"}}, "groupMapping": {"A": {}}},
                [
                    "identifyMapping['A']: the destination must be text or a list of texts, not an object",
                    "groupMapping['A']: the destination must be text or a list of texts, not an object",
                ],
                id="calls without event names",
            ),
        ],
    )
    def test_its_text(self, settings: dict[str, object], messages: list[str]) -> None:
        assert [str(fault) for fault in faults_of_settings(settings)] == messages

    def test_one_name_in_several_settings_is_no_fault(self) -> None:
        mapping = {"A": {"a": "customer.email"}, "*": {}}
        EventMapping.compile({f"{call}Mapping.x": mapping for call in ("track", "page", "screen", "order")})

    @pytest.mark.parametrize("parameter", ["identifyMapping.x", "groupMapping.x", "trackMapping.", "trackMappings.x"])
    def test_other_parameters_with_a_dot_are_ignored(self, parameter: str) -> None:
        EventMapping.compile({parameter: 5})


class TestOrders:
    @pytest.mark.parametrize("destination", ["order", "order.amount", "order.metadata.x", "order.zzz"])
    @pytest.mark.parametrize("call", ["identify", "track", "page", "screen", "group"])
    def test_only_order_mapping_fills_an_order(self, call: str, destination: str) -> None:
        (fault,) = faults_of_settings({f"{call}Mapping": {"a": destination}})
        assert str(fault) == (
            f"{call}Mapping['a']: {destination!r} is no part of this request; use orderMapping for it"
        )

    def test_a_row_of_an_event_to_an_order_names_the_event(self) -> None:
        (fault,) = faults_of({"Order *": {"total": "order.amount"}})
        problem = "'order.amount' is no part of this request; use orderMapping for it"
        assert fault == Fault("trackMapping", "total", problem, None, "Order *")

    @pytest.mark.parametrize(
        "destination", ["metadata", "metadata.x", "loyalty", "loyalty.code", "referral.referrer_id", "event"]
    )
    def test_an_order_has_no_parts_of_a_custom_event(self, destination: str) -> None:
        (fault,) = faults_of_settings({"orderMapping": {"Order *": {"a": destination}}})
        problem = f"{destination!r} is no part of this request; use customer.* or order.*"
        assert fault == Fault("orderMapping", "a", problem, None, "Order *")

    @pytest.mark.parametrize(
        ("destination", "problem"),
        [
            ("order.amuont", "'order.amuont' is not a Voucherify field; did you mean 'order.amount'?"),
            ("order.items.0", "'order.items.0' is not a Voucherify field; did you mean 'order.items'?"),
            ("order.amount.x", "'order.amount.x' is not a Voucherify field; did you mean 'order.amount'?"),
            ("customer.emial", "'customer.emial' is not a Voucherify field; did you mean 'customer.email'?"),
            ("zzz", "'zzz' is not a Voucherify field; use customer.* or order.*"),
            ("order.", "the destination has an empty part between its dots; use customer.* or order.*"),
            ("", "the destination is empty; use customer.* or order.*"),
        ],
    )
    def test_a_faulty_destination_gets_the_possible_ones(self, destination: str, problem: str) -> None:
        assert faults_of_settings({"orderMapping": {"a": destination}}) == [Fault("orderMapping", "a", problem)]

    def test_the_schema_accepts_the_same_destinations(self) -> None:
        names, below = destination_schema(ORDER.parts)["anyOf"]
        assert {"order", "order.items", "order.status", "customer", "customer.email"} <= set(names["enum"])
        for name in [*names["enum"], "order.metadata.a", "customer.metadata.plan.name"]:
            assert name in names["enum"] or re.search(below["pattern"], name)
            EventMapping.compile({"orderMapping": {"a": name}})
        for name in ["", "event", "metadata.a", "order.zzz", "order.metadata.", "order.items.a", "loyalty.code"]:
            assert name not in names["enum"]
            assert not re.search(below["pattern"], name)
            faults_of_settings({"orderMapping": {"a": name}})

    @pytest.mark.parametrize(
        ("status", "advice"),
        [
            ("paid", "; did you mean 'PAID'?"),
            ("CANCELLED", "; did you mean 'CANCELED'?"),
            ("cancelled", "; did you mean 'CANCELED'?"),
            ("Fulfiled", "; did you mean 'FULFILLED'?"),
            ("REFUNDED", ""),
            ("", ""),
            (1, ""),
            (None, ""),
            (True, ""),
            (["PAID"], ""),
            ({"status": "PAID"}, ""),
        ],
    )
    def test_a_status_is_one_of_voucherify(self, status: object, advice: str) -> None:
        (fault,) = faults_of_settings({"orderEvents": {"Order Completed": status, "Order Updated": "CREATED"}})
        assert str(fault) == (
            f"orderEvents['Order Completed']: the status must be one of CREATED, PAID, CANCELED, FULFILLED{advice}"
        )

    @pytest.mark.parametrize(
        ("value", "kind"),
        [(["PAID"], "an array"), ("PAID", "text"), (None, "null"), (1, "a number"), (True, "a boolean")],
    )
    def test_order_events_is_an_object(self, value: object, kind: str) -> None:
        (fault,) = faults_of_settings({"orderEvents": value})
        example = '{"Order Completed": "PAID"}'
        assert str(fault) == f"orderEvents: must be a JSON object, such as {example}, not {kind}"

    def test_all_faulty_order_events_are_reported_at_once(self) -> None:
        faults = faults_of_settings({"orderEvents": {"": "PAID", "A": "paid", "B": "PAID", "C*": 1}})
        assert [(fault.key, fault.event) for fault in faults] == [("", ""), ("A", ""), ("C*", "")]
        assert str(faults[0]) == "orderEvents: an event name is empty"


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
            "orderEvents": [],
            "orderMapping": {"a": "order.amuont"},
        }
    )
    assert [(fault.setting, fault.key, fault.position) for fault in faults] == [
        ("clearOnNull", "", None),
        ("defaultMapping", "", None),
        ("identifyMapping", "email", None),
        ("identifyMapping", "leng(a)", 0),
        ("trackMapping", "", None),
        ("pageMapping", "", None),
        ("groupMapping", "a", None),
        ("orderMapping", "a", None),
        ("identifyDisabled", "", None),
        ("pageDisabled", "", None),
        ("deleteDisabled", "", None),
        ("trackEventsFilter", "", None),
        ("requireUserId", "", None),
        ("orderEvents", "", None),
    ]


def test_other_settings_are_ignored() -> None:
    mapping = EventMapping.compile({"apiUrl": 5, "trackMappings": []})
    request = map_event({"type": "track", "userId": "u-1", "event": "Bought"}, mapping)
    body: Any = {"event": "Bought", "customer": {"source_id": "u-1"}}
    assert isinstance(request, Request)
    assert request.body == body
