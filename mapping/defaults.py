"""The default mappings, in the shape of the settings `identifyMapping`, `trackMapping` and so on.

The mappings of identify and track are those of Segment's classic Voucherify destination:
https://segment.com/docs/connections/destinations/catalog/voucherify/
"""

from __future__ import annotations

from collections.abc import Mapping

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
