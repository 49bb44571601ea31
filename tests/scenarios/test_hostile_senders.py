"""Senders that mean harm, and one bad event among good ones.

Each limit has a test on both sides of it: what is just allowed is delivered.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from handler.api.webhook_handler import MAX_EVENTS
from handler.model.strict_json import MAX_DEPTH
from local.stack.samples import sign
from local.stack.system import API_KEY, API_TOKEN
from local.voucherify_stub.stub import Fault
from tests.function import ACCESS_TOKEN, Function
from tests.worker import Worker

WRITE_KEY = {"Authorization": f"Bearer {ACCESS_TOKEN}"}


def identify(number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "identify", "messageId": f"m-{number}", "userId": f"u-{number}", **fields}


def track(number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "track", "messageId": f"t-{number}", "userId": f"u-{number}", "event": "E", **fields}


def delete(number: int) -> dict[str, Any]:
    return {"type": "delete", "messageId": f"d-{number}", "userId": f"u-{number}"}


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


# Strangers


@pytest.mark.scenario(row=36)
@pytest.mark.parametrize("path", ["/events", "/v1/track", "/v1/batch"])
def test_a_bomb_is_refused_before_anybody_is_asked_who_he_is(function: Function, path: str) -> None:
    bomb = gzip.compress(b'{"a":[' + b'{"":{}},' * 4_000_000 + b"1]}")
    assert len(bomb) < 100_000
    assert function.send(bomb, {}, path=path).status == 413


@pytest.mark.parametrize(("call", "limit"), [("track", 32 * 1024), ("batch", 500 * 1024)])
def test_the_tracking_api_has_segments_own_limits(function: Function, call: str, limit: int) -> None:
    function.put(accessToken=ACCESS_TOKEN)
    empty = json.dumps({**track(1), "batch": [track(1)], "properties": {"x": ""}})
    for size, status in ((limit, 200), (limit + 1, 413)):
        body = empty.replace('"x": ""', f'"x": "{"x" * (size - len(empty))}"').encode()
        assert len(body) == size
        assert function.send(body, WRITE_KEY, path=f"/v1/{call}").status == status


def test_an_event_of_another_service_gets_a_clear_500(function: Function) -> None:
    events: list[dict[str, Any]] = [{}, {"version": "1.0", "httpMethod": "POST", "path": "/events"}, {"Records": []}]
    for event in events:
        answer = function.invoke(event)
        assert (answer.status, answer.body["message"]) == (
            500,
            "the function takes events of an HTTP API, payload format 2.0",
        )
    assert [line["cause"] for line in function.logs] == ["unsupported_event"] * 3


# One bad event, or too many


@pytest.mark.scenario(row=36)
def test_a_request_has_a_limit_of_events(function: Function) -> None:
    skipped = [{"type": "alias", "userId": "u"}] * MAX_EVENTS
    assert function.post_batch(skipped).body["skipped"] == MAX_EVENTS
    answer = function.post_batch([*skipped, identify(1)])
    assert (answer.status, answer.body["message"]) == (413, f"the body has more than {MAX_EVENTS} events")


@pytest.mark.scenario(row=36)
def test_a_request_of_bad_events_has_a_bounded_reply_and_a_bounded_log(function: Function) -> None:
    long_id = "x" * 10_000
    answer = function.post_batch([{"messageId": f"{number}{long_id}"} for number in range(150)])
    assert (answer.status, answer.body["rejected"], len(answer.body["errors"])) == (400, 150, 100)
    assert answer.body["message"] == "150 of 150 events rejected for good; errors has the first 100 of them"
    assert {len(error["messageId"]) for error in answer.body["errors"]} == {200}
    lines = list(function.logs)
    assert len([line for line in lines if line["message"] == "event not delivered"]) == 100
    assert [line["events_without_line"] for line in lines if line["message"] == "request"] == [50]
    assert sum(metric.get("NotDelivered", 0) for metric in function.logs.metrics) == 150
    assert len(function.dead_letters) == 150


def test_an_event_that_nests_too_deeply_is_dead_and_its_neighbours_are_delivered(function: Function) -> None:
    events = [identify(1), track(2, properties=nested(MAX_DEPTH)), identify(3, traits=nested(MAX_DEPTH - 1))]
    answer = function.post_batch(events)
    assert (answer.status, answer.body["delivered"], answer.body["rejected"]) == (200, 2, 1)
    assert [error["messageId"] for error in answer.body["errors"]] == ["t-2"]
    (record,) = function.dead_letters
    assert record["failure"]["code"] == "event_too_large"
    assert function.post(track(4, properties=nested(MAX_DEPTH))).status == 413


def batch_with_context(events: int, context_size: int, **own: Any) -> bytes:
    context = {f"k{number}": "" for number in range(context_size // 10)}
    return json.dumps({"context": context, "batch": [identify(number, **own) for number in range(events)]}).encode()


@pytest.mark.scenario(row=36)
def test_the_common_context_of_a_batch_is_not_multiplied(function: Function) -> None:
    """400 KB of it in each of 1,000 events would be 400 MB."""
    function.put(accessToken=ACCESS_TOKEN)
    answer = function.send(batch_with_context(1000, 400_000, context={"a": 1}), WRITE_KEY, path="/v1/batch")
    assert (answer.status, answer.body["code"]) == (413, "body_too_large")
    assert function.send(batch_with_context(100, 4_000), WRITE_KEY, path="/v1/batch").status == 200


# Deletes


def test_a_delete_is_carried_out_only_where_it_is_signed_or_a_token_covers_it(function: Function) -> None:
    function.put(deleteDisabled="false")
    answer = function.post_batch([identify(1), delete(2), identify(3)])
    assert (answer.body["delivered"], answer.body["rejected"]) == (2, 1)
    (record,) = function.dead_letters
    assert record["failure"]["code"] == "delete_not_signed"
    assert "type" not in record["event"], "a redrive must not delete the customer"
    assert function.post_batch([delete(4), identify(5)]).body["delivered"] == 2, "the first event is signed"
    assert function.post({"batch": [identify(6), delete(7)]}).body["delivered"] == 2, "all of an object is signed"

    function.put(accessToken=ACCESS_TOKEN)
    parts = [json.dumps(event).encode() for event in (identify(8), delete(9))]
    body = b"[" + b",".join(parts) + b"]"
    assert function.send(body, {**WRITE_KEY, "X-Signature": sign(parts[0])}).body["delivered"] == 2
    assert [path for _, path, _ in function.sent if "permanent-deletion" in path] == [
        f"/v1/customers/u-{number}/permanent-deletion" for number in (4, 7, 9)
    ]


@pytest.mark.scenario(row=37)
def test_a_customer_who_was_deleted_through_one_source_does_not_return_through_another(
    function: Function, worker: Worker
) -> None:
    function.put_source("shop", identifyDisabled="false")
    function.put(deleteDisabled="false")
    function.voucherify.next(Fault(503))
    assert function.post(identify(1), path="/events/shop").body["queued"] == 1
    assert function.post(delete(1)).body["delivered"] == 1
    worker.time_passes_until_one_is_visible()
    worker.run()
    assert [path for _, path, _ in function.sent] == ["/v1/customers", "/v1/customers/u-1/permanent-deletion"]


# Answers


def error(key: str) -> dict[str, Any]:
    return {"code": 400, "key": key, "message": "no"}


@pytest.mark.scenario(row=35)
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault(403, body="<html>Forbidden</html>"), 202, "voucherify_403"),
        (Fault(401, body="<html>Unauthorized</html>"), 202, "voucherify_401"),
        (
            Fault(403, body={"code": 403, "key": "missing_required_permission", "message": "no"}),
            200,
            "missing_permission",
        ),
        (Fault(402, body={"code": 402, "key": "missing_required_feature", "message": "no"}), 200, "missing_feature"),
    ],
)
def test_an_answer_about_one_event_harms_no_neighbour(function: Function, fault: Fault, status: int, code: str) -> None:
    function.voucherify.rule = lambda request: fault if request.json.get("event") == "Bad" else None
    answer = function.post_batch([track(number, event="Bad" if number == 3 else "Good") for number in range(10)])
    assert (answer.status, answer.body["delivered"]) == (status, 9)
    (record,) = function.retries + function.dead_letters
    assert record["failure"]["code"] == code


def test_credentials_that_are_refused_stop_the_rest(function: Function) -> None:
    function.voucherify.rule = lambda request: Fault(401, body=error("unauthorized"))
    answer = function.post_batch([track(number, userId="u") for number in range(10)])
    assert (answer.status, answer.body["queued"]) == (202, 10)
    assert {record["failure"]["code"] for record in function.retries} == {"credentials_refused"}
    assert len(function.sent) <= 2, "once, and once more after the settings were read again"


@pytest.mark.parametrize("status", [500, 503])
def test_retry_after_of_a_5xx_is_respected(function: Function, status: int) -> None:
    function.voucherify.next(Fault(status, headers={"Retry-After": "120"}))
    assert function.post(track(1)).body["queued"] == 1
    assert function.post(track(2)).body["queued"] == 1
    assert len(function.sent) == 1, "nothing more is sent until then"
    assert {record["failure"]["code"] for record in function.retries} == set(), "hidden until then"


def test_the_text_of_a_413_is_read(function: Function) -> None:
    body = {"statusCode": 413, "error": "Payload Too Large", "message": "request entity too large"}
    function.voucherify.next(Fault(413, body=body))
    assert function.post(track(1)).status == 400
    (record,) = function.dead_letters
    assert record["failure"]["message"] == "Voucherify answered 413: Payload Too Large request entity too large"


def test_credentials_that_are_quoted_with_escapes_are_masked(function: Function) -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in API_TOKEN)
    body = f'{{"code": 400, "key": "invalid", "message": "bad {escaped}", "details": "{API_KEY}"}}'
    function.voucherify.next(Fault(400, body=body))
    function.post(track(1))
    (record,) = function.dead_letters
    assert record["failure"]["message"] == "Voucherify answered 400 invalid: bad *** ***"


# Settings


@pytest.mark.parametrize(
    "settings", [{"apiUrl": "https://evil.example"}, {"apiUrl": "https://evil.example", "trackDisabled": "false"}]
)
def test_a_source_with_an_api_url_of_its_own_needs_credentials_of_its_own(
    function: Function, settings: Mapping[str, str]
) -> None:
    function.put_source("shop", **settings)
    assert function.post(identify(1), path="/events/shop").status == 503
    (fault,) = [line["faults"] for line in function.logs if "faults" in line]
    assert fault == ["apiUrl: is set for the source shop, which needs its own apiKey and apiToken then"]
    assert function.post(identify(2)).status == 200, "the other source goes on"
