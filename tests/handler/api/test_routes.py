"""The paths of Segment's webhooks and libraries."""

from __future__ import annotations

import pytest

from handler.api.routes import CALLS, TrackingApi, Webhook, route_at
from handler.model.errors import NotFound
from tests.function import ACCESS_TOKEN, Function

EVENT = {"type": "track", "messageId": "m-1", "userId": "u-1", "event": "Signed Up"}


@pytest.mark.parametrize(
    ("path", "source"), [("/events", "default"), ("/events/shop", "shop"), ("/events/a.b_c-1", "a.b_c-1")]
)
def test_a_webhook_has_a_source(path: str, source: str) -> None:
    assert route_at(path) == Webhook(source)


@pytest.mark.parametrize(
    ("library", "path", "call"),
    [
        ("analytics-python", "/v1/batch", "batch"),
        ("analytics-ruby", "/v1/import", "batch"),
        ("analytics-java", "/v1/import", "batch"),
        ("Analytics-CSharp", "/v1/b", "batch"),
        ("analytics-kotlin", "/v1/b", "batch"),
        ("Analytics.js", "/v1/t", "track"),
        ("Analytics.js", "/v1/i", "identify"),
        ("Analytics.js", "/v1/p", "page"),
        ("Analytics.js", "/v1/g", "group"),
        ("Analytics.js", "/v1/a", "alias"),
        ("curl", "/v1/screen", "screen"),
    ],
)
def test_a_library_has_its_paths(library: str, path: str, call: str) -> None:
    assert route_at(path) == TrackingApi(call)


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/v1/m", "/v1/Batch", "/v1/batch/x", "/v1/delete", "batch", "/batch"]
)
def test_there_is_no_other_path(path: str) -> None:
    with pytest.raises(NotFound):
        route_at(path)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("last_part", CALLS)
def test_an_event_is_accepted_at_each_path_of_a_library(function: Function, last_part: str, slash: str) -> None:
    function.put(accessToken=ACCESS_TOKEN, pageDisabled="false", screenDisabled="false")
    payload = {"batch": [EVENT]} if CALLS[last_part] == "batch" else {**EVENT, "name": "n", "groupId": "g"}
    answer = function.post(payload, {"Authorization": f"Bearer {ACCESS_TOKEN}"}, path=f"/v1/{last_part}{slash}")
    assert answer.status == 200
    is_skipped = CALLS[last_part] in {"group", "alias"}
    assert (answer.body["delivered"], answer.body["skipped"]) == ((0, 1) if is_skipped else (1, 0))
