"""`mapping init`: a file to start from, which preview and settings apply take as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cli.preview.starting_file import StartingFile
from cli.settings.file import read_file
from local.stack.samples import EVENTS
from mapping import EventMapping, explain
from scripts.settings_schema import FILE
from tests.cli.conftest import Run

SCHEMA = Draft202012Validator(json.loads(FILE.read_text("utf-8")))

ORDER = {
    "type": "track",
    "messageId": "e-1",
    "userId": "u-1",
    "event": "Order Completed",
    "properties": {"order_id": "o-1", "total": 27.5, "email": "ada@example.com", "cart": {"size": 3}, "tags": ["a"]},
}
IDENTIFY = {
    "type": "identify",
    "messageId": "e-2",
    "userId": "u-1",
    "traits": {"email": "ada@example.com", "firstName": "Ada", "plan": "gold"},
}


KEYS = st.sampled_from(
    ["email", "name", "first_name", "a", "A", "a.b", "metadata", "address", "city", "", "{{", "x y"]
) | (st.text(max_size=6))


@pytest.fixture
def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_client(self: boto3.Session, service: str, **options: Any) -> None:
        pytest.fail(f"a client of {service} was made")

    monkeypatch.setattr(boto3.Session, "client", no_client)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "mapping.json"


def events_in(tmp_path: Path, *events: Any) -> str:
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(map(json.dumps, events)), "utf-8")
    return str(path)


def settings_in(path: Path) -> dict[str, Any]:
    """Return the settings of a file, which is one for editors too."""
    SCHEMA.validate(json.loads(path.read_text("utf-8")))
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert document.pop("$schema") == "./settings.schema.json"
    return document


@pytest.mark.usefixtures("without_aws")
def test_rows_that_found_something_and_a_row_for_what_none_reads(run: Run, tmp_path: Path, output: Path) -> None:
    later = {**ORDER, "properties": {"Total": 5, "coupon": "MAY", "phone": "1"}}
    viewed = {**ORDER, "event": "Product Viewed", "properties": {"name": "Mug"}}
    events = events_in(tmp_path, ORDER, later, viewed, IDENTIFY, {**ORDER, "event": "Pinged", "properties": {}})
    ended = run("mapping", "init", events, "--output", str(output))

    assert ended.code == 0
    assert settings_in(output) == {
        "trackMapping": {
            "Order Completed": {
                "properties.email": "customer.email",
                "properties.phone": "customer.phone",
                "properties.order_id": "metadata.order_id",
                "properties.total": "metadata.total",
                "properties.cart.size": "metadata.cart.size",
                "properties.tags": "metadata.tags",
                "properties.coupon": "metadata.coupon",
            },
            "Product Viewed": {"properties.name": "customer.name"},
        },
        "identifyMapping": {
            "traits.firstName": "customer.firstName",
            "traits.email": "customer.email",
            "traits.plan": "customer.metadata.plan",
        },
    }
    assert ended.out.splitlines() == [
        f"✓ {output} is written: trackMapping, identifyMapping",
        "! properties.name becomes the customer's name in Product Viewed: is it that of a product?",
        "",
        "Next, edit the file, see what it makes of your events, and apply it:",
        f"  voucherify-destination preview {events} --mapping {output}",
        f"  voucherify-destination settings apply {output} --dry-run",
    ]


@pytest.mark.usefixtures("without_aws")
@pytest.mark.parametrize("orders", [[], ["--orders"]])
def test_with_this_file_everything_is_sent(run: Run, output: Path, orders: list[str]) -> None:
    assert run("mapping", "init", str(EVENTS), "--output", str(output), *orders).code == 0

    assert run("preview", str(EVENTS), "--mapping", str(output), "--json").json["notSent"] == []


def test_the_file_can_be_applied(run: Run, output: Path) -> None:
    run("mapping", "init", str(EVENTS), "--output", str(output), "--orders")

    assert run("settings", "apply", str(output), "--dry-run").code == 0
    assert run("settings", "apply", str(output), "--yes").code == 0
    assert run("settings", "diff", str(output)).code == 0


@pytest.mark.usefixtures("without_aws")
def test_orders_among_the_names_get_a_status(run: Run, tmp_path: Path, output: Path) -> None:
    names = ("Order Updated", "Order Completed", "Order Cancelled", "Order Refunded", "Order Placed")
    events = events_in(tmp_path, *({**ORDER, "event": name} for name in names))
    run("mapping", "init", events, "--output", str(output), "--orders")

    assert settings_in(output)["orderEvents"] == {
        "Order Completed": "PAID",
        "Order Updated": "CREATED",
        "Order Cancelled": "CANCELED",
        "Order Refunded": "CANCELED",
    }
    ended = run("mapping", "init", events_in(tmp_path, IDENTIFY), "--output", str(output), "--orders", "--force")
    assert "orderEvents" not in settings_in(output)
    assert "! none of the events is an order: Order Completed, " in ended.out


def test_without_events_there_is_an_example(run: Run, output: Path) -> None:
    assert run("mapping", "init", "--output", str(output)).code == 0
    settings = settings_in(output)
    assert list(settings["trackMapping"]) == ["Order Completed", "*"]

    other = {**ORDER, "event": "Signed Up"}
    with_it, without = (explain(other, EventMapping.compile(one)) for one in (settings, {}))
    assert with_it.filled == without.filled  # `*` has the default rows
    assert run("settings", "apply", str(output), "--dry-run").code == 0

    run("mapping", "init", "--output", str(output), "--orders", "--force")
    assert len(settings_in(output)["orderEvents"]) == 4


@pytest.mark.usefixtures("without_aws")
def test_what_no_row_can_have_is_named(run: Run, tmp_path: Path, output: Path) -> None:
    properties = {"a.b": 1, "c": {"": 2}, "x{{y": 3, "fine": 4, **{f"odd.{number}": 5 for number in range(9)}}
    events = events_in(
        tmp_path,
        {**ORDER, "properties": properties},
        {**ORDER, "event": "properties"},
        {**ORDER, "event": "{{x}}"},
        {**ORDER, "event": None},
        {**ORDER, "type": "page"},
        {**ORDER, "type": "page"},
        {},
    )
    ended = run("mapping", "init", events, "--output", str(output))

    assert settings_in(output) == {"trackMapping": {"Order Completed": {"properties.fine": "metadata.fine"}}}
    assert [line for line in ended.out.splitlines() if line.startswith("!")] == [
        "! properties: no rows: a settings file cannot tell this event name from a source",
        "! {{x}}: no rows: the event name cannot be stored in SSM",
        '! Order Completed: no row for properties."a.b", properties.c."", properties."x{{y", properties."odd.0", '
        'properties."odd.1" and 7 more: its key has characters that a destination cannot have',
        "! events without rows: 2 page, 1 track without a name, 1 invalid_event",
    ]
    document = run("mapping", "init", events, "--output", str(output), "--force", "--json").json
    assert document["settings"] == settings_in(output)
    assert document["unused"] == {"page": 2, "track without a name": 1, "invalid_event": 1}
    assert [(one["event"], len(one["sources"])) for one in document["notMapped"]] == [
        ("properties", 0),
        ("{{x}}", 0),
        ("Order Completed", 12),
    ]


def test_more_than_4_kb_is_spread_over_parameters(run: Run, tmp_path: Path, output: Path) -> None:
    properties = {f"property_{number:02}": number for number in range(20)}
    names = [f"Event {number}" for number in range(12)]
    events = events_in(tmp_path, *({**ORDER, "event": name, "properties": properties} for name in names))
    assert run("mapping", "init", events, "--output", str(output)).code == 0

    settings = settings_in(output)
    assert list(settings) == ["trackMapping.1", "trackMapping.2", "trackMapping.3"]
    assert [name for one in settings.values() for name in one] == names
    assert run("settings", "apply", str(output), "--yes").code == 0
    assert run("preview", events, "--json").json["notSent"] == []


def test_rows_without_room_are_left_out_and_named(run: Run, tmp_path: Path, output: Path) -> None:
    properties = {f"property_{number:03}": number for number in range(400)}
    traits = {**IDENTIFY, "traits": properties}
    events = events_in(tmp_path, {**ORDER, "properties": properties}, traits)
    ended = run("mapping", "init", events, "--output", str(output))

    settings = settings_in(output)
    assert 70 < len(settings["trackMapping"]["Order Completed"]) < 90
    assert "! Order Completed: no row for properties.property_0" in ended.out
    assert "! identify: no row for traits.property_0" in ended.out
    assert "a parameter of 4 KB has no room for it" in ended.out
    assert run("settings", "apply", str(output), "--dry-run").code == 0


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, "", 0, 1.5, True, "text", []]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@given(
    st.lists(
        st.builds(
            lambda type_, name, data: {
                "type": type_,
                "userId": "u-1",
                "event": name,
                "properties": data,
                "traits": data,
            },
            st.sampled_from(["track", "identify"]),
            st.sampled_from(["A", "Order Completed", "context"]) | KEYS,
            st.dictionaries(KEYS, VALUES, max_size=5),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_of_any_events_the_file_is_valid_and_says_what_it_leaves_out(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any]
) -> None:
    found = StartingFile()
    for event in events:
        found.add(event)
    settings = found.settings(has_orders=True)
    path = tmp_path_factory.mktemp("mapping") / "mapping.json"
    path.write_text(json.dumps(settings, ensure_ascii=False), "utf-8")
    parameters, faults = read_file(path)
    assert faults == []
    assert all(
        len(parameter.value.encode()) <= 4096 and "{{" not in parameter.value for parameter in parameters.values()
    )

    mapping = EventMapping.compile(settings)
    named = {(event, source) for event, _, sources in found.not_mapped for source in sources or [""]}
    for event in events:
        is_track = event["type"] == "track"
        if is_track and not event["event"].strip():
            continue  # rejected: it has no name
        name, payload = (event["event"], "properties") if is_track else ("", "traits")
        # No row sends the payload of the other call.
        own = {key: value for key, value in event.items() if key == payload or key not in ("traits", "properties")}
        for source in explain(own, mapping).not_sent:
            assert {(name, ""), (name, f"{payload}.{source}")} & named


@pytest.mark.usefixtures("without_aws")
class TestRefused:
    def test_a_file_is_not_overwritten(self, run: Run, output: Path) -> None:
        output.write_text("mine")
        ended = run("mapping", "init", "--output", str(output))

        assert (ended.code, ended.err) == (2, f"✗ {output} exists\n  give --force to overwrite it\n")
        assert output.read_text() == "mine"

    def test_another_ending(self, run: Run, tmp_path: Path) -> None:
        ended = run("mapping", "init", "--output", str(tmp_path / "mapping.toml"))

        assert ended.code == 2
        assert "does not end in .json" in ended.err

    def test_a_directory_that_is_not_there(self, run: Run, tmp_path: Path) -> None:
        ended = run("mapping", "init", "--output", str(tmp_path / "nowhere" / "mapping.json"))

        assert ended.code == 2
        assert "cannot be written: No such file or directory" in ended.err

    def test_events_without_data(self, run: Run, tmp_path: Path, output: Path) -> None:
        ended = run("mapping", "init", events_in(tmp_path, {**ORDER, "type": "page"}), "--output", str(output))

        assert ended.code == 1
        assert "no track or identify event has data for a row" in ended.err
        assert not output.exists()


def test_the_help_has_examples(run: Run) -> None:
    assert "mapping init segment-archive/ --output mapping.json" in " ".join(
        run("mapping", "init", "--help").out.split()
    )
