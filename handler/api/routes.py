"""The paths that the function answers, and what each takes.

`/events` is for Segment's webhooks, `/events/{source}` for those of one of several sources; `/v1/…` is Segment's HTTP
Tracking API for its libraries, where the write key says which source it is.
https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from handler.api.api_gateway import HttpRequest
from handler.model.errors import MethodNotAllowed, NotFound
from handler.settings.sources import DEFAULT_SOURCE

_EVENTS = re.compile(r"/events(?:/(?P<source>[A-Za-z0-9_.-]+))?")
_TRACKING_API = re.compile(r"/v1/(?P<call>batch|identify|track|page|screen|group|alias)")


@dataclass(frozen=True, slots=True)
class Webhook:
    """Events as Segment's webhooks post them, of one source."""

    source: str


@dataclass(frozen=True, slots=True)
class TrackingApi:
    """A call of Segment's HTTP Tracking API: one of its types of events, or `batch`."""

    call: str


Route = Webhook | TrackingApi


def check_method(request: HttpRequest) -> None:
    """Raises MethodNotAllowed."""
    if request.method != "POST":
        raise MethodNotAllowed("wrong_method", "the one method is POST")


def route_at(path: str) -> Route:
    """Raises NotFound."""
    if match := _EVENTS.fullmatch(path):
        if match["source"] == DEFAULT_SOURCE:  # the name of the source without one
            raise NotFound("unknown_source", "there is no such source")
        return Webhook(match["source"] or DEFAULT_SOURCE)
    if match := _TRACKING_API.fullmatch(path):
        return TrackingApi(match["call"])
    raise NotFound("unknown_path", "the paths are /events, /events/{source} and /v1/{call}")
