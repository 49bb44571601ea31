"""`preview`: one event field by field, many by their coverage, and what another mapping would change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.stack.samples import EVENTS
from local.stack.system import LocalSystem
from local.voucherify_stub.metadata import metadata_schema
from local.voucherify_stub.stub import Fault
from tests.cli.conftest import Run

PRESET = EVENTS / "presets" / "order_completed.json"
REFERRAL = EVENTS / "presets" / "referral.json"

TRACK = {"type": "track", "messageId": "e-1", "userId": "u-1", "event": "Order Completed"}


@pytest.fixture
def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_client(self: boto3.Session, service: str, **options: Any) -> None:
        pytest.fail(f"a client of {service} was made")

    monkeypatch.setattr(boto3.Session, "client", no_client)


def written(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


def events_in(tmp_path: Path, *events: Any) -> Path:
    return written(tmp_path / "events.jsonl", "\n".join(map(json.dumps, events)))


def mapping_in(tmp_path: Path, **settings: Any) -> Path:
    return written(tmp_path / "settings.json", settings)


@pytest.mark.usefixtures("without_aws")
def test_one_event_shows_request_and_origins(run: Run) -> None:
    ended = run("preview", str(PRESET), "--mapping", str(PRESET))
    assert ended.code == 0
    assert "✓ POST /v1/events" in ended.out
    assert "metadata.total\tproperties.total\t27.5\n" in ended.out
    assert 'customer.source_id\tuserId (fallback)\t"u-1815"\n' in ended.out

    document = run("preview", str(PRESET), "--mapping", str(PRESET), "--json").json
    assert document["request"] == json.loads(PRESET.read_text())["request"]


@pytest.mark.usefixtures("without_aws")
def test_explanation_sections(run: Run, tmp_path: Path) -> None:
    event = {**TRACK, "properties": {"zip": 10115, "email": {"no": "text"}, "a": 1, "b": 2}}
    rows = {"zip": "customer.address.postal_code", "email": "customer.email", "mail": "customer.phone"}
    mapping = mapping_in(tmp_path, trackMapping={**rows, "a": "metadata.x", "b": "metadata.x"})
    ended = run("preview", str(written(tmp_path / "event.json", event)), "--mapping", str(mapping))
    assert ended.code == 0
    assert 'customer.address.postal_code\tproperties.zip\t10115 → "10115" (converted)' in ended.out
    assert "Left out\nfield\tfrom\treason\ncustomer.email\temail\t" in ended.out
    assert "Found but not sent\nfield\tfrom\treason\nmetadata.x\tproperties.a\treplaced by b" in ended.out
    assert "Empty\nfield\tfrom\ncustomer.phone\tmail" in ended.out


@pytest.mark.usefixtures("without_aws")
def test_skipped_exits_0_rejected_exits_1(run: Run, tmp_path: Path) -> None:
    mapping = written(tmp_path / "settings.toml", "trackDisabled = true\n")
    ended = run("preview", str(written(tmp_path / "event.json", TRACK)), "--mapping", str(mapping))
    assert (ended.code, ended.out) == (0, "- skipped: track_disabled\n")

    nobody = {name: value for name, value in TRACK.items() if name != "userId"}
    ended = run("preview", str(written(tmp_path / "event.json", nobody)), "--mapping", str(REFERRAL))
    assert ended.code == 1
    assert "✗ rejected: customer_id_missing: no userId or anonymousId" in ended.out


def test_current_mapping_of_each_source(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    system.aws.put_settings(
        {"trackMapping": '{"total": "metadata.common"}', "app/trackMapping": '{"total": "metadata.of_app"}'}
    )
    event = str(written(tmp_path / "event.json", {**TRACK, "properties": {"total": 5}}))
    assert run("preview", event, "--json").json["request"]["body"]["metadata"] == {"common": 5}
    assert run("preview", event, "--source", "app", "--json").json["request"]["body"]["metadata"] == {"of_app": 5}

    ended = run("preview", event, "--source", "shop")
    assert (ended.code, ended.err) == (1, "✗ source shop has no settings\n  sources with settings: default, app\n")


def test_faulty_current_settings(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    system.aws.put_settings({"trackMapping": '{"total": "metadat.total"}', "trackDisabled": "maybe"})
    ended = run("preview", str(written(tmp_path / "event.json", TRACK)))
    assert ended.code == 1
    assert "trackDisabled: must be true or false" in ended.err
    assert "'metadat.total' is not a Voucherify field" in ended.err


@pytest.mark.usefixtures("without_aws")
@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("s.json", {"trackMaping": {}}, "trackMaping: unknown setting; did you mean 'trackMapping'?"),
        ("s.json", {"email": "customer.email"}, "put a mapping under the name of its setting"),
        ("s.json", {"trackMapping": {"email": "customer.mail"}}, "'customer.mail' is not a Voucherify field"),
        ("s.toml", "trackMapping = ", "is not TOML"),
        ("s.json", "[]", "is not an object of settings"),
    ],
)
def test_a_faulty_file_of_settings_is_refused(run: Run, tmp_path: Path, name: str, content: Any, problem: str) -> None:
    mapping = written(tmp_path / name, content)
    ended = run("preview", str(written(tmp_path / "event.json", TRACK)), "--mapping", str(mapping))
    assert ended.code in (1, 2)
    assert problem in ended.err


@pytest.mark.usefixtures("without_aws")
def test_many_events_are_counted(run: Run, tmp_path: Path) -> None:
    rows = {
        "total": "metadata.total",
        "mail": "customer.email",
        "name": "customer.firstName",
        "crm": "customer.metadata",
    }
    events = events_in(
        tmp_path,
        {**TRACK, "properties": {"total": 5, "name": "Ada", "crm": {"tier": 1}}},
        {**TRACK, "properties": {"total": 7}, "messageId": None},
        {**TRACK, "properties": {"crm": "no object"}},
        {**TRACK, "userId": None},
        {**TRACK, "type": "page"},
        {"type": "identify", "userId": "u-1", "messageId": "e-2", "traits": {"email": "ada@example.com"}},
        {},
    )
    arguments = ("preview", str(events), "--mapping", str(mapping_in(tmp_path, trackMapping=rows)))
    document = run(*arguments, "--json").json
    assert document["delivered"] == [
        {"call": "track", "event": "Order Completed", "count": 3},
        {"call": "identify", "event": "", "count": 1},
    ]
    assert document["skipped"] == {"page_disabled": 1}
    assert document["rejected"] == {"customer_id_missing": 1, "invalid_event": 1}
    assert (document["events"], document["withoutCustomer"], document["withoutMessageId"]) == (7, 1, 2)
    filled = {row["destination"]: row["filled"] for row in document["rows"] if row["setting"] == "trackMapping"}
    assert filled == {"metadata.total": 2, "customer.email": 0, "customer.firstName": 1, "customer.metadata": 1}
    assert [(out["destination"], out["count"]) for out in document["leftOut"]] == [("customer.metadata", 1)]

    ended = run(*arguments)
    assert ended.code == 1
    assert ended.out.startswith("7 events: 4 delivered, 1 skipped, 2 rejected\n")
    assert (
        "\nRows of trackMapping, for 3 events\nsource\tdestination\tused by\ntotal\tmetadata.total\t2 of 3\n"
        in ended.out
    )
    assert "mail\tcustomer.email\tnever\n" in ended.out
    assert "\nRows of identifyMapping (default), for 1 event\n" in ended.out
    assert f"rejected\tinvalid_event, first {events}:7\t1\n" in ended.out


ORDERS = {"orderEvents": {"Order Completed": "PAID"}}
PROPERTIES = {"order_id": "o-1", "total": 27.5, "currency": "EUR", "email": "ada@example.com", "subtotal": 22}


@pytest.mark.usefixtures("without_aws")
def test_every_request_of_an_event_is_shown(run: Run, tmp_path: Path) -> None:
    event = str(written(tmp_path / "event.json", {**TRACK, "properties": PROPERTIES}))
    rows = {"Order *": {"email": "customer.email", "affiliation": "metadata.shop"}}
    mapping = str(mapping_in(tmp_path, trackMapping=rows, **ORDERS))
    document = run("preview", event, "--mapping", mapping, "--json").json
    order = document["also"][0]
    customer = {"email": "ada@example.com", "source_id": "u-1"}
    assert document["request"]["body"] == {"event": "Order Completed", "customer": customer}
    assert order["request"]["body"] == {
        "source_id": "o-1",
        "amount": 2750,
        "metadata": {"currency": "EUR"},
        "status": "PAID",
        "customer": customer,
    }
    assert (document["mappedBy"], order["mappedBy"]) == ("trackMapping['Order *']", "the default mapping")
    assert document["notSent"] == ["subtotal"]

    ended = run("preview", event, "--mapping", mapping)
    custom_event, of_order = ended.out.split("\n\n✓ POST /v1/orders\n")
    assert ended.code == 0
    assert custom_event.startswith("✓ POST /v1/events\n  by trackMapping['Order *']\n{\n")
    assert custom_event.endswith("\nEmpty\nfield\tfrom\nmetadata.shop\taffiliation")
    assert of_order.startswith("  by the default mapping\n{\n")
    assert "\norder.amount\tproperties.total\t27.5 → 2750 (converted)\n" in of_order
    assert '\norder.status\tevent (by orderEvents)\t"Order Completed" → "PAID" (converted)\n' in of_order
    assert of_order.endswith("\n\nNot sent: subtotal — add a row?\n")
    assert ended.out.count("subtotal") == 1


@pytest.mark.usefixtures("without_aws")
def test_an_order_that_cannot_be_made_exits_1(run: Run, tmp_path: Path) -> None:
    event = written(tmp_path / "event.json", {**TRACK, "properties": {"total": 5}})
    mapping = str(mapping_in(tmp_path, **ORDERS))
    ended = run("preview", str(event), "--mapping", mapping)
    assert ended.code == 1
    assert ended.out.startswith("✓ POST /v1/events\n")
    assert "\n✗ rejected: order_id_missing: no order_id" in ended.out

    events = events_in(tmp_path, {**TRACK, "properties": {"total": 5}}, {**TRACK, "properties": PROPERTIES})
    ended = run("preview", str(events), "--mapping", mapping)
    assert ended.code == 1
    assert ended.out.splitlines()[:5] == [
        "2 events: 1 delivered, 0 skipped, 1 rejected",
        "outcome\tof\tevents",
        "delivered\ttrack Order Completed\t2",
        "delivered\torder: Order Completed\t1",
        f"rejected\torder_id_missing, first {events}:1\t1",
    ]


@pytest.mark.usefixtures("without_aws")
def test_many_events_are_counted_by_event_name(run: Run, tmp_path: Path) -> None:
    viewed = {**TRACK, "event": "Product Viewed", "properties": {"sku": "G-1", "price": 5}}
    events = events_in(
        tmp_path,
        *({**TRACK, "messageId": f"e-{number}", "properties": PROPERTIES} for number in range(3)),
        viewed,
        {**viewed, "event": "Cart Viewed"},
        {"type": "identify", "messageId": "e-9", "userId": "u-1", "traits": {"plan": "gold"}},
    )
    mapping = mapping_in(
        tmp_path,
        **{"trackMapping.views": {"Product Viewed": {"sku": "metadata.sku"}, "Products Viewed": {}}},
        trackMapping={"Order Completed": {"total": "metadata.total", "coupon": "metadata.coupon"}},
        **ORDERS,
    )
    arguments = ("preview", str(events), "--mapping", str(mapping))
    document = run(*arguments, "--json").json
    assert document["delivered"] == [
        {"call": "track", "event": "Order Completed", "count": 3},
        {"call": "track", "event": "Product Viewed", "count": 1},
        {"call": "track", "event": "Cart Viewed", "count": 1},
        {"call": "identify", "event": "", "count": 1},
    ]
    assert document["orders"] == [{"event": "Order Completed", "count": 3}]
    of_own = [row for row in document["rows"] if row["mappedBy"] != "the default mapping"]
    assert of_own == [
        {"setting": "trackMapping", "mappedBy": by, "source": source, "destination": f"metadata.{source}", **counts}
        for by, source, counts in (
            ("trackMapping['Order Completed']", "total", {"filled": 3, "events": 3}),
            ("trackMapping['Order Completed']", "coupon", {"filled": 0, "events": 3}),
            ("trackMapping.views['Product Viewed']", "sku", {"filled": 1, "events": 1}),
        )
    ]
    assert [(row["filled"], row["events"]) for row in document["rows"] if row["destination"] == "order.amount"] == [
        (0, 3),
        (3, 3),
    ]
    assert document["unusedMappings"] == ["trackMapping.views['Products Viewed']"]
    assert document["notSent"] == [
        {"call": "track", "event": "Order Completed", "property": "email", "count": 3},
        {"call": "track", "event": "Order Completed", "property": "subtotal", "count": 3},
        {"call": "track", "event": "Product Viewed", "property": "price", "count": 1},
        {"call": "track", "event": "Cart Viewed", "property": "sku", "count": 1},
        {"call": "track", "event": "Cart Viewed", "property": "price", "count": 1},
        {"call": "identify", "event": "", "property": "plan", "count": 1},
    ]
    ended = run(*arguments)
    title = "\nRows of trackMapping.views['Product Viewed'], for 1 event\n"
    assert f"{title}source\tdestination\tused by\nsku\tmetadata.sku\t1 of 1\n" in ended.out
    assert "\n! no event has the mapping trackMapping.views['Products Viewed']\n" in ended.out
    assert "\nNot sent — add a row?\nevent\tproperty\tevents\ntrack Order Completed\temail\t3\n" in ended.out


@pytest.mark.usefixtures("without_aws")
def test_against_compares_every_request(run: Run, tmp_path: Path) -> None:
    events = events_in(
        tmp_path,
        {**TRACK, "properties": PROPERTIES},
        {**TRACK, "messageId": "e-2", "properties": {"total": 5}},
        {**TRACK, "messageId": "e-3", "event": "Signed Up"},
    )
    old = str(mapping_in(tmp_path, **ORDERS))
    new = str(written(tmp_path / "new.json", {**ORDERS, "orderMapping": {"Order *": {"order_id": "order.source_id"}}}))
    document = run("preview", str(events), "--mapping", old, "--against", new, "--json").json
    assert (document["changed"], document["nowRejected"]) == (1, 0)
    assert document["examples"][0]["changes"] == [
        {"place": "order.amount", "before": 2750},
        {"place": "order.metadata.currency", "before": "EUR"},
    ]

    ended = run("preview", str(events), "--mapping", "classic", "--against", old)
    assert ended.code == 1
    assert "✗ 1 of them would be rejected, and are not rejected now" in ended.out
    assert 'order.outcome\t—\t"POST /v1/orders"\n' in ended.out
    assert 'order.outcome\t—\t"rejected: order_id_missing"\n' in ended.out


def test_against_keeps_what_the_file_does_not_name(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    """As `settings apply` does."""
    system.aws.put_settings(
        {
            "trackMapping": '{"total": "metadata.total"}',
            "trackMapping.views": '{"Product Viewed": {"sku": "metadata.sku"}}',
            "identifyDisabled": "true",
        }
    )
    events = events_in(
        tmp_path,
        {**TRACK, "properties": {"total": 5}},
        {**TRACK, "event": "Product Viewed", "properties": {"sku": "G-1"}},
        {"type": "identify", "userId": "u-1", "traits": {"email": "ada@example.com"}},
    )
    file = str(mapping_in(tmp_path, **{"trackMapping.orders": {"Order Completed": {"total": "metadata.sum"}}}))
    document = run("preview", str(events), "--against", file, "--json").json
    assert document["changed"] == 1
    assert document["fields"] == {"metadata.total": 1, "metadata.sum": 1}
    assert run("settings", "apply", file, "--yes").code == 0
    assert run("preview", str(events), "--against", file).out == "0 of 3 events change\n"


def test_against_what_apply_would_refuse_is_refused(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    system.aws.put_settings({"trackMapping.a": '{"Order Completed": {"total": "metadata.total"}}'})
    file = str(mapping_in(tmp_path, **{"trackMapping.b": {"Order Completed": {}}}))
    ended = run("preview", str(events_in(tmp_path, TRACK)), "--against", file)
    assert (ended.code, " too\n" in ended.err) == (1, True)


@pytest.mark.usefixtures("without_aws")
def test_standard_input_is_read_and_a_bad_line_is_left_out(run: Run) -> None:
    lines = "\n".join([json.dumps(TRACK), "{not JSON", "", "42", json.dumps({**TRACK, "messageId": "e-2"})])
    ended = run("preview", "-", "--mapping", "classic", stdin=lines)
    assert ended.code == 1
    assert ended.out.startswith("2 events: 2 delivered, 0 skipped, 0 rejected\n")
    assert "✗ -:2 is not JSON: " in ended.err
    assert "✗ -:4 is neither an event nor an array of events" in ended.err
    assert len(run("preview", "-", "--mapping", "classic", "--json", stdin=lines).json["unreadable"]) == 2


@pytest.mark.usefixtures("without_aws")
def test_an_order_is_told_from_the_custom_event_that_is_rejected(run: Run, tmp_path: Path) -> None:
    event = str(written(tmp_path / "event.json", {**TRACK, "properties": {**PROPERTIES, "name": "x" * 400}}))
    old, new = ORDERS, {**ORDERS, "trackMapping": {"Order Completed": {"name": "event"}}}
    files = [str(written(tmp_path / name, value)) for name, value in (("old.json", old), ("new.json", new))]
    document = run("preview", event, "--mapping", files[0], "--against", files[1], "--json").json
    places = {change["place"]: change.get("after") for change in document["examples"][0]["changes"]}
    assert places["outcome"] == "rejected: invalid_event_name"
    assert "order.outcome" not in places


def test_against_shows_changes(run: Run, tmp_path: Path) -> None:
    events = events_in(
        tmp_path,
        *({**TRACK, "messageId": f"e-{number}", "properties": {"total": number}} for number in range(9)),
        {"type": "identify", "userId": "u-1"},
    )
    old = mapping_in(tmp_path, trackMapping={"total": "metadata.total"})
    new = written(tmp_path / "new.toml", 'trackMapping = {total = ["metadata.sum", "metadata.total"]}\n')
    arguments = ("preview", str(events), "--mapping", str(old), "--against", str(new), "--examples", "2")
    document = run(*arguments, "--json").json
    assert (document["events"], document["changed"], document["fields"]) == (10, 9, {"metadata.sum": 9})
    assert [example["changes"] for example in document["examples"]] == [
        [{"place": "metadata.sum", "after": 0}],
        [{"place": "metadata.sum", "after": 1}],
    ]
    ended = run(*arguments)
    assert ended.code == 0
    assert ended.out.startswith("9 of 10 events change\nfield\tchanges in\nmetadata.sum\t9\n")
    assert f"{events}:1 (e-0)\nfield\tbefore\tafter\nmetadata.sum\t—\t0\n" in ended.out


def test_against_current_mapping_exits_1_on_new_rejections(run: Run, tmp_path: Path) -> None:
    event = str(written(tmp_path / "event.json", {**TRACK, "properties": {"name": "x" * 400}}))
    assert run("preview", event, "--against", str(REFERRAL)).code == 0
    ended = run("preview", event, "--against", str(mapping_in(tmp_path, trackMapping={"name": "event"})))
    assert ended.code == 1
    assert "1 of them would be rejected, and are not rejected now" in ended.out


@pytest.mark.usefixtures("without_aws")
def test_a_set_of_defaults_is_a_mapping_and_is_compared_with_the_other(run: Run, tmp_path: Path) -> None:
    properties = {"name": "Mug", "loyalty": {"code": "CARD-1"}, "metadata": {"total": 5}}
    context = {"traits": {"email": "ada@example.com"}}
    events = events_in(tmp_path, {**TRACK, "properties": properties, "context": context}, TRACK)
    document = run("preview", str(events), "--mapping", "classic", "--against", "actions", "--json").json
    assert (document["events"], document["changed"]) == (2, 1)
    assert {change["place"]: change.get("after") for change in document["examples"][0]["changes"]} == {
        "customer.name": None,
        "customer.metadata.total": None,
        "customer.email": "ada@example.com",
        "loyalty.code": "CARD-1",
        "metadata.total": 5,
    }
    back = run("preview", str(events), "--mapping", "actions", "--against", "classic", "--json").json
    assert back["fields"] == document["fields"]
    assert run("preview", str(events), "--mapping", "actions", "--against", "actions").out == "0 of 2 events change\n"


def test_against_a_set_of_defaults_the_other_settings_stay(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    system.aws.put_settings({"trackMapping": '{"total": "metadata.total"}', "requireUserId": "true"})
    events = events_in(
        tmp_path,
        {**TRACK, "properties": {"total": 5, "loyalty": {"code": "CARD-1"}}},
        {"type": "identify", "userId": "u-1", "traits": {"birthdate": "1990-12-10"}},
        {"type": "identify", "anonymousId": "a-1", "traits": {"birthdate": "1990-12-10"}},
    )
    ended = run("preview", str(events), "--against", "actions")
    assert (ended.code, ended.out.splitlines()[:3]) == (
        0,
        ["1 of 3 events change", "field\tchanges in", "birthdate\t1"],
    )
    assert ended.err == "compared without the defaults of trackMapping, which the settings replace by their own rows\n"


@pytest.mark.usefixtures("without_aws")
@pytest.mark.parametrize(("name", "is_noted"), [("Order *", False), ("*", True)])
def test_defaults_of_events_that_have_no_own_mapping_are_compared(
    run: Run, tmp_path: Path, name: str, is_noted: bool
) -> None:
    event = {**TRACK, "event": "Signed Up", "context": {"traits": {"email": "ada@example.com"}}}
    mapping = str(mapping_in(tmp_path, **{"trackMapping.a": {name: {"total": "metadata.total"}}}))
    ended = run("preview", str(events_in(tmp_path, event)), "--mapping", mapping, "--against", "actions")
    assert ended.out.startswith(f"{0 if is_noted else 1} of 1 events change\n")
    assert ("compared without the defaults of trackMapping," in ended.err) is is_noted


def test_events_are_mapped_as_those_of_a_webhook(run: Run, tmp_path: Path) -> None:
    event = written(tmp_path / "event.json", {**TRACK, "integrations": {"All": False, "Webhooks": True}})
    assert run("preview", str(event), "--mapping", "classic").out.startswith("✓ POST /v1/events\n")


def test_help_has_examples(run: Run) -> None:
    assert "preview segment-archive/ --against new-settings.json" in run("preview", "--help").out


def test_metadata_that_the_projects_schema_refuses_is_marked(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    required = {"type": "string", "optional": False}
    system.voucherify.metadata_schemas = [
        metadata_schema("customer", strict=True, age={"type": "number"}, plan=required)
    ]
    event = {"type": "identify", "userId": "u-1", "traits": {"metadata": {"age": "36", "size": 39}}}
    path = str(written(tmp_path / "event.json", event))

    assert run("preview", path, "--json").json["metadata"] == [
        {"field": "customer.metadata.age", "value": "36", "action": "36, converted"},
        {
            "field": "customer.metadata.size",
            "value": 39,
            "action": "left out: does not fit Voucherify's metadata schema: "
            "the schema does not define it, and allows only defined metadata",
        },
        {"field": "customer.metadata.plan", "value": None, "action": "required: the event is rejected"},
    ]
    assert "Refused by the project's metadata schema" in run("preview", path).out


def test_metadata_of_an_order_is_marked_too(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    system.voucherify.metadata_schemas = [
        metadata_schema("order", strict=True, currency={"type": "string"}, tax={"type": "string"}),
        metadata_schema("customer", vip={"type": "boolean"}),
    ]
    system.aws.put_settings(
        {"orderEvents": '{"Order Completed": "PAID"}', "trackMapping": '{"vip": "customer.metadata.vip"}'}
    )
    properties = {**PROPERTIES, "tax": 2, "shipping": 3, "vip": "true"}
    path = str(written(tmp_path / "event.json", {**TRACK, "properties": properties}))
    document = run("preview", path, "--json").json

    vip = {"field": "customer.metadata.vip", "value": "true", "action": "true, converted"}
    assert document["metadata"] == [vip]
    assert document["also"][0]["metadata"] == [
        {"field": "order.metadata.tax", "value": 2, "action": '"2", converted'},
        vip,
        {
            "field": "order.metadata.shipping",
            "value": 3,
            "action": "left out: does not fit Voucherify's metadata schema: "
            "the schema does not define it, and allows only defined metadata",
        },
    ]


def test_preview_does_without_schemas_that_cannot_be_read(run: Run, system: LocalSystem, tmp_path: Path) -> None:
    system.voucherify.rule = lambda request: Fault(drop="before")
    path = str(written(tmp_path / "event.json", {"type": "identify", "userId": "u-1"}))

    assert run("preview", path).code == 0
