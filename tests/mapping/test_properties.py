"""The promises of the mapping, for any JSON as an event and for any mapping."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mapping import (
    EventMapping,
    Fault,
    InvalidEvent,
    InvalidMapping,
    Operation,
    Request,
    Skip,
    explain,
    map_event,
    message_id_of,
)
from mapping.rules.destinations import put
from mapping.values import trim
from tests.contract.published import assert_published

pytestmark = pytest.mark.slow

# Any JSON body, and a little more: numbers beyond a float, text with lone surrogates, keys of any kind.
TEXT = st.text(st.characters(codec=None), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
JSON = st.recursive(SCALARS, lambda items: st.lists(items, max_size=3) | st.dictionaries(TEXT, items, max_size=3))

PAYLOAD = st.dictionaries(
    st.sampled_from(["name", "firstName", "lastName", "email", "address", "metadata", "phone", "born", "plan", "a.b"])
    | st.sampled_from(["first_name", "Email", "Address", "list", "code"])
    | TEXT,
    JSON
    | st.lists(st.integers() | st.sampled_from(["a", "b"]), max_size=3)
    | st.fixed_dictionaries({}, optional={"city": JSON, "street": JSON, "line_1": JSON, "postalCode": JSON, "": JSON})
    | st.fixed_dictionaries({}, optional={"code": JSON, "x": JSON, "email": JSON, "plan": JSON, "metadata": JSON}),
    max_size=6,
)
TYPES = ["identify", "track", "Track", "page", "screen", "group", "delete", "alias", "purchase"]
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES) | JSON},
    optional={
        "userId": SCALARS | JSON,
        "user_id": SCALARS,
        "anonymousId": SCALARS,
        "event": SCALARS | st.text(min_size=299, max_size=302),
        "name": SCALARS | st.sampled_from(["Home"]) | JSON,
        "groupId": JSON,
        "traits": PAYLOAD | JSON,
        "properties": PAYLOAD | JSON,
        "messageId": JSON,
        "context": JSON,
        "integrations": st.sampled_from([{"All": False}, {"Voucherify": True}]) | JSON,
    },
)
# Events that become a request.
GOOD_EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["identify", "track", "page", "screen", "group"]),
        "userId": st.just("u-1"),
        "event": st.just("Bought"),
        "name": st.sampled_from(["Home", "a", 5]),
    },
    optional={"traits": PAYLOAD, "properties": PAYLOAD, "groupId": JSON, "context": PAYLOAD},
)
ALL_CALLS = {"pageDisabled": False, "screenDisabled": False, "groupDisabled": False, "deleteDisabled": False}

SOURCES = st.sampled_from(
    [
        *["name", "firstName", "email", "address", "metadata", "phone", "born", "plan", '"a.b"', "list", "code", "x"],
        *["$", "$.properties", "traits", "properties", "context", "userId", "groupId", "$.traits.plan", "list[0]"],
        *["list.-1", "metadata.x", "address['city']", "plan.x", "Metadata.Plan"],
        *[
            "plan || email",
            "$.properties.plan || userId",
            "properties.plan || traits.plan",
            "(plan)",
            "@",
            "*",
            "list[]",
        ],
        *["length(plan)", "sum(list)", "keys(metadata)", "[plan, list]", "{code: plan, city: email}", "list[?@ > `0`]"],
        *["merge(metadata, address)", "sort(list)", "plan > phone", "'gold'", "`5`", "`true`", '`{"x": {"y": 1}}`'],
    ]
)
DESTINATIONS = st.sampled_from(
    [
        *["event", "customer", "customer.id", "customer.source_id", "customer.name", "customer.firstName"],
        *["customer.lastName", "customer.email", "customer.phone", "customer.birthdate", "customer.address"],
        *["customer.address.city", "customer.metadata", "customer.metadata.plan", "customer.metadata.plan.x"],
        *["metadata", "metadata.plan", "metadata.plan.x", "metadata.x", "loyalty", "loyalty.code"],
        *["referral", "referral.code", "referral.referrer_id"],
    ]
)
# Rows with each destination once.
ONCE: st.SearchStrategy[dict[str, str]] = st.builds(
    dict,
    st.lists(st.tuples(SOURCES, DESTINATIONS), unique_by=(lambda row: row[0], lambda row: row[1]), max_size=8),
)
ROWS = st.dictionaries(SOURCES, DESTINATIONS | st.lists(DESTINATIONS, min_size=1, max_size=3), max_size=6)


def settings_of(rows: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: st.just(value) for name, value in ALL_CALLS.items()},
        optional={f"{call}Mapping": rows for call in ("identify", "track", "page", "screen", "group")}
        | {
            "trackEventsFilter": st.sampled_from([[], ["Bought"], ["B*t"], ["Signed Up"]]),
            "defaultMapping": st.sampled_from(["classic", "actions"]),
            "requireUserId": st.booleans(),
            "clearOnNull": st.booleans(),
        },
    )


SETTINGS = settings_of(ROWS)
DEFAULT = EventMapping.compile({})
EXPRESSIONS = {
    "plan || name": ["customer.phone", "customer.metadata.plan"],
    "sum(list)": "customer.metadata.sum",
    "length(metadata)": "customer.description",
    "list[?@ > `1`]": "customer.metadata.large",
    "{name: name, codes: list[].code}": "customer.metadata",
    "born || context.born": "customer.birthdate",
    "email == phone": "customer.metadata.same",
    "plan > phone": "customer.metadata.more",
}
MAPPINGS = st.sampled_from(
    [
        DEFAULT,
        EventMapping.compile(ALL_CALLS),
        EventMapping.compile({"trackEventsFilter": ["Signed Up"]}),
        EventMapping.compile({**ALL_CALLS, "defaultMapping": "actions", "requireUserId": True}),
        EventMapping.compile({**ALL_CALLS, "clearOnNull": True}),
        EventMapping.compile(
            {"clearOnNull": True, "identifyMapping": {"traits": "customer", "a": "customer.metadata"}}
        ),
        EventMapping.compile(
            {
                "trackMapping": {
                    "properties": "metadata",
                    "address": "customer.address",
                    "traits": "customer",
                    "name": "event",
                    "born": "customer.birthdate",
                    "plan": "customer.metadata.plan.deep",
                    "metadata": "customer.metadata",
                    "email": "referral.referrer_id",
                    "phone": "loyalty",
                }
            }
        ),
        EventMapping.compile(
            {
                **ALL_CALLS,
                "identifyMapping": EXPRESSIONS,
                "groupMapping": EXPRESSIONS,
                "trackMapping": EXPRESSIONS | {"join(' ', list)": "event", "code || plan": "loyalty.code"},
                "pageMapping": EXPRESSIONS | {"merge(metadata, address)": "metadata", "to_number(plan)": "event"},
                "screenMapping": EXPRESSIONS | {"$.context || 'none'": "metadata.context", "list[0]": "referral.code"},
            }
        ),
    ]
)

NESTED: Any = {}
for _ in range(100):
    NESTED = {"a": NESTED}


def no_constant(literal: str) -> None:
    raise AssertionError(f"{literal} is not strict JSON")


def assert_sendable(request: Request) -> None:
    sent = request.to_json()
    assert_published(request.path, None if sent is None else json.loads(sent, parse_constant=no_constant))


def outcome_of(event: Any, mapping: EventMapping) -> Request | Skip | InvalidEvent:
    try:
        return map_event(event, mapping)
    except InvalidEvent as error:
        return error


def assert_same(outcome: Request | Skip | InvalidEvent, other: Request | Skip | InvalidEvent) -> None:
    """Compare by content; `1`, `1.0` and `True` are three values."""
    assert type(outcome) is type(other)
    assert repr(outcome) == repr(other)


@given(event=EVENTS | JSON, mapping=MAPPINGS)
@example(event={"type": "identify", "userId": "u", "traits": {"metadata": {"x": float("inf")}}}, mapping=DEFAULT)
@example(event={"type": "identify", "userId": "u", "traits": {"name": float("nan")}}, mapping=DEFAULT)
@example(event={"type": "identify", "userId": "u", "traits": {"metadata": NESTED}}, mapping=DEFAULT)
@example(event={"type": "track", "userId": "\ud800", "event": "\ud800"}, mapping=DEFAULT)
def test_any_event_becomes_a_request_a_skip_or_a_typed_error(event: Any, mapping: EventMapping) -> None:
    before = copy.deepcopy(event)
    outcome = outcome_of(event, mapping)

    assert repr(event) == repr(before)  # NaN is not equal to itself
    match outcome:
        case Request():
            assert outcome.customer
            assert_sendable(outcome)
            assert all(map(str, outcome.left_out))
        case Skip():
            assert outcome.reason
        case InvalidEvent():
            assert outcome.code
            assert str(outcome)


@given(event=EVENTS | GOOD_EVENTS, settings=SETTINGS)
def test_any_mapping_makes_published_requests_of_any_event(event: Any, settings: dict[str, Any]) -> None:
    """Also after its settings have been stored as JSON."""
    outcome = outcome_of(event, EventMapping.compile(settings))
    assert_same(outcome_of(event, EventMapping.compile(json.loads(json.dumps(settings)))), outcome)
    if isinstance(outcome, Request):
        assert_sendable(outcome)


@given(event=EVENTS | JSON)
def test_anything_has_a_message_id_or_none(event: Any) -> None:
    message_id = message_id_of(event)
    assert message_id is None or message_id == message_id.strip() != ""


@given(payload=PAYLOAD)
def test_changing_the_request_does_not_change_the_event(payload: dict[str, Any]) -> None:
    """Metadata is copied: a batch may have one object twice, and a retry stores the event unchanged."""
    event = {"type": "track", "userId": "u", "event": "e", "properties": payload}
    before = repr(event)
    mapping = EventMapping.compile(
        {"trackMapping": {"properties": "metadata", "metadata": "customer.metadata", "(address)": "metadata.address"}}
    )
    request = map_event(event, mapping)
    assert isinstance(request, Request)
    assert request.body
    for value in request.body.get("metadata", {}).values():
        if isinstance(value, dict | list):
            value.clear()
    request.body.get("metadata", {}).clear()
    request.body["customer"].get("metadata", {}).clear()
    request.body["customer"].clear()
    assert repr(event) == before


@given(settings=SETTINGS, payload=PAYLOAD)
def test_changing_one_request_does_not_change_the_next(settings: dict[str, Any], payload: dict[str, Any]) -> None:
    """A literal of an expression lives as long as the mapping."""
    settings["trackMapping"] = {'`{"x": {"y": []}}`': "metadata", **settings.get("trackMapping", {})}
    mapping = EventMapping.compile(settings)
    event = {"type": "track", "userId": "u", "event": "Bought", "properties": payload}
    first = outcome_of(event, mapping)
    before = repr(first)
    if isinstance(first, Request) and first.body:
        first.body["metadata"].clear()
        assert repr(outcome_of(event, mapping)) == before


# ---- explain


@given(event=EVENTS | GOOD_EVENTS | JSON, settings=SETTINGS)
def test_explain_and_map_agree(event: Any, settings: dict[str, Any]) -> None:
    mapping = EventMapping.compile(settings)
    before = repr(event)
    explanation = explain(event, mapping)

    assert repr(event) == before
    outcome = outcome_of(event, mapping)
    assert_same(explanation.outcome, outcome)
    if isinstance(outcome, Request):
        assert repr(explanation.left_out) == repr(outcome.left_out)
    assert explanation.to_json().keys() >= {"filled", "unused", "empty", "leftOut"}


@given(event=GOOD_EVENTS, settings=settings_of(ONCE))
def test_the_filled_fields_of_an_explanation_make_up_the_request(event: Any, settings: dict[str, Any]) -> None:
    """In their order. No two rows have one destination, since a replaced value may have replaced others before."""
    explanation = explain(event, EventMapping.compile(settings))
    assume(isinstance(explanation.outcome, Request))
    assert isinstance(explanation.outcome, Request)
    replayed: dict[str, Any] = {}
    for filled in explanation.filled:
        put(replayed, tuple(filled.destination.split(".")), copy.deepcopy(filled.value))

    body = explanation.outcome.body
    is_customer = explanation.outcome.operation is Operation.UPSERT_CUSTOMER
    assert json.dumps(replayed, sort_keys=True) == json.dumps(
        {"customer": body} if is_customer else body, sort_keys=True
    )


# ---- birth dates

BIRTHDATES = st.dates(date(1900, 1, 1), date(2026, 12, 31))
# Not strftime(): it writes years before 1000 without leading zeros.
FORMS: list[Callable[[date], str]] = [
    lambda day: day.isoformat(),
    lambda day: day.isoformat().replace("-", ""),
    lambda day: f"{day.year:04d}-{day.timetuple().tm_yday:03d}",
    lambda day: f"{day.year:04d}{day.timetuple().tm_yday:03d}",
    lambda day: "{:04d}-W{:02d}-{}".format(*day.isocalendar()),
    lambda day: "{:04d}w{:02d}{}".format(*day.isocalendar()),
]
TIMES = st.sampled_from(
    [
        *["", "T08", "t08:30", "T08:30:59", " 23:59:60", "T24:00", "T240000", "T24:00:00.000", "T083059,5"],
        *["\u00a000:00:00.123456", "T08:30.5"],
    ]
)
ZONES = st.sampled_from(
    ["", "Z", "z", "+02", "-0530", "+05:45", "\N{MINUS SIGN}03:00", " UTC", " +0000", "+14:00", "-12:00"]
)
BLANKS = st.text(st.sampled_from(" \t\n\u00a0\u2003\u200b\ufeff"), max_size=3)


def birthdate_of(value: Any, **times: Any) -> str | None:
    mapping = EventMapping.compile({"identifyMapping": {"born": "customer.birthdate"}})
    request = map_event({"type": "identify", "userId": "u-1", "traits": {"born": value}, **times}, mapping)
    assert isinstance(request, Request)
    assert request.body
    birthdate: str | None = request.body.get("birthdate")
    assert [out.destination for out in request.left_out] == ([] if birthdate else ["customer.birthdate"])
    return birthdate


@given(day=BIRTHDATES, form=st.sampled_from(FORMS), time=TIMES, zone=ZONES, before=BLANKS, after=BLANKS)
def test_a_birth_date_in_any_form_of_iso_8601_keeps_its_day(
    day: date, form: Callable[[date], str], time: str, zone: str, before: str, after: str
) -> None:
    assert birthdate_of(f"{before}{form(day)}{time}{zone}{after}") == day.isoformat()


@given(day=BIRTHDATES)
def test_a_number_that_reads_as_a_birth_date_is_that_day(day: date) -> None:
    digits = day.strftime("%Y%m%d")
    assert {birthdate_of(value) for value in (int(digits), float(digits), digits, f"{digits}.0")} == {day.isoformat()}


def reads_otherwise(digits: str) -> bool:
    """Whether the digits of an epoch time are a year, a month or a date of the calendar as well."""
    forms = {4: "%Y", 6: "%Y%m", 7: "%Y%j", 8: "%Y%m%d"}
    if len(digits) == 7 and not "18" <= digits[:2] <= "21":
        return False
    try:
        return len(digits) in forms and bool(datetime.strptime(f"{digits}+0000", f"{forms[len(digits)]}%z"))
    except ValueError:
        return False


@given(seconds=st.integers(-2208988800, 1798761599) | st.integers(-10_000_000, 100_000_000))
def test_an_epoch_time_is_its_day_in_utc(seconds: int) -> None:
    """In seconds always; in milliseconds unless these are seconds of a birth date too, as some near 1970 are."""
    assume(not reads_otherwise(str(seconds)))
    day = (date(1970, 1, 1) + timedelta(days=seconds // 86400)).isoformat()
    sign = "+" if seconds > 0 else ""
    assert {birthdate_of(value) for value in (seconds, seconds + 0.5, f"{sign}{seconds}", f"{seconds}.0")} == {day}
    milliseconds = seconds * 1000
    if not -2208988800 <= milliseconds < 1798761600:  # from 1900 to this version's year
        assert {birthdate_of(value) for value in (milliseconds, str(milliseconds), f"{milliseconds}.0")} == {day}


@given(
    day=st.dates(date(1800, 1, 1), date(2199, 12, 31)), form=st.sampled_from(FORMS), received=st.dates(date(2026, 1, 1))
)
def test_no_birth_date_is_before_1900_or_after_the_event(
    day: date, form: Callable[[date], str], received: date
) -> None:
    expected = day.isoformat() if date(1900, 1, 1) <= day <= received else None
    assert birthdate_of(form(day), receivedAt=f"{received.isoformat()}T12:00:00.000Z") == expected


@given(value=JSON | st.from_regex(r"[-+]?[0-9T:.Zz Ww-]{1,24}", fullmatch=True))
@example(value="9" * 5000)
@example(value=10**5000)
def test_any_value_is_a_birth_date_or_left_out(value: Any) -> None:
    assume(value is not None and value != "")
    birthdate = birthdate_of(value)
    assert birthdate is None or "1900-01-01" <= date.fromisoformat(birthdate).isoformat() <= "2026-12-31"


# ---- text and sums


@given(text=st.text(st.sampled_from("ab .@\u00e9"), max_size=8), before=BLANKS, after=BLANKS)
def test_text_is_trimmed_and_blank_text_is_missing(text: str, before: str, after: str) -> None:
    fields = ("name", "email", "phone")
    traits = dict.fromkeys(fields, f"{before}{text}{after}")
    request = map_event({"type": "identify", "userId": "u-1", "traits": traits}, DEFAULT)
    assert isinstance(request, Request)
    assert request.body == {"source_id": "u-1", **({field: text.strip() for field in fields} if text.strip() else {})}


def test_all_white_space_is_trimmed() -> None:
    white_space = "".join(filter(str.isspace, map(chr, range(sys.maxunicode + 1))))
    assert trim(f"{white_space}a b{white_space}") == "a b"


@given(cents=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20), factor=st.integers(-1000, 1000))
def test_amounts_add_up_to_the_cent(cents: list[int], factor: int) -> None:
    sources = {
        "sum(prices)": "metadata.sum",
        "to_cents(sum(prices))": "metadata.cents",
        "multiply(prices[0], factor)": "metadata.product",
        "round(prices[0], `1`)": "metadata.rounded",
    }
    properties = {"prices": [price / 100 for price in cents], "factor": factor}
    event = {"type": "track", "userId": "u-1", "event": "Bought", "properties": properties}
    request = map_event(event, EventMapping.compile({"trackMapping": sources}))
    assert isinstance(request, Request)
    assert request.body
    rounded = (abs(cents[0]) + 5) // 10 / 10  # half a digit is rounded away from zero
    assert request.body["metadata"] == {
        "sum": sum(cents) / 100,
        "cents": sum(cents),
        "product": cents[0] * factor / 100,
        "rounded": rounded if cents[0] >= 0 else -rounded,
    }


# ---- keys in any casing

WORDS = st.lists(st.sampled_from(["first", "name", "line", "1", "größe", "2b"]), min_size=1, max_size=3)
STYLES = (
    lambda words: "_".join(words),
    lambda words: "-".join(words),
    lambda words: " ".join(words).title(),
    lambda words: "".join(words).upper(),
    lambda words: words[0] + "".join(word.capitalize() for word in words[1:]),
    lambda words: ".".join(words),
)


@st.composite
def objects_of_one_name(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a name, and an object with keys that are this name in some casing, and with other keys."""
    words = draw(WORDS)
    names = [style(words) for style in STYLES]
    keys = draw(st.permutations([*names, "other", "Other Name"]))
    values: st.SearchStrategy[Any] = st.sampled_from([None, "", False, 0, [], {}]) | st.integers() | TEXT
    object_ = {key: draw(values) for key in keys[: draw(st.integers(0, len(keys)))]}
    return draw(st.sampled_from(names)), object_


