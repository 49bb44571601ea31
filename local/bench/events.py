"""The events of the bench and the path of their settings. It imports little, since memory is measured with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from local.stack.front import proxy_event
from local.stack.samples import sign
from mapping import EventMapping, Request, map_event

Json = dict[str, Any]

API_KEY, API_TOKEN = "bench-app-id", "bench-secret-key"


def settings_path(latency: int) -> str:
    """Return the path of the settings for a Voucherify that takes `latency` milliseconds for a call."""
    return f"/bench/{latency}ms"


# The twelve source paths of the default mapping of identify, from the event.
FIELDS = (
    *("traits.name", "traits.firstName", "traits.lastName", "traits.email", "traits.description", "traits.phone"),
    *("traits.metadata", "traits.address.city", "traits.address.state", "traits.address.country"),
    *("traits.address.street", "traits.address.postalCode"),
)


def identify(number: int) -> Json:
    """Return an identify with all fields of the default mapping, of another customer for each number."""
    return {
        **_envelope(number),
        "type": "identify",
        "traits": {
            "name": "Ada King Lovelace",
            "firstName": "Ada",
            "lastName": "Lovelace",
            "email": f"ada-{number}@example.com",
            "description": "Countess",
            "phone": "+44 20 5550 0100",
            "metadata": {"plan": "gold", "newsletter": True, "points": 1815},
            "address": {
                "street": "12 St James's Square",
                "city": "London",
                "state": "England",
                "postalCode": 10120,
                "country": "GB",
            },
        },
    }


def track(number: int) -> Json:
    """Return a track, of another customer for each number."""
    return {
        **_envelope(number),
        "type": "track",
        "event": "Order Completed",
        "properties": {
            "email": f"ada-{number}@example.com",
            "firstName": "Ada",
            "lastName": "Lovelace",
            "metadata": {"order_id": f"order-{number}", "total": 42.5},
        },
    }


def _envelope(number: int) -> Json:
    return {
        "version": 1,
        "messageId": f"ajs-next-1815121000000-{number:08d}",
        "userId": f"customer-{number}",
        "anonymousId": f"a1b2c3d4-0000-4000-8000-{number:012d}",
        "timestamp": "2026-12-02T00:30:08.276Z",
        "sentAt": "2026-12-02T00:30:08.300Z",
        "receivedAt": "2026-12-02T00:30:08.412Z",
        "originalTimestamp": "2026-12-02T00:30:08.270Z",
        "channel": "client",
        "integrations": {},
        "context": {
            "ip": "192.0.2.1",
            "library": {"name": "analytics.js", "version": "2.11.1"},
            "locale": "en-GB",
            "page": {"path": "/account", "title": "Account", "url": "https://shop.example.com/account"},
            "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        },
    }


def proxied(events: Sequence[Json], *, is_batch: bool = True) -> Json:
    """Return API Gateway's event for a request that Segment has signed; one event without `is_batch` is no array."""
    serialised = [json.dumps(event).encode() for event in events]
    body = b"[" + b",".join(serialised) + b"]" if is_batch else serialised[0]
    headers = {"Content-Type": "application/json", "User-Agent": "Segment.io/1.0", "X-Signature": sign(serialised[0])}
    return proxy_event("POST", "/events", headers, body)


def request_for(event: Json) -> Request:
    """Return the request that the default mapping makes. Raises TypeError where the event is skipped."""
    request = map_event(event, EventMapping.compile({}))
    if not isinstance(request, Request):
        raise TypeError(f"skipped: {request}")
    return request
