"""The paths that the function answers.

`/events` is for Segment's webhooks, `/events/{source}` for those of one of several sources; `/v1/…` is Segment's HTTP
Tracking API for its libraries, where the write key names the source.
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from handler.api.api_gateway import HttpRequest
from handler.model.errors import MethodNotAllowed, NotFound
from handler.model.reason_codes import RefusalCause
from handler.settings.sources import DEFAULT_SOURCE

# The last part of each path below /v1, and the call that it makes.
CALLS: Mapping[str, str] = {
    # The HTTP Tracking API as it is documented; analytics-python, -node, -go, -php, -rust: batch
    "batch": "batch",
    "identify": "identify",
    "track": "track",
    "page": "page",
    "screen": "screen",
    "group": "group",
    "alias": "alias",
    # analytics-java ("import/"), -ruby, -android and Analytics.NET; older versions of others
    "import": "batch",
    # analytics-kotlin, -swift, -react-native and Analytics-CSharp; Analytics.js with batching
    "b": "batch",
    # Analytics.js without batching
    "i": "identify",
    "t": "track",
    "p": "page",
    "s": "screen",
    "g": "group",
    "a": "alias",
}

# Webhooks (Actions) can be set to any of them. https://segment.com/docs/connections/destinations/catalog/actions-webhook/
WEBHOOK_METHODS = ("POST", "PUT", "PATCH")

_EVENTS = re.compile(r"/events(?:/(?P<source>[A-Za-z0-9_.-]+))?")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A Segment webhook of one source."""

    source: str
    methods = WEBHOOK_METHODS


@dataclass(frozen=True, slots=True)
class TrackingApi:
    """A call of Segment's HTTP Tracking API: `batch`, or one type of event."""

    call: str
    methods = ("POST",)


Route = Webhook | TrackingApi


def check_method(request: HttpRequest, route: Route) -> None:
    """Check the method. Raises MethodNotAllowed."""
    if request.method not in route.methods:
        allowed = ", ".join(route.methods)
        raise MethodNotAllowed(RefusalCause.WRONG_METHOD, f"the method must be {allowed}", allowed)


def route_at(path: str) -> Route:
    """Return the route of a path. Raises NotFound."""
    if match := _EVENTS.fullmatch(path):
        if match["source"] == DEFAULT_SOURCE:  # its path is /events
            raise NotFound(RefusalCause.UNKNOWN_SOURCE, "there is no such source")
        return Webhook(match["source"] or DEFAULT_SOURCE)
    if path.startswith("/v1/") and (call := CALLS.get(path.removeprefix("/v1/"))):
        return TrackingApi(call)
    raise NotFound(RefusalCause.UNKNOWN_PATH, "the paths are /events, /events/{source} and /v1/{call}")