def meant_by(name: str, object_: Mapping[str, Any]) -> Any:
    """Find the value by another implementation of the rule."""
    others = [key for key in object_ if key not in ("other", "Other Name", name)]
    held = [object_[key] for key in (name, *others) if object_.get(key) not in (None, "")]
    return held[0] if held else None


@given(named=objects_of_one_name())
def test_the_exact_key_wins_and_otherwise_the_first_in_any_casing(named: tuple[str, dict[str, Any]]) -> None:
    name, object_ = named
    quoted = json.dumps(name)
    mapping = EventMapping.compile(
        {
            "trackMapping": {
                quoted: "metadata.root",
                f"box.{quoted}": "metadata.path",
                f"(box.{quoted})": "metadata.expression",
                f"boxes[*].{quoted} | [0]": "metadata.projection",
                f"context.{quoted}": "metadata.context",
                f"traits.{quoted}": "metadata.traits",
            }
        }
    )
    event = {"type": "track", "userId": "u-1", "event": "Bought", "context": object_, "traits": object_}
    request = map_event({**event, "properties": {**object_, "box": object_, "boxes": [object_]}}, mapping)
    assert isinstance(request, Request)
    assert request.body
    value = meant_by(name, object_)
    places = ("root", "path", "expression", "projection", "context", "traits")
    expected = {} if value is None else {"metadata": dict.fromkeys(places, value)}
    assert repr({key: request.body[key] for key in request.body if key == "metadata"}) == repr(expected)


