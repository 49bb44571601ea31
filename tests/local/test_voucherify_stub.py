"""The stub for Voucherify, met as the destination meets it: over real HTTP on the loopback."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import urllib3

from local.voucherify_stub.api import Answer, VoucherifyApi
from local.voucherify_stub.metadata import metadata_schema
from local.voucherify_stub.real import RealVoucherify
from local.voucherify_stub.stub import Call, Fault, RateLimit, Request, VoucherifyStub
from tests.contract.published import published_model

CREDENTIALS = {"X-App-Id": "app-id", "X-App-Token": "app-token"}
HEADERS = {**CREDENTIALS, "Content-Type": "application/json"}
NOW = 1_700_000_000.0
ADA = {"source_id": "user-1", "name": "Ada Lovelace", "email": "ada@example.com"}
ORDER = {"event": "Order Completed", "customer": {"source_id": "user-1"}}
VASE = {"source_id": "vase", "related_object": "product", "quantity": 2, "price": 1500}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Client:
    """urllib3 on one kept connection, with nothing retried and nothing followed."""

    def __init__(self, url: str, read_timeout: float = 60.0) -> None:
        timeout = urllib3.Timeout(connect=60.0, read=read_timeout)
        self.pool = urllib3.connection_from_url(url, maxsize=1, timeout=timeout, retries=False)

    def post(self, path: str, body: object, **headers: str) -> urllib3.BaseHTTPResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.pool.request("POST", path, body=raw, headers={**HEADERS, **headers})

    def customer(self, body: object) -> urllib3.BaseHTTPResponse:
        return self.post("/v1/customers", body)

    def event(self, body: object) -> urllib3.BaseHTTPResponse:
        return self.post("/v1/events", body)

    def list_customers(self, query: str = "", **headers: str) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", f"/v1/customers{query}", headers={**CREDENTIALS, **headers})

    def bulk(self, body: object) -> urllib3.BaseHTTPResponse:
        return self.post("/v1/customers/bulk/async", body)

    def order(self, body: object) -> urllib3.BaseHTTPResponse:
        return self.post("/v1/orders", body)

    def list_orders(self, query: str = "") -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", f"/v1/orders{query}", headers=CREDENTIALS)

    def import_orders(self, body: object) -> urllib3.BaseHTTPResponse:
        return self.post("/v1/orders/import", body)

    def finished(self, accepted: urllib3.BaseHTTPResponse) -> Any:
        """Return the action of a bulk call or an import after it is applied."""
        self.action(accepted.json()["async_action_id"])
        return self.action(accepted.json()["async_action_id"]).json()

    def action(self, action_id: str) -> urllib3.BaseHTTPResponse:
        return self.pool.request("GET", f"/v1/async-actions/{action_id}", headers=CREDENTIALS)

    def delete_permanently(self, segment: str) -> urllib3.BaseHTTPResponse:
        """Without a body and a Content-Type; `segment` is the customer's id as it is in a path."""
        return self.pool.request("POST", f"/v1/customers/{segment}/permanent-deletion", headers=CREDENTIALS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def voucherify(clock: Clock) -> Iterator[VoucherifyStub]:
    with VoucherifyStub(api_key="app-id", api_token="app-token", clock=clock) as stub:
        yield stub


@pytest.fixture
def client(voucherify: VoucherifyStub) -> Iterator[Client]:
    client = Client(voucherify.url)
    yield client
    client.pool.close()


def limited(clock: Clock, calls: int, seconds: float) -> VoucherifyStub:
    limit = RateLimit(calls, seconds)
    return VoucherifyStub(api_key="app-id", api_token="app-token", clock=clock, limit=limit)


def connect(voucherify: VoucherifyStub) -> socket.socket:
    port = int(voucherify.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def raw_request(body: bytes = json.dumps(ORDER).encode(), *extra: str) -> bytes:
    lines = ["POST /v1/events HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *extra]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class TestCustomers:
    def test_an_unknown_source_id_creates_a_customer(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.customer({**ADA, "metadata": {"plan": "pro"}})

        customer = answer.json()
        assert answer.status == 200
        assert customer["id"].startswith("cust_")
        assert {key: customer[key] for key in ADA} == ADA
        assert customer["metadata"] == {"plan": "pro"}
        assert customer["object"] == "customer"
        assert customer["created_at"] == "2023-11-14T22:13:20.000Z"
        assert customer["updated_at"] is None
        assert voucherify.customers == {"user-1": customer}

    def test_a_known_source_id_updates_what_is_given_and_keeps_the_rest(self, client: Client, clock: Clock) -> None:
        first = client.customer({**ADA, "metadata": {"plan": "pro", "seats": 3}}).json()
        clock.now += 1.5
        given = {"source_id": "user-1", "email": "new@example.com", "metadata": {"seats": 4}}
        second = client.customer(given).json()

        assert second["id"] == first["id"]
        assert second["name"] == "Ada Lovelace"
        assert second["email"] == "new@example.com"
        assert second["metadata"] == {"plan": "pro", "seats": 4}
        assert second["created_at"] == first["created_at"]
        assert second["updated_at"] == "2023-11-14T22:13:21.500Z"

    def test_an_id_goes_before_a_source_id(self, voucherify: VoucherifyStub, client: Client) -> None:
        known = client.customer(ADA).json()
        answer = client.customer({"id": known["id"], "source_id": "user-2", "phone": "+44 1"})

        assert answer.json()["source_id"] == "user-1"
        assert voucherify.customers["user-1"]["phone"] == "+44 1"
        assert list(voucherify.customers) == ["user-1"]

    def test_an_id_that_voucherify_never_gave_is_not_found(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.customer({"id": "cust_unknown"})

        assert answer.status == 404
        assert answer.json()["key"] == "not_found"
        assert answer.json()["resource_id"] == "cust_unknown"
        assert answer.json()["resource_type"] == "customer"
        assert voucherify.customers == {}

    def test_customers_without_a_source_id_are_kept_apart(self, voucherify: VoucherifyStub, client: Client) -> None:
        first, second = client.customer({}).json(), client.customer({}).json()

        assert first["source_id"] is None
        assert set(voucherify.customers) == {first["id"], second["id"]}

    def test_ids_do_not_depend_on_the_order_of_calls(self, voucherify: VoucherifyStub, client: Client) -> None:
        before = client.customer(ADA).json()["id"]
        voucherify.reset()
        client.customer({"source_id": "user-2"})

        assert client.customer(ADA).json()["id"] == before


class TestListOfCustomers:
    def test_it_has_as_many_as_are_asked_for_and_counts_all(self, voucherify: VoucherifyStub, client: Client) -> None:
        for number in range(3):
            client.customer({"source_id": f"user-{number}"})
        answer = client.list_customers("?limit=2")

        customers = list(voucherify.customers.values())
        assert answer.status == 200
        assert answer.json() == {
            "object": "list",
            "data_ref": "customers",
            "customers": customers[:2],
            "total": 3,
        }

    def test_it_has_ten_where_nothing_else_is_asked_for(self, client: Client) -> None:
        for number in range(11):
            client.customer({"source_id": f"user-{number}"})

        assert len(client.list_customers().json()["customers"]) == 10

    @pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?limit=", "?limit=x", "?limit=1&page=2"])
    def test_what_the_stub_does_not_know_is_an_invalid_payload(self, client: Client, query: str) -> None:
        assert client.list_customers(query).status == 400

    def test_a_body_is_an_invalid_payload(self, client: Client) -> None:
        assert client.pool.request("GET", "/v1/customers", headers=HEADERS, body=b"{}").status == 400

    def test_other_credentials_are_unauthorized(self, client: Client) -> None:
        assert client.list_customers("?limit=1", **{"X-App-Token": "other"}).status == 401


class TestEvents:
    def test_an_event_is_applied_and_answered(self, voucherify: VoucherifyStub, client: Client) -> None:
        body = {**ORDER, "metadata": {"total": 12.5}, "loyalty": {"code": "CARD"}}
        answer = client.event(body)

        customer_id = voucherify.customers["user-1"]["id"]
        assert answer.status == 200
        assert answer.json() == {
            "object": "event",
            "type": "Order Completed",
            "customer": {
                "id": customer_id,
                "source_id": "user-1",
                "metadata": {},
                "object": "customer",
            },
            "referral": None,
            "loyalty": None,
            "metadata": {"total": 12.5},
        }
        assert voucherify.events == [body]

    def test_an_event_upserts_its_customer(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.customer(ADA)
        client.event({"event": "Moved", "customer": {"source_id": "user-1", "phone": "+44 1"}})

        customer = voucherify.customers["user-1"]
        assert (customer["name"], customer["phone"]) == ("Ada Lovelace", "+44 1")

    def test_an_event_for_an_unknown_customer_id_is_not_applied(
        self, voucherify: VoucherifyStub, client: Client
    ) -> None:
        answer = client.event({"event": "Moved", "customer": {"id": "cust_unknown"}})

        assert (answer.status, answer.json()["code"], answer.json()["key"]) == (400, 404, "not_found")
        assert voucherify.events == []


class TestMetadataSchemas:
    def test_schemas_are_listed_as_published(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.metadata_schemas = [metadata_schema("customer", plan={"type": "string"})]
        answer = client.pool.request("GET", "/v1/metadata-schemas", headers=HEADERS)

        assert (answer.status, answer.json()["total"]) == (200, 1)
        listed = published_model("MetadataSchemasListResponseBody").from_dict(answer.json())
        assert listed.schemas[0].properties == voucherify.metadata_schemas[0]["properties"]

    def test_metadata_of_another_type_is_refused_as_published(self, voucherify: VoucherifyStub, client: Client) -> None:
        definition = {"type": "string", "array": True, "eq": ["L1", "L2", "L3"]}
        voucherify.metadata_schemas = [metadata_schema("customer", location_id=definition)]
        answer = client.customer({**ADA, "metadata": {"location_id": ["L9"]}})

        assert (answer.status, answer.json()["key"]) == (400, "metadata_validation_failed")
        rules = "must be an array, and every element: must be equal to one of L1,L2,L3"
        assert answer.json()["details"] == f"location_id: {rules} (actual value is ['L9'])"
        assert voucherify.customers == {}

    def test_required_and_undefined_metadata_are_refused(self, voucherify: VoucherifyStub, client: Client) -> None:
        required = {"type": "number", "optional": False}
        voucherify.metadata_schemas = [metadata_schema("Moved", strict=True, floor=required)]
        moved = {"event": "Moved", "customer": {"source_id": "user-1"}}

        assert client.event(moved).json()["details"] == "floor: is required"
        assert client.event({**moved, "metadata": {"floor": 1, "x": 1}}).json()["details"] == "x: is not defined"
        assert client.event({**moved, "metadata": {"floor": 1}}).status == 200


class TestBulk:
    def test_customers_are_updated_and_made_once_the_action_is_done(
        self, voucherify: VoucherifyStub, client: Client
    ) -> None:
        client.customer({**ADA, "metadata": {"plan": "pro"}})
        accepted = client.bulk([{"source_id": "user-1", "name": "Ada", "metadata": {"seats": 2}}, {"source_id": "new"}])
        action_id = accepted.json()["async_action_id"]

        assert accepted.status == 202
        assert list(voucherify.customers) == ["user-1"]
        enqueued = client.action(action_id).json()
        assert (enqueued["status"], enqueued["result"]) == ("ENQUEUED", None)

        done = client.action(action_id).json()
        assert (done["type"], done["status"], done["progress"]) == ("CUSTOMERS.BULK_UPDATE", "DONE", 100)
        assert (done["result"]["done_count"], done["result"]["failed_count"]) == (2, 0)
        assert list(voucherify.customers) == ["user-1", "new"]
        ada = voucherify.customers["user-1"]
        assert (ada["name"], ada["email"], ada["metadata"]) == ("Ada", ADA["email"], {"plan": "pro", "seats": 2})

    def test_actions_are_done_in_their_order(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.bulk([{"source_id": "user-1", "name": "Ada"}])
        last = client.bulk([{"source_id": "user-1", "name": "Augusta"}]).json()["async_action_id"]

        assert [client.action(last).json()["status"] for _ in range(2)] == ["ENQUEUED", "DONE"]
        assert voucherify.customers["user-1"]["name"] == "Augusta"

    def test_a_row_that_fails_is_named_and_the_rest_applied(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.row_rule = lambda row: "Invalid phone format" if "phone" in row else None
        action_id = client.bulk([ADA, {"source_id": "user-2", "phone": "x"}]).json()["async_action_id"]
        client.action(action_id)
        result = client.action(action_id).json()["result"]

        assert (result["done_count"], result["failed_count"]) == (1, 1)
        assert result["errors"] == [
            {"source_id": "user-2", "key": "invalid", "message": "Invalid phone format", "details": ""}
        ]
        assert list(voucherify.customers) == ["user-1"]

    @pytest.mark.parametrize(
        ("body", "details"),
        [
            (ADA, "$ fails type: array"),
            ([], "$ fails minItems: 1"),
            ([ADA, "x"], "$[1] fails type: object"),
            ([ADA, {"name": "x"}], "$[1] fails required: ['source_id']"),
            ([{**ADA, "phone": 1}], "$[0].phone fails type: string"),
        ],
    )
    def test_a_call_against_the_schema_is_refused_as_a_whole(self, client: Client, body: object, details: str) -> None:
        answer = client.bulk(body)

        assert (answer.status, answer.json()["details"]) == (400, details)

    def test_more_than_10_mb_are_too_large(self, client: Client) -> None:
        assert client.bulk([{**ADA, "description": "x" * 10 * 1024 * 1024}]).status == 413

    def test_an_action_that_is_not_there_is_not_found(self, client: Client) -> None:
        answer = client.action("aa_unknown")

        assert (answer.status, answer.json()["resource_type"]) == (404, "async_action")
        assert answer.json()["details"] == "Cannot find async_action with id aa_unknown"


class TestOrders:
    def test_an_unknown_source_id_creates_an_order(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.order({"source_id": "order-1", "amount": 3000, "metadata": {"shop": "Paris"}})

        order = answer.json()
        assert answer.status == 200
        assert order.pop("id").startswith("ord_")
        assert order == {
            "source_id": "order-1",
            "created_at": "2023-11-14T22:13:20.000Z",
            "updated_at": None,
            "status": "CREATED",
            "amount": 3000,
            "total_amount": 3000,
            "items": [],
            "metadata": {"shop": "Paris"},
            "customer_id": None,
            "referrer_id": None,
            "object": "order",
        }
        assert voucherify.orders == {"order-1": answer.json()}

    def test_a_known_source_id_updates_what_is_given_and_keeps_the_rest(
        self, voucherify: VoucherifyStub, client: Client, clock: Clock
    ) -> None:
        body = {"source_id": "order-1", "customer": ADA, "items": [VASE], "metadata": {"shop": "Paris", "gift": True}}
        first = client.order(body).json()
        clock.now += 1.5
        second = client.order({"source_id": "order-1", "status": "PAID", "metadata": {"gift": False}}).json()

        assert second == {
            **first,
            "status": "PAID",
            "metadata": {"shop": "Paris", "gift": False},
            "updated_at": "2023-11-14T22:13:21.500Z",
        }
        assert voucherify.orders == {"order-1": second}

    def test_items_are_replaced_as_a_whole(self, client: Client) -> None:
        client.order({"source_id": "order-1", "items": [VASE, {**VASE, "source_id": "rose", "discount_amount": 100}]})
        order = client.order({"source_id": "order-1", "items": [{"product_id": "prod_1", "amount": 700}]}).json()

        assert order["items"] == [
            {"object": "order_item", "product_id": "prod_1", "amount": 700, "subtotal_amount": 700}
        ]
        assert (order["amount"], order["total_amount"]) == (700, 700)
        assert "items_discount_amount" not in order

    def test_an_id_goes_before_a_source_id(self, voucherify: VoucherifyStub, client: Client) -> None:
        known = client.order({"source_id": "order-1"}).json()
        answer = client.order({"id": known["id"], "source_id": "order-2", "status": "CANCELED"})

        assert (answer.json()["source_id"], answer.json()["status"]) == ("order-1", "CANCELED")
        assert list(voucherify.orders) == ["order-1"]

    def test_an_id_that_voucherify_never_gave_is_not_found(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.order({"id": "ord_unknown", "customer": ADA})

        assert (answer.status, answer.json()) == (
            404,
            {
                "code": 404,
                "key": "not_found",
                "message": "Resource not found",
                "details": "Cannot find order with id ord_unknown",
                "request_id": "v-000001",
                "resource_id": "ord_unknown",
                "resource_type": "order",
            },
        )
        assert (voucherify.orders, voucherify.customers) == ({}, {})

    @pytest.mark.parametrize("body", [{}, {"source_id": None}, {"source_id": ""}])
    def test_orders_without_a_source_id_are_kept_apart(
        self, voucherify: VoucherifyStub, client: Client, body: object
    ) -> None:
        first, second = client.order(body).json(), client.order(body).json()

        assert first["source_id"] is None
        assert set(voucherify.orders) == {first["id"], second["id"]}
        assert client.order({"id": first["id"], "status": "PAID"}).json()["status"] == "PAID"

    def test_ids_do_not_depend_on_the_order_of_calls(self, voucherify: VoucherifyStub, client: Client) -> None:
        before = client.order({"source_id": "order-1"}).json()["id"]
        voucherify.reset()
        client.order({"source_id": "order-2"})

        assert client.order({"source_id": "order-1"}).json()["id"] == before

    @pytest.mark.parametrize("status", ["CREATED", "PAID", "CANCELED", "FULFILLED"])
    def test_an_order_has_one_of_four_statuses(self, client: Client, status: str) -> None:
        assert client.order({"status": status}).json()["status"] == status

    def test_a_time_of_creation_may_be_given(self, client: Client) -> None:
        order = client.order({"created_at": "2022-09-09T09:20:01.660Z"}).json()

        assert order["created_at"] == "2022-09-09T09:20:01.660Z"

    def test_items_get_amounts_as_in_the_example_of_the_reference(self, client: Client) -> None:
        phone = {"name": "Apple iPhone 12", "price": 60000, "metadata": {"vendor": "mall"}, "override": True}
        comics = {"source_id": "Books", "name": "Comic Books1", "price": 2100}
        comic = {"sku": "Comics1", "source_id": "ComicBook_1", "price": 1700}
        items = [
            {"source_id": "prod_1", "related_object": "product", "quantity": 2, "product": phone},
            {"source_id": "ComicBook_1", "related_object": "sku", "quantity": 1, "product": comics, "sku": comic},
        ]
        order = client.order({"source_id": "new", "status": "FULFILLED", "items": items}).json()

        calculated = [
            {"price": 60000, "amount": 120000, "subtotal_amount": 120000},
            {"price": 1700, "amount": 1700, "subtotal_amount": 1700},
        ]
        assert order["items"] == [
            {"object": "order_item", **item, **amounts} for item, amounts in zip(items, calculated, strict=True)
        ]
        assert (order["amount"], order["total_amount"]) == (121700, 121700)

    def test_discounts_of_the_order_and_of_its_items_are_subtracted(self, client: Client) -> None:
        amounts = ((700, 70), (500, 50), (1500, 150))
        items = [{"quantity": 1, "price": price, "discount_amount": discount} for price, discount in amounts]
        order = client.order({"discount_amount": 1243, "items": items}).json()

        assert [item["subtotal_amount"] for item in order["items"]] == [630, 450, 1350]
        totals = ("amount", "discount_amount", "items_discount_amount", "total_discount_amount", "total_amount")
        assert [order[key] for key in totals] == [2700, 1243, 270, 1513, 1187]

    @pytest.mark.parametrize(
        ("given", "amount"),
        [
            ({"amount": 900, "items": [VASE]}, 900),
            ({"items": [VASE, {"amount": 10}]}, 3010),
            ({"items": [VASE, {"product_id": "prod_1", "quantity": 1}]}, None),
            ({"items": [{"quantity": 1, "product": {"price": 12.5}}]}, None),
            ({"items": []}, None),
            ({"amount": 0}, 0),
        ],
    )
    def test_an_amount_is_the_given_one_or_the_sum_of_its_items(
        self, client: Client, given: dict[str, Any], amount: int | None
    ) -> None:
        order = client.order(given).json()

        assert (order.get("amount"), order.get("total_amount")) == (amount, amount)

    def test_a_customer_is_upserted_and_answered_by_id(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.customer(ADA)
        order = client.order({"source_id": "order-1", "customer": {"source_id": "user-1", "phone": "+44 1"}}).json()

        customer = voucherify.customers["user-1"]
        assert (customer["name"], customer["phone"]) == ("Ada Lovelace", "+44 1")
        assert order["customer"] == {"id": customer["id"], "object": "customer"}
        assert order["customer_id"] == customer["id"]

    def test_a_referrer_is_a_customer_too(self, voucherify: VoucherifyStub, client: Client) -> None:
        by_object = client.order({"source_id": "order-1", "customer": ADA, "referrer": {"source_id": "jane"}}).json()
        jane = voucherify.customers["jane"]["id"]
        by_id = client.order({"source_id": "order-2", "referrer_id": jane}).json()

        for order in (by_object, by_id):
            assert (order["referrer"], order["referrer_id"]) == ({"id": jane, "object": "customer"}, jane)
        assert by_object["customer_id"] == voucherify.customers["user-1"]["id"]
        assert client.order({"source_id": "order-3", "referrer_id": None}).json()["referrer_id"] is None

    @pytest.mark.parametrize(
        "body", [{"customer": {"id": "cust_x"}}, {"referrer": {"id": "cust_x"}}, {"referrer_id": "cust_x"}]
    )
    def test_an_order_of_an_unknown_customer_id_is_not_applied(
        self, voucherify: VoucherifyStub, client: Client, body: object
    ) -> None:
        answer = client.order(body)

        assert (answer.status, answer.json()["code"], answer.json()["key"]) == (400, 404, "not_found")
        assert answer.json()["resource_type"] == "customer"
        assert (voucherify.orders, voucherify.customers) == ({}, {})

    def test_metadata_is_checked_by_the_schema_of_orders(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.metadata_schemas = [metadata_schema("order", shop={"type": "string", "optional": False})]
        refused = client.order({"source_id": "order-1", "customer": ADA, "metadata": {"shop": 7}})

        assert (refused.status, refused.json()["key"]) == (400, "metadata_validation_failed")
        assert refused.json()["details"] == "shop: must be a string (actual value is 7)"
        assert (voucherify.orders, voucherify.customers) == ({}, {})
        assert client.order({"source_id": "order-1", "metadata": {"shop": "Paris"}}).status == 200
        assert client.order({"source_id": "order-1", "status": "PAID"}).status == 200

    def test_500_items_are_taken(self, client: Client) -> None:
        assert client.order({"items": [VASE] * 500}).json()["amount"] == 1_500_000

    def test_keys_that_the_schema_does_not_name_are_ignored(self, client: Client) -> None:
        order = client.order({"total": 7, "items": [{"quantity": 1, "name": "Vase"}]}).json()

        assert "total" not in order
        assert order["items"] == [{"object": "order_item", "quantity": 1}]

    @pytest.mark.parametrize(
        ("body", "details"),
        [
            ([], "$ fails type: object"),
            ({"id": 7}, "$.id fails type: string"),
            ({"source_id": 7}, "$.source_id fails type: ['string', 'null']"),
            ({"status": "paid"}, "$.status fails enum: ['CREATED', 'PAID', 'CANCELED', 'FULFILLED']"),
            ({"amount": 12.5}, "$.amount fails type: integer"),
            ({"amount": "12"}, "$.amount fails type: integer"),
            ({"amount": -1}, "$.amount fails minimum: 0"),
            ({"discount_amount": -1}, "$.discount_amount fails minimum: 0"),
            ({"initial_amount": None}, "$.initial_amount fails type: integer"),
            ({"created_at": "yesterday"}, "$.created_at fails format: date-time"),
            ({"metadata": None}, "$.metadata fails type: object"),
            ({"customer": "user-1"}, "$.customer fails type: object"),
            ({"customer": {"source_id": "u", "name": 7}}, "$.customer.name fails type: string"),
            ({"customer": {"name": "Ada"}}, "customer.id or customer.source_id is required"),
            ({"referrer": {}}, "referrer.id or referrer.source_id is required"),
            ({"referrer_id": 7}, "$.referrer_id fails type: ['string', 'null']"),
            ({"items": {}}, "$.items fails type: array"),
            ({"items": [VASE] * 501}, "$.items fails maxItems: 500"),
            ({"items": ["vase"]}, "$.items[0] fails type: object"),
            ({"items": [VASE, {"source_id": 7}]}, "$.items[1].source_id fails type: string"),
            ({"items": [{"product_id": 7}]}, "$.items[0].product_id fails type: string"),
            ({"items": [{"sku_id": 7}]}, "$.items[0].sku_id fails type: string"),
            ({"items": [{"related_object": "bundle"}]}, "$.items[0].related_object fails enum: ['product', 'sku']"),
            ({"items": [{"quantity": 1.5}]}, "$.items[0].quantity fails type: integer"),
            ({"items": [{"quantity": -1}]}, "$.items[0].quantity fails minimum: 0"),
            ({"items": [{"initial_quantity": 0}]}, "$.items[0].initial_quantity fails minimum: 1"),
            ({"items": [{"price": 12.5}]}, "$.items[0].price fails type: integer"),
            ({"items": [{"price": -1}]}, "$.items[0].price fails minimum: 0"),
            ({"items": [{"product": "vase"}]}, "$.items[0].product fails type: object"),
            ({"items": [{"product": {"name": 7}}]}, "$.items[0].product.name fails type: string"),
            ({"items": [{"product": {"price": "7"}}]}, "$.items[0].product.price fails type: number"),
            ({"items": [{"product": {"price": -0.5}}]}, "$.items[0].product.price fails minimum: 0"),
            ({"items": [{"product": {"override": 1}}]}, "$.items[0].product.override fails type: boolean"),
            ({"items": [{"sku": {"sku": 7}}]}, "$.items[0].sku.sku fails type: string"),
            ({"items": [{"sku": {"metadata": []}}]}, "$.items[0].sku.metadata fails type: object"),
        ],
    )
    def test_an_order_against_the_schema_is_an_invalid_payload(
        self, voucherify: VoucherifyStub, client: Client, body: object, details: str
    ) -> None:
        answer = client.order(body)

        assert (answer.status, answer.json()["key"]) == (400, "invalid_payload")
        assert answer.json()["details"] == details
        assert (voucherify.orders, voucherify.customers) == ({}, {})


class TestListOfOrders:
    def test_it_has_as_many_as_are_asked_for_and_counts_all(self, voucherify: VoucherifyStub, client: Client) -> None:
        for number in range(3):
            client.order({"source_id": f"order-{number}"})
        answer = client.list_orders("?limit=2")

        assert answer.status == 200
        assert answer.json() == {
            "object": "list",
            "data_ref": "orders",
            "orders": list(voucherify.orders.values())[:2],
            "total": 3,
        }

    @pytest.mark.parametrize("query", ["?limit=0", "?limit=101", "?order=created_at"])
    def test_what_the_stub_does_not_know_is_an_invalid_payload(self, client: Client, query: str) -> None:
        assert client.list_orders(query).status == 400


class TestImportOfOrders:
    def test_orders_are_updated_and_made_once_the_action_is_done(
        self, voucherify: VoucherifyStub, client: Client
    ) -> None:
        client.order({"source_id": "order-1", "amount": 900, "metadata": {"shop": "Paris"}})
        paid = {"source_id": "order-1", "status": "PAID", "metadata": {"gift": True}}
        accepted = client.import_orders([paid, {"source_id": "order-2", "customer": ADA}, {}, {}])
        action_id = accepted.json()["async_action_id"]

        assert accepted.status == 200
        assert list(voucherify.orders) == ["order-1"]
        enqueued = client.action(action_id).json()
        assert (enqueued["status"], enqueued["operation_status"], enqueued["result"]) == ("ENQUEUED", "UNKNOWN", None)

        done = client.action(action_id).json()
        assert (done["type"], done["status"], done["operation_status"]) == ("ORDERS.IMPORT", "DONE", "SUCCESS")
        assert done["result"] == {
            "message": "4 order(s) imported successfully, 0 failed.",
            "failed": [],
            "done_count": 4,
            "failed_count": 0,
        }
        order = voucherify.orders["order-1"]
        assert (order["status"], order["amount"]) == ("PAID", 900)
        assert order["metadata"] == {"shop": "Paris", "gift": True}
        assert list(voucherify.customers) == ["user-1"]
        assert len(voucherify.orders) == 4

    def test_rows_that_fail_are_named_and_the_rest_applied(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.row_rule = lambda row: "Internal error" if row.get("amount") == 13 else None
        voucherify.metadata_schemas = [metadata_schema("order", shop={"type": "string"})]
        rows = [
            {"source_id": "order-1"},
            {"amount": 13},
            {"source_id": "order-2", "metadata": {"shop": 7}},
            {"source_id": "order-3", "customer": {"id": "cust_unknown"}},
            {"source_id": "order-4", "customer": {}},
            {"source_id": "order-5", "id": "ord_unknown"},
        ]
        result = client.finished(client.import_orders(rows))["result"]

        assert result == {
            "message": "1 order(s) imported successfully, 5 failed.",
            "failed": [
                {"source_id": None, "reason": "Internal error"},
                {"source_id": "order-2", "reason": "shop: must be a string (actual value is 7)"},
                {"source_id": "order-3", "reason": "Cannot find customer with id cust_unknown"},
                {"source_id": "order-4", "reason": "customer.id or customer.source_id is required"},
                {"source_id": "order-5", "reason": "Cannot find order with id ord_unknown"},
            ],
            "done_count": 1,
            "failed_count": 5,
        }
        assert list(voucherify.orders) == ["order-1"]

    def test_actions_of_both_kinds_are_done_in_their_order(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.import_orders([{"source_id": "order-1", "customer": {**ADA, "name": "Ada"}}])
        client.bulk([{"source_id": "user-1", "name": "Augusta"}])
        last = client.import_orders([{"source_id": "order-1", "status": "PAID"}])

        assert client.finished(last)["status"] == "DONE"
        assert voucherify.customers["user-1"]["name"] == "Augusta"
        assert voucherify.orders["order-1"]["status"] == "PAID"

    def test_the_time_of_creation_is_that_of_the_import(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.finished(client.import_orders([{"source_id": "order-1", "created_at": "2022-09-09T09:20:01.660Z"}]))

        assert voucherify.orders["order-1"]["created_at"] == "2023-11-14T22:13:20.000Z"

    def test_2000_orders_are_taken(self, client: Client) -> None:
        done = client.finished(client.import_orders([{"source_id": f"order-{number}"} for number in range(2_000)]))

        assert done["result"]["done_count"] == 2_000

    @pytest.mark.parametrize(
        ("body", "details"),
        [
            ({"source_id": "order-1"}, "$ fails type: array"),
            ([], "$ fails minItems: 1"),
            ([{}] * 2_001, "$ fails maxItems: 2000"),
            ([{}, "x"], "$[1] fails type: object"),
            ([{"amount": -1}], "$[0].amount fails minimum: 0"),
            ([{"items": [VASE] * 501}], "$[0].items fails maxItems: 500"),
        ],
    )
    def test_a_call_against_the_schema_is_refused_as_a_whole(self, client: Client, body: object, details: str) -> None:
        answer = client.import_orders(body)

        assert (answer.status, answer.json()["details"]) == (400, details)


class TestPermanentDeletion:
    @pytest.mark.parametrize("known_by", ["source_id", "id"])
    def test_a_customer_is_gone_and_the_deletion_answered(
        self, voucherify: VoucherifyStub, client: Client, known_by: str
    ) -> None:
        ada = client.customer(ADA).json()
        client.customer({"source_id": "user-2"})
        answer = client.delete_permanently(ada[known_by])

        deletion = answer.json()
        assert answer.status == 200
        assert deletion.pop("id").startswith("del_")
        assert deletion == {
            "created_at": "2023-11-14T22:13:20.000Z",
            "related_object_id": ada["id"],
            "related_object": "customer",
            "status": "DONE",
            "data_json": {
                "events": 0,
                "customer_events": 0,
                "daily_events": 0,
                "segments": 0,
                "orders": 0,
                "order_events": 0,
                "customer": 1,
            },
            "object": "pernament_deletion",
        }
        assert list(voucherify.customers) == ["user-2"]
        assert (voucherify.calls[-1].json, voucherify.calls[-1].applied) == (None, True)

    def test_a_customer_without_a_source_id_is_deleted_by_id(self, voucherify: VoucherifyStub, client: Client) -> None:
        assert client.delete_permanently(client.customer({}).json()["id"]).status == 200
        assert voucherify.customers == {}

    @pytest.mark.parametrize(
        ("source_id", "segment"),
        [
            ("a/b", "a%2Fb"),
            ("a/b", "a%2fb"),
            ("é", "%C3%A9"),
            ("a b", "a%20b"),
            ("a+b", "a+b"),
            ("a?b#c", "a%3Fb%23c"),
            ("100%", "100%25"),
            ("a%2Fb", "a%252Fb"),
        ],
    )
    def test_the_id_is_decoded_once_and_only_as_one_segment(
        self, voucherify: VoucherifyStub, client: Client, source_id: str, segment: str
    ) -> None:
        customer = client.customer({"source_id": source_id}).json()
        answer = client.delete_permanently(segment)

        assert (answer.status, answer.json()["related_object_id"]) == (200, customer["id"])
        assert voucherify.customers == {}

    @pytest.mark.parametrize("segment", ["", "a/b"])
    def test_an_id_is_exactly_one_segment(self, voucherify: VoucherifyStub, client: Client, segment: str) -> None:
        client.customer({"source_id": "a/b"})
        answer = client.delete_permanently(segment)

        assert answer.status == 404
        assert answer.json()["details"] == f"There is nothing at /v1/customers/{segment}/permanent-deletion"
        assert list(voucherify.customers) == ["a/b"]

    def test_a_customer_that_is_not_there_is_not_found(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.delete_permanently("user%2F1")

        assert answer.status == 404
        assert answer.json() == {
            "code": 404,
            "key": "not_found",
            "message": "Resource not found",
            "details": "Cannot find customer with id user/1",
            "request_id": "v-000001",
            "resource_id": "user/1",
            "resource_type": "customer",
        }
        assert not voucherify.calls[0].applied

    def test_a_deleted_customer_is_forgotten_and_begins_anew(
        self, voucherify: VoucherifyStub, client: Client, clock: Clock
    ) -> None:
        customer_id = client.customer(ADA).json()["id"]
        client.event(ORDER)
        client.order({"source_id": "order-1", "customer": {"source_id": "user-1"}})
        client.delete_permanently("user-1")

        assert client.delete_permanently("user-1").status == 404
        assert client.delete_permanently(customer_id).status == 404
        assert client.customer({"id": customer_id}).status == 404
        assert voucherify.events == [ORDER]
        assert voucherify.orders["order-1"]["customer_id"] == customer_id

        clock.now += 1.5
        anew = client.customer({"source_id": "user-1"}).json()
        assert anew["created_at"] == "2023-11-14T22:13:21.500Z"
        assert "email" not in anew

    @pytest.mark.parametrize(
        "header", ["Content-Length: 0", "Content-Type: application/json", "Content-Type: text/plain"]
    )
    def test_an_empty_body_is_taken_with_and_without_its_headers(
        self, voucherify: VoucherifyStub, client: Client, header: str
    ) -> None:
        client.customer(ADA)
        lines = ["POST /v1/customers/user-1/permanent-deletion HTTP/1.1", "Host: x", header]
        lines += [f"{name}: {value}" for name, value in CREDENTIALS.items()]
        with connect(voucherify) as connection:
            connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")

        assert voucherify.customers == {}
        assert (voucherify.calls[-1].body, voucherify.calls[-1].json) == (b"", None)

    @pytest.mark.parametrize("body", [{}, None, ADA])
    def test_a_body_is_an_invalid_payload(self, voucherify: VoucherifyStub, client: Client, body: object) -> None:
        client.customer(ADA)
        answer = client.post("/v1/customers/user-1/permanent-deletion", body)

        assert (answer.status, answer.json()["details"]) == (400, "There must be no request body")
        assert list(voucherify.customers) == ["user-1"]

    def test_another_method_is_not_allowed(self, client: Client) -> None:
        path = "/v1/customers/user-1/permanent-deletion"

        assert client.pool.request("DELETE", path, headers=CREDENTIALS).status == 405

    @pytest.mark.parametrize("content_type", [{}, {"Content-Type": "application/json"}])
    def test_it_is_passed_on_to_the_real_voucherify_as_it_came(
        self, voucherify: VoucherifyStub, client: Client, content_type: dict[str, str]
    ) -> None:
        """The real one is another stub here."""
        client.customer({"source_id": "a/é b"})
        path = "/v1/customers/a%2F%C3%A9%20b/permanent-deletion"
        real = RealVoucherify(voucherify.url, "app-id", "app-token")
        with VoucherifyStub(api_key="local-id", api_token="local-token", api=real) as between:
            pool = Client(between.url).pool
            deleted, not_found = (pool.request("POST", path, headers=content_type) for _ in range(2))

        assert (deleted.status, deleted.json()["object"]) == (200, "pernament_deletion")
        assert (not_found.status, not_found.json()["resource_id"]) == (404, "a/é b")
        assert voucherify.customers == {}
        for call in voucherify.calls[1:]:
            assert (call.method, call.path, call.body) == ("POST", path, b"")
            assert call.headers.get("Content-Type") == content_type.get("Content-Type")


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "details"),
        [
            (b"", "$ fails type: object"),
            (b"{", "$ fails type: object"),
            (b'{"name": "\xff"}', "$ fails type: object"),
            (b'{"metadata": {"total": NaN}}', "$ fails type: object"),
            (b'{"metadata": {"total": 1e400}}', "$ fails type: object"),
            (b"[" * 100_000, "$ fails type: object"),
            ([], "$ fails type: object"),
            ({"source_id": 7}, "$.source_id fails type: string"),
            ({"name": 7}, "$.name fails type: string"),
            ({"name": None}, "$.name fails type: string"),
            ({"description": True}, "$.description fails type: string"),
            ({"email": ["a@b.c"]}, "$.email fails type: string"),
            ({"phone": 123}, "$.phone fails type: string"),
            ({"birthdate": "2022-02-30"}, "$.birthdate fails format: date"),
            ({"birthdate": "20220101"}, "$.birthdate fails format: date"),
            ({"birthday": 20220101}, "$.birthday fails type: string"),
            ({"address": "Main St."}, "$.address fails type: ['object', 'null']"),
            ({"address": {"postal_code": 10001}}, "$.address.postal_code fails type: string"),
            ({"metadata": []}, "$.metadata fails type: object"),
            ({"metadata": None}, "$.metadata fails type: object"),
            ({"name": 1, "email": 2}, "$.email fails type: string; $.name fails type: string"),
        ],
    )
    def test_a_customer_against_the_schema_is_an_invalid_payload(
        self, voucherify: VoucherifyStub, client: Client, body: object, details: str
    ) -> None:
        answer = client.customer(body)

        assert answer.status == 400
        assert answer.json() == {
            "code": 400,
            "key": "invalid_payload",
            "message": "Invalid payload",
            "details": details,
            "request_id": "v-000001",
        }
        assert voucherify.customers == {}

    @pytest.mark.parametrize(
        ("change", "details"),
        [
            ({"event": ""}, "$.event fails minLength: 1"),
            ({"event": "x" * 301}, "$.event fails maxLength: 300"),
            ({"event": None}, "$.event fails type: string"),
            ({"customer": "user-1"}, "$.customer fails type: object"),
            ({"customer": {}}, "customer.id or customer.source_id is required"),
            (
                {"customer": {"source_id": ""}},
                "customer.id or customer.source_id is required",
            ),
            ({"customer": {"source_id": 1}}, "$.customer.source_id fails type: string"),
            ({"metadata": "x"}, "$.metadata fails type: object"),
            ({"loyalty": {}}, "$.loyalty fails required: ['code']"),
            ({"loyalty": {"code": 1}}, "$.loyalty.code fails type: string"),
            ({"referral": {"referrer_id": "r"}}, "$.referral fails required: ['code']"),
            (
                {"referral": {"code": "c", "referrer_id": 1}},
                "$.referral.referrer_id fails type: string",
            ),
        ],
    )
    def test_an_event_against_the_schema_is_an_invalid_payload(
        self, voucherify: VoucherifyStub, client: Client, change: object, details: str
    ) -> None:
        answer = client.event({**ORDER, **change})  # type: ignore[dict-item]

        assert (answer.status, answer.json()["key"]) == (400, "invalid_payload")
        assert answer.json()["details"] == details
        assert (voucherify.events, voucherify.customers) == ([], {})

    @pytest.mark.parametrize("missing", ["event", "customer"])
    def test_an_event_needs_a_name_and_a_customer(self, client: Client, missing: str) -> None:
        answer = client.event({key: ORDER[key] for key in ORDER if key != missing})

        assert (answer.status, answer.json()["details"]) == (400, "$ fails required: ['event', 'customer']")

    @pytest.mark.parametrize(
        "body",
        [
            {"address": None},
            {"address": {"city": "London", "line_1": "1", "line_2": "2"}},
            {"birthdate": "2022-01-01", "birthday": "2022-01-01"},
            {"metadata": {"nested": {"list": [1, None, True]}}},
            {"name": ""},
        ],
    )
    def test_what_the_schema_allows_is_taken_and_answered(self, client: Client, body: dict[str, Any]) -> None:
        answer = client.customer({"source_id": "user-1", **body})

        assert answer.status == 200
        assert {key: answer.json()[key] for key in body} == body

    def test_an_event_name_of_300_characters_is_taken(self, client: Client) -> None:
        assert client.event({**ORDER, "event": "é" * 300}).status == 200

    def test_keys_that_the_schema_does_not_name_are_ignored(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.customer({**ADA, "firstName": "Ada", "address": {"street": 7}})

        assert answer.status == 200
        assert "firstName" not in voucherify.customers["user-1"]

    @pytest.mark.parametrize(
        "headers",
        [{"X-App-Id": "other"}, {"X-App-Token": "other"}, {"X-App-Token": ""}],
    )
    def test_other_credentials_are_unauthorized(
        self, voucherify: VoucherifyStub, client: Client, headers: dict[str, str]
    ) -> None:
        answer = client.post("/v1/customers", ADA, **headers)

        assert (answer.status, answer.json()["code"]) == (401, 401)
        assert voucherify.customers == {}

    def test_an_unknown_path_is_not_found(self, client: Client) -> None:
        answer = client.post("/v2/customers", ADA)

        assert (answer.status, answer.json()["key"]) == (404, "not_found")

    def test_another_method_is_not_allowed(self, client: Client) -> None:
        answer = client.pool.request("PUT", "/v1/events", headers=HEADERS, body=b"{}")

        assert answer.status == 405
        assert answer.json()["details"] == "PUT is not supported here, POST is"

    def test_another_media_type_is_not_supported(self, client: Client) -> None:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}

        assert client.post("/v1/customers", ADA, **headers).status == 415

    def test_a_charset_in_the_media_type_is_fine(self, client: Client) -> None:
        headers = {"Content-Type": "application/json; charset=utf-8"}

        assert client.post("/v1/customers", ADA, **headers).status == 200


class TestFaults:
    def test_an_error_status_answers_with_the_error_object_and_applies_nothing(
        self, voucherify: VoucherifyStub, client: Client
    ) -> None:
        voucherify.next(Fault(503))
        answer = client.event(ORDER)

        assert answer.status == 503
        assert answer.json()["code"] == 503
        assert answer.json()["request_id"] == "v-000001"
        assert voucherify.events == []
        assert not voucherify.calls[0].applied

    @pytest.mark.parametrize("status", [404, 500, 599])
    def test_a_foreign_body_is_sent_as_it_is(self, voucherify: VoucherifyStub, client: Client, status: int) -> None:
        voucherify.next(Fault(status, body="<h1>gateway</h1>"))
        answer = client.event(ORDER)

        assert (answer.status, answer.data) == (status, b"<h1>gateway</h1>")
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"

    def test_a_json_body_and_headers_are_sent(self, voucherify: VoucherifyStub, client: Client) -> None:
        headers = {"Retry-After": "30", "content-type": "application/problem+json"}
        voucherify.next(Fault(429, body={"key": "mine"}, headers=headers))
        answer = client.event(ORDER)

        assert (answer.status, answer.json()) == (429, {"key": "mine"})
        assert answer.headers["Retry-After"] == "30"
        assert answer.headers.getlist("Content-Type") == ["application/problem+json"]

    def test_a_redirect_applies_nothing(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.next(Fault(302, headers={"Location": "https://example.com/"}))
        answer = client.event(ORDER)

        assert (answer.status, answer.data) == (302, b"")
        assert answer.headers["Location"] == "https://example.com/"
        assert voucherify.events == []

    @pytest.mark.parametrize("fault", [Fault(202), Fault(200, body=b"ok"), Fault(body=b"{")])
    def test_another_success_is_still_applied(self, voucherify: VoucherifyStub, client: Client, fault: Fault) -> None:
        voucherify.next(fault)

        assert client.event(ORDER).status == (fault.status or 200)
        assert voucherify.events == [ORDER]
        assert voucherify.calls[0].applied

    def test_no_content_leaves_the_connection_usable(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.next(Fault(204))

        assert (client.event(ORDER).status, client.event(ORDER).status) == (204, 200)
        assert [call.connection for call in voucherify.calls] == [1, 1]

    @pytest.mark.parametrize("reset", [False, True])
    @pytest.mark.parametrize(("drop", "applied"), [("before", 0), ("after", 1)])
    def test_a_dropped_call_gets_no_answer(
        self, voucherify: VoucherifyStub, client: Client, drop: Any, applied: int, reset: bool
    ) -> None:
        voucherify.next(Fault(drop=drop, reset=reset))
        with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
            client.event(ORDER)

        expected = ConnectionResetError if reset else http.client.RemoteDisconnected
        assert type(caught.value.args[1]) is expected
        assert len(voucherify.events) == applied
        assert voucherify.calls[0].status is None
        assert voucherify.calls[0].applied == bool(applied)

    def test_a_delayed_call_is_applied_before_the_client_gives_up(self, voucherify: VoucherifyStub) -> None:
        voucherify.next(Fault(delay=600))
        client = Client(voucherify.url, read_timeout=0.05)
        with pytest.raises(urllib3.exceptions.ReadTimeoutError):
            client.event(ORDER)

        assert voucherify.wait_for_calls(1)
        assert voucherify.events == [ORDER]
        assert voucherify.calls[0].status == 200

    def test_a_short_delay_only_delays(self, voucherify: VoucherifyStub, client: Client) -> None:
        voucherify.next(Fault(delay=0.001), Fault(503, delay=0.001))

        assert [client.event(ORDER).status for _ in range(2)] == [200, 503]
        assert voucherify.events == [ORDER]

    def test_a_content_length_too_large_truncates_the_answer(self, voucherify: VoucherifyStub, client: Client) -> None:
        headers = {"Content-Length": "100", "Connection": "close"}
        voucherify.next(Fault(headers=headers, body=b"{"))
        with pytest.raises(urllib3.exceptions.ProtocolError) as caught:
            client.event(ORDER)

        assert isinstance(caught.value.args[1], http.client.IncompleteRead)
        assert voucherify.events == [ORDER]

    def test_queued_faults_go_before_the_rule_and_none_of_them_means_behave(
        self, voucherify: VoucherifyStub, client: Client
    ) -> None:
        voucherify.rule = lambda call: Fault(500)
        voucherify.next(Fault(503), None)

        assert [client.event(ORDER).status for _ in range(3)] == [503, 200, 500]

    def test_a_rule_sees_the_call(self, voucherify: VoucherifyStub, client: Client) -> None:
        def only_the_second_moved(call: Request) -> Fault | None:
            assert (call.method, call.path) == ("POST", "/v1/events")
            assert call.headers["x-app-id"] == "app-id"
            assert call.number == len(voucherify.calls) + 1
            return Fault(503) if (call.number, call.json["event"]) == (2, "Moved") else None

        voucherify.rule = only_the_second_moved
        moved = {**ORDER, "event": "Moved"}

        assert [client.event(moved).status for _ in range(3)] == [200, 503, 200]

    def test_what_a_rule_raises_comes_out_of_stop(self, clock: Clock) -> None:
        def faulty(call: Request) -> Fault | None:
            raise LookupError("the test's own mistake")

        voucherify = VoucherifyStub(api_key="app-id", api_token="app-token").start()
        voucherify.rule = faulty
        with pytest.raises(urllib3.exceptions.ProtocolError):
            Client(voucherify.url).event(ORDER)

        with pytest.raises(LookupError, match="own mistake"):
            voucherify.stop()

    def test_a_drop_excludes_an_answer(self) -> None:
        with pytest.raises(ValueError, match="no answer"):
            Fault(503, drop="after")

    def test_a_reset_needs_a_drop(self) -> None:
        with pytest.raises(ValueError, match="drop too"):
            Fault(reset=True)


class TestRateLimit:
    def test_the_calls_of_a_window_are_counted_down(self, clock: Clock) -> None:
        clock.now = 1_200.0
        with limited(clock, calls=2, seconds=60) as voucherify:
            client = Client(voucherify.url)
            answers = [client.event(ORDER) for _ in range(2)]

        assert [answer.headers["X-Rate-Limit-Remaining"] for answer in answers] == ["1", "0"]
        assert {answer.headers["X-Rate-Limit-Limit"] for answer in answers} == {"2"}
        assert {answer.headers["X-Rate-Limit-Retry"] for answer in answers} == {"1260"}
        assert "Retry-After" not in answers[1].headers

    def test_a_call_too_many_is_refused_until_the_window_opens(self, clock: Clock) -> None:
        clock.now = 1_225.5
        with limited(clock, calls=1, seconds=60) as voucherify:
            client = Client(voucherify.url)
            client.event(ORDER)
            refused = client.event(ORDER)
            clock.now = 1_259.9
            still_refused = client.event(ORDER)
            clock.now = 1_260.0
            accepted = client.event(ORDER)

            assert refused.status == still_refused.status == 429
            assert refused.json()["code"] == 429
            assert refused.headers["Retry-After"] == "35"
            assert still_refused.headers["Retry-After"] == "1"
            assert refused.headers["X-Rate-Limit-Remaining"] == "0"
            assert refused.headers["X-Rate-Limit-Retry"] == "1260"
            assert refused.headers["X-Rate-Limit-Type"] == "api_calls"
            assert accepted.status == 200
            assert len(voucherify.events) == 2

    def test_a_call_that_never_reaches_the_api_is_not_counted(self, clock: Clock) -> None:
        with limited(clock, calls=1, seconds=60) as voucherify:
            voucherify.next(Fault(503))
            client = Client(voucherify.url)

            assert client.event(ORDER).headers["X-Rate-Limit-Remaining"] == "1"
            assert client.event(ORDER).status == 200

    def test_without_a_limit_there_are_no_limit_headers(self, client: Client) -> None:
        names = " ".join(client.event(ORDER).headers)

        assert "rate-limit" not in names.lower()


class TestRecord:
    def test_a_call_is_recorded_with_its_answer(self, voucherify: VoucherifyStub, client: Client) -> None:
        answer = client.post("/v1/events?source=x", ORDER)

        (call,) = voucherify.calls
        assert (call.number, call.at, call.request_id) == (1, NOW, "v-000001")
        assert (call.method, call.path) == ("POST", "/v1/events?source=x")
        assert call.headers["x-app-id"] == call.headers["X-APP-ID"] == "app-id"
        assert "Authorization" not in call.headers
        assert (call.body, call.json) == (json.dumps(ORDER).encode(), ORDER)
        assert (call.status, call.answer) == (200, answer.data)
        assert (call.applied, call.fault) == (True, None)

    def test_on_call_sees_each_call_before_its_answer_arrives(self) -> None:
        seen: list[Call] = []
        stub = VoucherifyStub(api_key="app-id", api_token="app-token", on_call=seen.append)
        with stub as voucherify:
            client = Client(voucherify.url)
            for expected in (1, 2):
                client.event(ORDER)
                assert len(seen) == expected
            assert seen == voucherify.calls

    def test_reset_forgets_everything(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.event(ORDER)
        client.order({"source_id": "order-1"})
        voucherify.rule = lambda call: Fault(500)
        voucherify.next(Fault(503))
        voucherify.reset()

        assert (voucherify.calls, voucherify.events, voucherify.customers, voucherify.orders) == ([], [], {}, {})
        assert client.event(ORDER).status == 200
        assert (voucherify.calls[0].number, voucherify.calls[0].connection) == (1, 1)

    def test_calls_in_parallel_are_all_recorded_once(self, voucherify: VoucherifyStub) -> None:
        def send(worker: int) -> None:
            client = Client(voucherify.url)
            for step in range(20):
                client.event({**ORDER, "event": f"{worker}-{step}"})

        workers = [threading.Thread(target=send, args=(number,)) for number in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

        names = {event["event"] for event in voucherify.events}
        assert len(voucherify.events) == len(names) == 160
        assert [call.number for call in voucherify.calls] == list(range(1, 161))
        assert [call.json for call in voucherify.calls] == voucherify.events


class TestConnections:
    def test_a_connection_is_kept_for_many_calls(self, voucherify: VoucherifyStub, client: Client) -> None:
        for _ in range(5):
            client.event(ORDER)
        client.post("/nowhere", ORDER)
        client.customer(b"{")

        assert [call.connection for call in voucherify.calls] == [1] * 7

    def test_closed_connections_are_replaced_by_new_ones(self, voucherify: VoucherifyStub, client: Client) -> None:
        client.event(ORDER)
        with connect(voucherify) as idle:
            idle.sendall(raw_request())
            assert idle.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
            voucherify.close_connections()
            assert idle.recv(1) == b""

        assert client.event(ORDER).status == 200
        assert [call.connection for call in voucherify.calls] == [1, 2, 3]

    @pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
    def test_a_client_may_ask_for_the_connection_to_be_closed(self, voucherify: VoucherifyStub, version: str) -> None:
        request = raw_request(json.dumps(ORDER).encode(), "Connection: close")
        with connect(voucherify) as connection, connection.makefile("rb") as answer:
            connection.sendall(request.replace(b"HTTP/1.1", version.encode()))

            assert answer.read().startswith(b"HTTP/1.1 200 OK\r\n")

    def test_a_client_may_wait_for_leave_to_send_its_body(self, voucherify: VoucherifyStub) -> None:
        head, _, body = raw_request(json.dumps(ORDER).encode(), "Expect: 100-continue").partition(b"\r\n\r\n")
        with connect(voucherify) as connection:
            connection.sendall(head + b"\r\n\r\n")
            assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            connection.sendall(body)
            assert connection.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")

    @pytest.mark.parametrize(
        "request_bytes",
        [
            b"hello\r\n\r\n",
            b"POST /v1/events HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST /v1/events HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /v1/events HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST /" + b"x" * 65_536,
        ],
    )
    def test_what_is_not_http_is_refused_and_not_a_call(self, voucherify: VoucherifyStub, request_bytes: bytes) -> None:
        with connect(voucherify) as connection, connection.makefile("rb") as answer:
            connection.sendall(request_bytes)

            assert answer.read().startswith(b"HTTP/1.1 4")
        assert voucherify.calls == []

    def test_a_request_that_ends_too_early_is_not_a_call(self, voucherify: VoucherifyStub) -> None:
        with connect(voucherify) as connection:
            connection.sendall(raw_request()[:-1])
            connection.shutdown(socket.SHUT_WR)

            assert connection.recv(1) == b""
        assert voucherify.calls == []

    def test_a_client_that_leaves_does_no_harm(self, voucherify: VoucherifyStub, client: Client) -> None:
        with connect(voucherify) as connection:
            connection.sendall(raw_request())
        assert voucherify.wait_for_calls(1)

        assert client.event(ORDER).status == 200


class TestLifetime:
    def test_stop_ends_kept_connections_and_held_answers_at_once(self) -> None:
        voucherify = VoucherifyStub(api_key="app-id", api_token="app-token").start()
        voucherify.next(None, Fault(delay=600), Fault(delay=600, drop="after"))
        with connect(voucherify) as kept, connect(voucherify) as held, connect(voucherify) as cut:
            kept.sendall(raw_request())
            assert kept.recv(65_536).startswith(b"HTTP/1.1 200 OK\r\n")
            held.sendall(raw_request())
            cut.sendall(raw_request())
            assert voucherify.wait_for_calls(3)
            before = threading.active_count()
            voucherify.stop()

            assert [connection.recv(1) for connection in (kept, held, cut)] == [b"", b"", b""]
        assert threading.active_count() < before
        assert len(voucherify.events) == 3

    def test_reset_drops_held_answers(self, voucherify: VoucherifyStub) -> None:
        voucherify.next(Fault(delay=600))
        with connect(voucherify) as held:
            held.sendall(raw_request())
            assert voucherify.wait_for_calls(1)
            voucherify.reset()

            assert held.recv(1) == b""

    def test_it_starts_again_on_the_same_port_with_what_it_knew(
        self, voucherify: VoucherifyStub, client: Client
    ) -> None:
        url = voucherify.url
        client.customer(ADA)
        voucherify.stop()
        with pytest.raises(urllib3.exceptions.NewConnectionError):
            client.event(ORDER)
        voucherify.start()

        assert voucherify.url == url
        assert client.event(ORDER).status == 200
        assert voucherify.customers["user-1"]["name"] == "Ada Lovelace"

    def test_another_api_may_answer_and_outlives_a_reset(self) -> None:
        class Teapot(VoucherifyApi):
            def answer(self, request: Request) -> Answer:
                return Answer(418, {"path": request.path})

        api = Teapot("app-id", "app-token")
        api.events.append(ORDER)
        with VoucherifyStub(api_key="app-id", api_token="app-token", api=api) as voucherify:
            voucherify.reset()
            answer = Client(voucherify.url).event(ORDER)

            assert (answer.status, answer.json()) == (418, {"path": "/v1/events"})
            assert voucherify.events == [ORDER]

    def test_a_taken_port_is_an_os_error(self, voucherify: VoucherifyStub) -> None:
        port = int(voucherify.url.rpartition(":")[2])
        second = VoucherifyStub(api_key="app-id", api_token="app-token", port=port)

        with pytest.raises(OSError, match="in use"):
            second.start()

    def test_stopping_twice_is_harmless(self, voucherify: VoucherifyStub) -> None:
        voucherify.stop()
        voucherify.stop()

    def test_there_is_no_url_before_the_start(self) -> None:
        with pytest.raises(RuntimeError, match="before it is started"):
            _ = VoucherifyStub(api_key="app-id", api_token="app-token").url


def test_bodies_and_answers_fit_the_official_models(voucherify: VoucherifyStub, client: Client) -> None:
    full_customer = {
        **ADA,
        "description": "A frequent customer",
        "phone": "+1 933 222 3333",
        "birthdate": "2022-01-01",
        "address": {"city": "London", "state": "LDN", "line_1": "1 Main St.", "country": "UK"},
        "metadata": {"lang": "en", "test": True},
    }
    event = {
        **ORDER,
        "customer": full_customer,
        "metadata": {"total": 12.5},
        "loyalty": {"code": "CARD"},
        "referral": {"code": "REF", "referrer_id": "cust_1"},
    }

    product = {"source_id": "vase", "name": "Vase", "price": 15.5, "override": True, "metadata": {"color": "red"}}
    sku = {"source_id": "vase-s", "sku": "Small", "price": 1500, "override": True, "metadata": {"size": "S"}}
    order = {
        "source_id": "order-1",
        "status": "PAID",
        "discount_amount": 100,
        "items": [{**VASE, "product": product, "sku": sku, "discount_amount": 50, "metadata": {"gift": True}}],
        "customer": full_customer,
        "referrer": {"source_id": "jane"},
        "metadata": {"shop": "Paris"},
    }

    customer_body = published_model("CustomersCreateRequestBody").from_dict(full_customer)
    customer_answer = client.customer(customer_body.model_dump_json(exclude_none=True).encode())
    event_body = published_model("EventsCreateRequestBody").from_dict(event)
    event_answer = client.event(event_body.model_dump_json(exclude_none=True).encode())
    refusal = client.customer(b"{")
    list_answer = client.list_customers("?limit=1")
    bulk_answer = client.bulk([{"source_id": "user-1", "name": "Ada"}])
    client.action(bulk_answer.json()["async_action_id"])
    action_answer = client.action(bulk_answer.json()["async_action_id"])
    order_body = published_model("OrdersCreateRequestBody").from_dict(order)
    order_answer = client.order(order_body.model_dump_json(exclude_none=True).encode())
    orders_answer = client.list_orders()
    import_answer = client.import_orders([order])
    imported_answer = client.finished(import_answer)
    deletion_answer = client.delete_permanently("user-1")

    assert [call.json for call in voucherify.calls[:2]] == [full_customer, event]
    customer = published_model("CustomersCreateResponseBody").from_dict(customer_answer.json())
    assert customer.model_dump(include=set(ADA)) == ADA
    assert customer.summary.orders.total_count == 0
    tracked = published_model("EventsCreateResponseBody").from_dict(event_answer.json())
    assert (tracked.type, tracked.customer.id) == ("Order Completed", customer.id)
    assert published_model("Error").from_dict(refusal.json()).key == "invalid_payload"
    listed = published_model("CustomersListResponseBody").from_dict(list_answer.json())
    assert (listed.total, [found.id for found in listed.customers]) == (1, [customer.id])
    accepted = published_model("CustomersUpdateInBulkResponseBody").from_dict(bulk_answer.json())
    action = published_model("AsyncActionGetResponseBody").from_dict(action_answer.json())
    assert (action.id, action.status, action.operation_status) == (accepted.async_action_id, "DONE", "SUCCESS")
    assert action.to_dict().keys() == action_answer.json().keys()
    deletion = published_model("CustomersPermanentDeletionCreateResponseBody").from_dict(deletion_answer.json())
    assert deletion.to_dict().keys() == deletion_answer.json().keys()
    assert deletion.data_json.to_dict() == deletion_answer.json()["data_json"]
    assert deletion.related_object_id == customer.id
    ordered = published_model("OrdersCreateResponseBody").from_dict(order_answer.json())
    assert [call.json for call in voucherify.calls if (call.method, call.path) == ("POST", "/v1/orders")] == [order]
    assert order_answer.json().keys() <= ordered.to_dict().keys()
    assert order_answer.json()["items"][0].keys() <= ordered.items[0].to_dict().keys()
    assert (ordered.customer.id, ordered.total_amount) == (customer.id, 2850)
    listed_orders = published_model("OrdersListResponseBody").from_dict(orders_answer.json())
    assert [found.id for found in listed_orders.orders] == [ordered.id]
    import_id = published_model("OrdersImportCreateResponseBody").from_dict(import_answer.json()).async_action_id
    imported = published_model("AsyncActionGetResponseBody").from_dict(imported_answer)
    assert (imported.id, imported.type, imported.result["done_count"]) == (import_id, "ORDERS.IMPORT", 1)
    assert imported.to_dict().keys() == imported_answer.keys()
