"""The two sets of default mappings, in the shape of the settings `identifyMapping`, `trackMapping` and so on.

In the classic set, the mappings of identify and track are those of Segment's classic Voucherify destination:
https://segment.com/docs/connections/destinations/catalog/voucherify/
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

DefaultMapping = Mapping[str, str]

_CUSTOMER: DefaultMapping = {
    "name": "customer.name",
    "firstName": "customer.firstName",
    "lastName": "customer.lastName",
    "email": "customer.email",
    "description": "customer.description",
    "phone": "customer.phone",
    "metadata": "customer.metadata",
    "address.city": "customer.address.city",
    "address.state": "customer.address.state",
    "address.country": "customer.address.country",
    "address.street": "customer.address.line_1",
    "address.postalCode": "customer.address.postal_code",
}

TRAITS_MAPPING: DefaultMapping = {f"traits.{source}": destination for source, destination in _CUSTOMER.items()}
PROPERTIES_MAPPING: DefaultMapping = {f"properties.{source}": destination for source, destination in _CUSTOMER.items()}

# `properties.name` of a page or screen is its own name: https://segment.com/docs/connections/spec/page/#properties
VIEW_MAPPING: DefaultMapping = {
    source: destination
    for source, destination in PROPERTIES_MAPPING.items()
    if destination not in ("customer.name", "customer.firstName", "customer.lastName")
}
GROUP_MAPPING: DefaultMapping = {
    "groupId": "customer.metadata.group_id",
    "traits": "customer.metadata.group_traits",
}


# Segment's e-commerce spec, and the fields of a Voucherify order; both sets of defaults have it:
# https://segment.com/docs/connections/spec/ecommerce/v2/#order-completed
ORDER_MAPPING: DefaultMapping = {
    "properties.order_id": "order.source_id",
    "properties.revenue": "order.amount",
    "properties.total": "order.amount",
    "properties.discount": "order.discount_amount",
    "properties.currency": "order.metadata.currency",
    "properties.coupon": "order.metadata.coupon",
    "properties.affiliation": "order.metadata.affiliation",
    "properties.shipping": "order.metadata.shipping",
    "properties.tax": "order.metadata.tax",
    "properties.products": "order.items",
}


class DefaultSet(StrEnum):
    """The set of default mappings, a value of the setting `defaultMapping`."""

    CLASSIC = "classic"
    ACTIONS = "actions"


_ACTIONS_EVENT: DefaultMapping = {
    # The event's own e-mail address wins, since a later row replaces an earlier one.
    "context.traits.email": "customer.email",
    "properties.email": "customer.email",
    "properties.referral.code": "referral.code",
    "properties.referral.referrer_id": "referral.referrer_id",
    "properties.loyalty.code": "loyalty.code",
    "properties.metadata": "metadata",
}

# The defaults of "Voucherify (Actions)" in Segment's catalogue, by call:
# https://github.com/segmentio/action-destinations/tree/main/packages/destination-actions/src/destinations/voucherify
# (its actions upsertCustomer, addCustomEvent and assignCustomerToGroup).
ACTIONS_MAPPINGS: Mapping[str, DefaultMapping] = {
    "identify": {
        "traits.name": "customer.name",
        "traits.first_name": "customer.firstName",
        "traits.last_name": "customer.lastName",
        "traits.description": "customer.description",
        "traits.email": "customer.email",
        "traits.phone": "customer.phone",
        "traits.birthdate": "customer.birthdate",
        "traits.address.city": "customer.address.city",
        "traits.address.state": "customer.address.state",
        "traits.address.postal_code": "customer.address.postal_code",
        "traits.address.street": "customer.address.line_1",
        "traits.address.country": "customer.address.country",
        "traits.metadata": "customer.metadata",
    },
    "track": _ACTIONS_EVENT,
    "page": _ACTIONS_EVENT,
    "screen": _ACTIONS_EVENT,
    "group": {"$.email": "customer.email", **GROUP_MAPPING},
}