@given(values=st.lists(st.none() | st.just("") | st.integers(), max_size=len(STYLES)), order=st.permutations(STYLES))
def test_the_same_rule_holds_for_the_fields_of_an_address(values: list[Any], order: list[Any]) -> None:
    address = {style(["line", "1"]): value for style, value in zip(order, values, strict=False)}
    mapping = EventMapping.compile({"identifyMapping": {"address": "customer.address"}})
    request = map_event({"type": "identify", "userId": "u-1", "traits": {"address": address}}, mapping)
    assert isinstance(request, Request)
    value = meant_by("line_1", address)
    expected = {} if value is None else {"address": {"line_1": str(value)}}
    assert request.body == {"source_id": "u-1", **expected}
    assert request.left_out == ()


# ---- sources

FRAGMENTS = st.sampled_from(
    [
        *["a", "plan", "properties", "userId", "length", "sum", "$", "$.", "first-name", "größe", "0", "-1", "5"],
        *[".", "..", "[", "]", "[]", "[*]", "[?", "[0]", "['", '"', "'", "`", "\\", "(", ")", "{", "}", ":", ",", " "],
        *["||", "&&", "|", "&", "!", "=", "==", "<", ">=", "@", "*", "`1`", "'x'", '"x"', "\n", "\ud800", "🦊"],
        *["not_null(", "sort_by(a, &b)", "leng(", "{a: ", "[?a == "],
    ]
)
ANY_TEXT = st.text(max_size=20) | TEXT | st.lists(FRAGMENTS, max_size=12).map("".join)

