"""The check against the published API accepts what Voucherify documents, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.published import assert_published


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/customers", {"source_id": "u", "firstName": "Ada"}),
        ("/v1/customers", {"source_id": 1}),
        ("/v1/customers", {"source_id": "u", "address": {"street": "x"}}),
        ("/v1/customers", {"source_id": "u", "metadata": "x"}),
        ("/v1/events", {"event": "", "customer": {"source_id": "u"}}),
        ("/v1/events", {"event": "x" * 301, "customer": {"source_id": "u"}}),
        ("/v1/events", {"event": "e", "customer": {}}),
        ("/v1/events", {"event": "e", "customer": {"source_id": "u"}, "referral": {"referrer_id": "r"}}),
        ("/v1/orders", {"source_id": 1}),
        ("/v1/orders", {"status": "REFUNDED"}),
        ("/v1/orders", {"amount": 12.5}),
        ("/v1/orders", {"total": 1}),
        ("/v1/orders", {"items": [{"price": 12.5}]}),
        ("/v1/orders", {"items": [{"name": "Vase"}]}),
        ("/v1/orders", {"items": [{"product": {"brand": "x"}}]}),
        ("/v1/orders", {"items": [{"related_object": "bundle"}]}),
        ("/v1/orders", {"items": [{"quantity": 1}] * 501}),
        ("/v1/orders", None),
        ("/v1/orders/import", {"source_id": "o"}),
        ("/v1/orders/import", []),
        ("/v1/orders/import", [{"source_id": "o"}] * 2_001),
        ("/v1/orders/import", [{"items": [{"quantity": 1}] * 501}]),
        ("/v1/customers", None),
        ("/v1/customers?limit=0", None),
        ("/v1/customers?limit=1", {}),
        ("/v1/customers/u", None),
        ("/v1/customers/u/permanent-deletion", {}),
        ("/v1/customers/u/permanent-deletion", {"source_id": "u"}),
        ("/v1/customers//permanent-deletion", None),
        ("/v1/customers/a/b/permanent-deletion", None),
        ("/v1/customers/a b/permanent-deletion", None),
        ("/v1/customers/é/permanent-deletion", None),
        ("/v1/customers/100%/permanent-deletion", None),
        ("/v1/customers/a?b/permanent-deletion", None),
    ],
)
def test_the_contract_can_be_broken(path: str, body: dict[str, Any] | None) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 -- the SDK's own errors are many
        assert_published(path, body)


@pytest.mark.parametrize("customer_id", ["user-1", "ada+1@example.com", "a%2Fb", "%C3%A9", "a%20b", "100%25"])
def test_a_permanent_deletion_has_an_encoded_id_and_no_body(customer_id: str) -> None:
    assert_published(f"/v1/customers/{customer_id}/permanent-deletion", None)


@pytest.mark.parametrize("limit", [1, 99, 100])
def test_a_list_of_customers_has_a_limit_and_no_body(limit: int) -> None:
    assert_published(f"/v1/customers?limit={limit}", None)


def test_an_order_has_up_to_500_items_and_an_import_up_to_2000_orders() -> None:
    item = {
        "source_id": "vase",
        "related_object": "product",
        "quantity": 1,
        "price": 1500,
        "product": {"name": "Vase", "price": 15.5, "override": True, "metadata": {"colors": ["red"]}},
    }
    order = {"source_id": "o", "status": "PAID", "amount": 1500, "customer": {"source_id": "u"}, "items": [item]}

    assert_published("/v1/orders", {**order, "items": [item] * 500})
    assert_published("/v1/orders/import", [order] * 2_000)
