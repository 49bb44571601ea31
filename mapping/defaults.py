"""The default mappings, in the shape of the settings `identifyMapping` and `trackMapping`.

They are those of Segment's classic Voucherify destination:
https://segment.com/docs/connections/destinations/catalog/voucherify/
"""

from __future__ import annotations

IDENTIFY_MAPPING = {
    "traits.name": "customer.name",
    "traits.firstName": "customer.firstName",
    "traits.lastName": "customer.lastName",
    "traits.email": "customer.email",
    "traits.description": "customer.description",
    "traits.phone": "customer.phone",
    "traits.metadata": "customer.metadata",
    "traits.address.city": "customer.address.city",
    "traits.address.state": "customer.address.state",
    "traits.address.country": "customer.address.country",
    "traits.address.street": "customer.address.line_1",
    "traits.address.postalCode": "customer.address.postal_code",
}

TRACK_MAPPING = {
    "properties.name": "customer.name",
    "properties.firstName": "customer.firstName",
    "properties.lastName": "customer.lastName",
    "properties.email": "customer.email",
    "properties.description": "customer.description",
    "properties.phone": "customer.phone",
    "properties.metadata": "customer.metadata",
    "properties.address.city": "customer.address.city",
    "properties.address.state": "customer.address.state",
    "properties.address.country": "customer.address.country",
    "properties.address.street": "customer.address.line_1",
    "properties.address.postalCode": "customer.address.postal_code",
}