NAMES = st.sampled_from(
    ["plan", "email", "list", "metadata", "address", "userId", "context", "traits", "properties", "@", '"a.b"', "x"]
)
LITERALS = st.sampled_from(["'a'", "`1`", "`-2.5`", "`true`", "`null`", '`"b"`', "`[1, 2]`", '`{"x": 1}`', "''"])
FUNCTIONS = {
    1: [
        *["abs", "avg", "ceil", "floor", "keys", "length", "max", "min", "reverse", "sort", "sum", "to_array"],
        *["lower", "round", "to_cents", "trim", "upper"],
    ],
    2: [
        *["contains", "ends_with", "join", "starts_with", "merge", "not_null"],
        *["default", "multiply", "round", "split"],
    ],
}


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, inner)
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from([*FUNCTIONS[1], "to_number", "type", "values"]), inner),
        st.builds("{0}({1[0]}, {1[1]})".format, st.sampled_from(FUNCTIONS[2]), pairs),
        st.builds("{}({}, &{})".format, st.sampled_from(["sort_by", "max_by", "min_by"]), inner, inner),
        st.builds("map(&{}, {})".format, inner, inner),
        st.builds(
            "({0[0]} {1} {0[1]})".format, pairs, st.sampled_from(["||", "&&", "|", "==", "!=", "<", "<=", ">", ">="])
        ),
        st.builds("{0[0]}[?{0[1]}]".format, pairs),
        st.builds("[{0[0]}, {0[1]}]".format, pairs),
        st.builds("{{a: {0[0]}, b: {0[1]}}}".format, pairs),
        st.builds("{}{}".format, inner, st.sampled_from(["[*]", "[]", "[0]", "[-1]", "[::-1]", "[::0]", ".*", ".x"])),
        st.builds("!{}".format, inner),
    )


