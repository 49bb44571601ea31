"""The paths that the function answers.

`/events` is for Segment's webhooks, `/events/{source}` for those of one of several sources; `/v1/…` is Segment's HTTP
Tracking API for its libraries, where the write key names the source.
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handler.api.api_gateway import HttpRequest
from handler.model.errors import MethodNotAllowed, NotFound
from handler.model.reason_codes import RefusalCause
from handler.settings.sources import DEFAULT_SOURCE

_EVENTS = re.compile(r"/events(?:/(?P<source>[A-Za-z0-9_.-]+))?")
_TRACKING_API = re.compile(r"/v1/(?P<call>batch|identify|track|page|screen|group|alias)")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A Segment webhook of one source."""

    source: str


@dataclass(frozen=True, slots=True)
class TrackingApi:
    """A call of Segment's HTTP Tracking API: `batch`, or one type of event."""

    call: str


Route = Webhook | TrackingApi


def check_method(request: HttpRequest) -> None:
    """Check the method. Raises MethodNotAllowed."""
    if request.method != "POST":
        raise MethodNotAllowed(RefusalCause.WRONG_METHOD, "the method must be POST")


def route_at(path: str) -> Route:
    """Return the route of a path. Raises NotFound."""
    if match := _EVENTS.fullmatch(path):
        if match["source"] == DEFAULT_SOURCE:  # its path is /events
            raise NotFound(RefusalCause.UNKNOWN_SOURCE, "there is no such source")
        return Webhook(match["source"] or DEFAULT_SOURCE)
    if match := _TRACKING_API.fullmatch(path):
        return TrackingApi(match["call"])
    raise NotFound(RefusalCause.UNKNOWN_PATH, "the paths are /events, /events/{source} and /v1/{call}")
