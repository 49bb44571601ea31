"""The `integrations` of an event: whether its sender excludes Voucherify.

https://segment.com/docs/guides/filtering-data/#filtering-with-the-integrations-object
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mapping.event.casing import fold

_OWN_NAMES = frozenset(map(fold, ("Voucherify", "Voucherify (Actions)")))

# The destinations that carry an event to us:
# https://segment.com/docs/connections/destinations/catalog/webhooks/,
# https://segment.com/docs/connections/destinations/catalog/actions-webhook/ and
# https://www.twilio.com/docs/segment/connections/destinations/catalog/actions-webhook-extensible
_CARRIERS = frozenset(
    map(fold, ("Webhook", "Webhooks", "Webhooks (Actions)", "Extensible Webhook", "Extensible Webhooks"))
)

_ALL = frozenset({fold("All")})


def opts_out(integrations: object, *, is_routed: bool) -> bool:
    """Whether `integrations` exclude Voucherify. Names count in any casing.

    `false` under one of Voucherify's own names always does. `All: false` does where Segment has not routed the event
    to us, unless a name of Voucherify or of a webhook is `true` or an object with options. Of a routed event it does
    not: Segment's Replay and its consent manager send `All: false` beside the name of the destination that carries it.
    """
    if not isinstance(integrations, dict):
        return False
    if any(value is False for value in _values_of(integrations, _OWN_NAMES)):
        return True
    if is_routed or not any(value is False for value in _values_of(integrations, _ALL)):
        return False
    chosen = _values_of(integrations, _OWN_NAMES | _CARRIERS)
    return not any(value is True or isinstance(value, dict) for value in chosen)


def _values_of(integrations: Mapping[str, Any], names: frozenset[str]) -> list[Any]:
    return [value for name, value in integrations.items() if fold(name) in names]