def faults_of(rows: dict[str, str]) -> tuple[Fault, ...]:
    try:
        EventMapping.compile({"trackMapping": rows})
    except InvalidMapping as invalid:
        return invalid.faults
    return ()


JMESPATHS = st.recursive(NAMES | LITERALS, larger, max_leaves=6)


@given(source=ANY_TEXT)
@example(source="(length)(a)")
@example(source="`gold`")
@example(source="a || [" + "9" * 5000 + "]")
@example(source="||".join("a" * 5000))
@example(source="`" + "[" * 100_000 + "`")
def test_any_text_is_a_source_or_has_faults_with_positions_in_it(source: str) -> None:
    for fault in faults_of({source: "metadata.a"}):
        assert (fault.setting, fault.key) == ("trackMapping", source)
        assert fault.problem
        assert fault.position is None or 0 <= fault.position <= len(source)
        assert str(fault)


@given(destination=TEXT | st.lists(st.sampled_from(["customer", "email", ".", "metadata", " ", "event"])).map("".join))
def test_any_text_is_a_destination_or_has_one_fault(destination: str) -> None:
    for fault in faults_of({"a": destination}):
        assert (fault.setting, fault.key, fault.position) == ("trackMapping", "a", None)
    assert len(faults_of({"a": destination})) <= 1


