"""`integrations` by the route of an event: a webhook, for which Segment has chosen, or a library or an archive."""

from __future__ import annotations

import pytest

from mapping import EventMapping, Request, Skip, SkipReason, explain, map_event

MAPPING = EventMapping.compile({})

# integrations, whether it is sent when a webhook delivers it, and when a library or an archive does
TABLE = [
    (None, True, True),
    ({}, True, True),
    ([False], True, True),
    (False, True, True),
    ({"All": True}, True, True),
    ({"All": False}, True, False),
    ({"all": False}, True, False),
    ({"All": None}, True, True),
    ({"All": 0}, True, True),
    ({"All": "false"}, True, True),
    ({"Mixpanel": False}, True, True),
    # Voucherify's own names
    ({"Voucherify": False}, False, False),
    ({"voucherify": False}, False, False),
    ({"VOUCHERIFY": False}, False, False),
    ({"Voucherify (Actions)": False}, False, False),
    ({"voucherify-actions": False}, False, False),
    ({"All": True, "Voucherify": False}, False, False),
    ({"Webhooks": True, "Voucherify": False}, False, False),
    ({"Voucherify": True, "Voucherify (Actions)": False}, False, False),
    ({"Voucherify": None}, True, True),
    ({"Voucherify": 0}, True, True),
    ({"Voucherify Loyalty": False}, True, True),
    ({"All": False, "Voucherify": True}, True, True),
    ({"All": False, "Voucherify": {}}, True, True),
    ({"All": False, "Voucherify (Actions)": {"x": 1}}, True, True),
    ({"All": False, "VOUCHERIFY (ACTIONS)": True}, True, True),
    ({"All": False, "Voucherify": None}, True, False),
    ({"All": False, "Voucherify": "yes"}, True, False),
    # the destinations that carry an event
    ({"All": False, "Webhooks": True}, True, True),
    ({"All": False, "webhooks": {"x": 1}}, True, True),
    ({"All": False, "Webhooks (Actions)": True}, True, True),
    ({"All": False, "Extensible Webhook": True}, True, True),
    ({"All": False, "Webhooks": False}, True, False),
    ({"All": False, "Webhooks": True, "Voucherify": False}, False, False),
    ({"All": False, "Mixpanel": True}, True, False),
    ({"Webhooks": False}, True, True),
    # as Segment's Replay and its consent manager send
    ({"All": False, "My Function (Workspace)": True}, True, False),
    ({"All": False, "Segment.io": True, "Amplitude": False, "Webhooks": True}, True, True),
]


@pytest.mark.scenario(row=10)
@pytest.mark.scenario(row=38)
@pytest.mark.parametrize(("integrations", "if_routed", "if_direct"), TABLE)
def test_integrations_by_route(integrations: object, if_routed: bool, if_direct: bool) -> None:
    event = {"type": "track", "userId": "u-1", "event": "Order Completed", "integrations": integrations}
    for is_routed, is_sent in ((True, if_routed), (False, if_direct)):
        outcome = map_event(event, MAPPING, is_routed=is_routed)
        assert isinstance(outcome, Request) if is_sent else outcome == Skip(SkipReason.OPTED_OUT)
        assert explain(event, MAPPING, is_routed=is_routed).outcome == outcome


def test_an_event_counts_as_routed_unless_told_otherwise() -> None:
    event = {"type": "identify", "userId": "u-1", "integrations": {"All": False}}
    assert map_event(event, MAPPING) == map_event(event, MAPPING, is_routed=True)
    assert explain(event, MAPPING) == explain(event, MAPPING, is_routed=True)