@given(source=ANY_TEXT | JMESPATHS, event=EVENTS | GOOD_EVENTS, destination=DESTINATIONS)
@example(source="sum(plan)", event={"userId": "u", "properties": {"plan": NESTED}}, destination="event")
@example(source="$", event={"userId": "u", "properties": {"x": NESTED}}, destination="metadata")
@example(source="ceil(x)", event={"userId": "u", "properties": {"x": float("inf")}}, destination="metadata.x")
@example(source="x", event={"userId": "u", "properties": {"x": 10**400}}, destination="customer.birthdate")
@example(source="x", event={"userId": "u", "properties": {"x": 10**4299}}, destination="customer.phone")
@example(source="sum(x)", event={"userId": "u", "properties": {"x": [9 * 10**4299] * 2}}, destination="metadata.x")
def test_any_source_gets_an_outcome_from_any_event(source: str, event: Any, destination: str) -> None:
    assume(not faults_of({source: destination}))
    mapping = EventMapping.compile({"trackMapping": {source: destination}})
    event = {**event, "type": "track"}
    before = repr(event)
    outcome = outcome_of(event, mapping)
    assert repr(event) == before
    assert_same(explain(event, mapping).outcome, outcome)
    if isinstance(outcome, Request):
        assert_sendable(outcome)


@given(source=JMESPATHS)
def test_any_valid_jmespath_is_a_source(source: str) -> None:
    """JMESPATHS are valid; otherwise the test before this one would prove little."""
    assert faults_of({source: "metadata.a"}) == ()
