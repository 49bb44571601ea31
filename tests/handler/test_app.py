"""The whole path: API Gateway's event in, over SSM, Voucherify and SQS, to the answer. One test a promise."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

import pytest

from handler.model.failure_record import MAX_EVENT_BYTES
from local.stack.samples import SHARED_SECRET, sign
from local.stack.system import API_KEY, API_TOKEN
from local.voucherify_stub.stub import Fault
from tests.function import ACCESS_TOKEN, Function

IDENTIFY = {"type": "identify", "messageId": "m-1", "userId": "u-1", "traits": {"email": "ada@example.com"}}
TRACK = {"type": "track", "messageId": "m-2", "userId": "u-1", "event": "Signed Up", "properties": {"name": "Ada"}}
UNGUARDED = {name: value for name, value in TRACK.items() if name != "messageId"}  # may be delivered again and again
NOBODYS = {"type": "identify", "messageId": "m-3", "traits": {"email": "nobody@example.com"}}
UNKNOWN = {"type": "purchase", "messageId": "m-4", "userId": "u-1"}
PAGE = {"type": "page", "messageId": "m-5", "userId": "u-1"}

IDENTIFY_REQUEST = ("POST", "/v1/customers", {"source_id": "u-1", "email": "ada@example.com"})
TRACK_REQUEST = ("POST", "/v1/events", {"event": "Signed Up", "customer": {"source_id": "u-1", "name": "Ada"}})


def counts(**counted: int) -> dict[str, int]:
    return {**dict.fromkeys(("delivered", "queued", "skipped", "duplicate", "rejected"), 0), **counted}


def test_an_identify_becomes_a_customer(function: Function) -> None:
    answer = function.post(IDENTIFY)
    assert (answer.status, answer.body) == (200, counts(delivered=1))
    assert answer.headers["Content-Type"] == "application/json"
    assert function.sent == [IDENTIFY_REQUEST]
    assert function.voucherify.customers["u-1"]["email"] == "ada@example.com"


def test_a_track_becomes_a_custom_event(function: Function) -> None:
    answer = function.post(TRACK)
    assert (answer.status, answer.body) == (200, counts(delivered=1))
    assert function.sent == [TRACK_REQUEST]
    (call,) = function.voucherify.calls
    assert call.body == b'{"event":"Signed Up","customer":{"source_id":"u-1","name":"Ada"}}'
    assert (call.headers["X-App-Id"], call.headers["X-App-Token"]) == (API_KEY, API_TOKEN)


def test_a_batch_is_delivered_in_its_order(function: Function) -> None:
    answer = function.post_batch([IDENTIFY, TRACK, IDENTIFY])
    assert (answer.status, answer.body) == (200, counts(delivered=3))
    assert function.sent == [IDENTIFY_REQUEST, TRACK_REQUEST, IDENTIFY_REQUEST]


@pytest.mark.scenario(row=6)
def test_every_other_shape_of_a_body_is_delivered_too(function: Function) -> None:
    assert function.post({"batch": [IDENTIFY, UNGUARDED]}).body == counts(delivered=2)

    first = json.dumps(IDENTIFY).encode()
    body = b'[{"json": ' + first + b'}, {"json": ' + json.dumps(UNGUARDED).encode() + b"}]"
    assert function.send(body, {"X-Signature": sign(first)}).body == counts(delivered=2)

    packed = gzip.compress(first)
    headers = {"X-Signature": sign(first), "Content-Encoding": "gzip"}
    assert function.send(packed, headers).body == counts(delivered=1)
    assert function.sent == [IDENTIFY_REQUEST, TRACK_REQUEST] * 2 + [IDENTIFY_REQUEST]


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b'{"batch": []}', b'{"batch": [], "context": {}}'])
def test_a_body_without_events_is_400(function: Function, body: bytes) -> None:
    answer = function.post(body)
    assert (answer.status, answer.body["message"]) == (400, "the body holds no events")


@pytest.mark.scenario(row=16)
@pytest.mark.parametrize("status", [408, 423, 425, 500, 503, 401, 403, 302])
def test_what_may_succeed_later_is_in_the_retry_queue(function: Function, status: int) -> None:
    function.voucherify.next(Fault(status))
    answer = function.post(TRACK)
    assert (answer.status, answer.body) == (
        202,
        {**counts(queued=1), "message": "1 of 1 events stored for a later retry"},
    )
    (record,) = function.retries
    assert record["event"] == TRACK
    assert (record["source"], record["attempts"]) == ("default", 1)
    assert record["failure"]["stage"] == "deliver"
    assert f"Voucherify answered {status}" in record["failure"]["message"]
    assert function.dead_letters == []


@pytest.mark.scenario(row=17)
def test_an_answer_that_does_not_come_in_time_leaves_a_record_that_says_what_may_have_happened(
    function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "2")
    function.warm_up()
    function.aws.empty_queues()
    function.voucherify.next(Fault(delay=600))
    assert function.post(TRACK).status == 202
    (record,) = function.retries
    assert record["failure"]["code"] == "voucherify_timeout"
    assert record["failure"]["message"].endswith("the event may have been applied")


@pytest.mark.scenario(row=15)
def test_what_voucherify_refuses_is_in_the_dead_letter_queue_with_its_words(function: Function) -> None:
    error = {"code": 400, "key": "invalid_thing", "message": "Bad u-1", "details": "d", "request_id": "v-9"}
    function.voucherify.next(Fault(400, body=error))
    answer = function.post(TRACK)
    assert answer.status == 400
    assert answer.body == {
        **counts(rejected=1),
        "message": "1 of 1 events rejected for good",
        "errors": [{"messageId": "m-2", "reason": "Voucherify answered 400 invalid_thing"}],
    }
    (record,) = function.dead_letters
    assert record["failure"] == {
        "stage": "deliver",
        "code": "voucherify_400",
        "message": "Voucherify answered 400 invalid_thing: Bad u-1 d (request_id v-9)",
    }
    assert function.retries == []


def test_an_event_of_nobody_is_rejected_and_never_sent(function: Function) -> None:
    answer = function.post(NOBODYS)
    assert answer.status == 400
    reason = "no userId or anonymousId: send one of them, or map a field to customer.source_id"
    assert answer.body["errors"] == [{"messageId": "m-3", "reason": reason}]
    (record,) = function.dead_letters
    assert record["event"] == NOBODYS
    assert record["attempts"] == 0
    assert record["failure"] == {"stage": "map", "code": "customer_id_missing", "message": reason}
    assert function.sent == []


def test_a_single_event_of_a_type_that_nobody_knows_is_501(function: Function) -> None:
    answer = function.post(UNKNOWN)
    assert (answer.status, answer.body["rejected"]) == (501, 1)
    (record,) = function.dead_letters
    assert record["failure"] == {
        "stage": "normalise",
        "code": "unknown_type",
        "message": "type is not one of Segment's calls",
    }


def test_inside_a_batch_such_an_event_is_rejected_and_its_neighbours_are_delivered(function: Function) -> None:
    answer = function.post_batch([IDENTIFY, UNKNOWN, 17, TRACK])
    assert answer.status == 200
    assert answer.body == {
        **counts(delivered=2, rejected=2),
        "message": "2 of 4 events rejected for good",
        "errors": [
            {"messageId": "m-4", "reason": "type is not one of Segment's calls"},
            {"messageId": None, "reason": "an event must be a JSON object, not a number"},
        ],
    }
    assert [record["event"] for record in function.dead_letters] == [UNKNOWN, 17]
    assert function.post_batch([UNKNOWN]).status == 400


@pytest.mark.scenario(row=7)
def test_one_malformed_event_among_a_thousand_is_dead_and_the_rest_delivered(function: Function) -> None:
    events: list[Any] = [{**IDENTIFY, "messageId": f"m-{number}"} for number in range(1000)]
    events[500] = {"type": "track", "userId": []}
    answer = function.post_batch(events)
    assert (answer.status, answer.body["delivered"], answer.body["rejected"]) == (200, 999, 1)
    assert [line["index"] for line in function.logs if line["message"] == "event not delivered"] == [500]


def test_one_stored_event_makes_it_202_whatever_else_happened(function: Function) -> None:
    function.voucherify.next(None, Fault(503))
    answer = function.post_batch([IDENTIFY, TRACK, NOBODYS, PAGE])
    assert answer.status == 202
    assert {name: answer.body[name] for name in counts()} == counts(delivered=1, queued=1, rejected=1, skipped=1)
    assert answer.body["message"] == "1 of 4 events stored for a later retry; 1 of 4 events rejected for good"


@pytest.mark.parametrize("status", [401, 403, 302])
def test_after_an_answer_that_every_call_would_get_nothing_more_is_sent(function: Function, status: int) -> None:
    function.voucherify.next(None, Fault(status))
    answer = function.post_batch([IDENTIFY, UNGUARDED, UNGUARDED, UNGUARDED])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 1, 3)
    assert len(function.sent) == 2
    assert sorted(record["attempts"] for record in function.retries) == [0, 0, 1]


def test_what_the_settings_switch_off_is_skipped(function: Function) -> None:
    function.put(identifyDisabled="true", trackEventsFilter='["Order Completed"]')
    answer = function.post_batch([IDENTIFY, TRACK, {**TRACK, "event": "Order Completed"}, PAGE])
    assert (answer.status, answer.body) == (200, counts(delivered=1, skipped=3))
    request = next(line for line in function.logs if line["message"] == "request")
    assert request["skip_reasons"] == {"identify_disabled": 1, "track_events_filter": 1, "page_disabled": 1}


def test_the_shops_own_mapping_is_applied(function: Function) -> None:
    function.put(trackMapping='{"properties.name": "metadata.who", "context.ip": "customer.metadata.ip"}')
    function.post({**TRACK, "context": {"ip": "192.0.2.1"}})
    assert function.sent == [
        (
            "POST",
            "/v1/events",
            {
                "event": "Signed Up",
                "customer": {"source_id": "u-1", "metadata": {"ip": "192.0.2.1"}},
                "metadata": {"who": "Ada"},
            },
        )
    ]


def test_a_field_that_cannot_be_made_valid_is_left_out_and_named_in_the_log(function: Function) -> None:
    assert function.post({**IDENTIFY, "traits": {"email": "ada@example.com", "phone": {"home": 1}}}).status == 200
    assert function.sent == [IDENTIFY_REQUEST]
    (request,) = function.logs
    assert request["left_out"] == {"customer.phone (from traits.phone): an object is not text": 1}


def test_both_credentials_must_hold_where_both_are_set(function: Function) -> None:
    function.put(accessToken=ACCESS_TOKEN)
    signed = {"X-Signature": sign(json.dumps(IDENTIFY).encode())}
    basic = base64.b64encode(f"{ACCESS_TOKEN}:".encode()).decode()
    assert function.post(IDENTIFY, signed).status == 401
    assert function.post(IDENTIFY, {"Authorization": f"Bearer {ACCESS_TOKEN}"}).status == 401
    assert function.post(IDENTIFY, {**signed, "Authorization": "Bearer wrong"}).status == 401
    assert function.sent == []
    assert function.post(IDENTIFY, {**signed, "Authorization": f"Bearer {ACCESS_TOKEN}"}).status == 200
    assert function.post(IDENTIFY, {**signed, "authorization": f"Basic {basic}"}).status == 200


@pytest.mark.scenario(row=2)
@pytest.mark.parametrize("headers", [{}, {"X-Signature": ""}, {"X-Signature": "0" * 40}])
def test_who_is_not_segment_gets_401_and_nothing_happens(function: Function, headers: dict[str, str]) -> None:
    answer = function.post(IDENTIFY, headers)
    assert (answer.status, answer.body) == (401, {**counts(), "message": "missing or wrong credentials"})
    assert (function.sent, function.retries, function.dead_letters) == ([], [], [])


@pytest.mark.scenario(row=3)
def test_the_previous_secret_is_accepted_while_it_is_rotated_and_the_log_says_which_matched(function: Function) -> None:
    function.put(sharedSecret="new", sharedSecretPrevious=SHARED_SECRET)
    assert function.post(IDENTIFY).status == 200
    (request,) = function.logs
    assert request["matched"] == {"sharedSecret": "previous"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/events", 405),
        ("DELETE", "/events", 405),
        ("POST", "/", 404),
        ("POST", "/v1/x", 404),
        ("GET", "/x", 404),
    ],
)
def test_another_path_is_404_and_another_method_405(function: Function, method: str, path: str, status: int) -> None:
    answer = function.post(IDENTIFY, method=method, path=path)
    assert answer.status == status
    assert answer.headers.get("Allow") == ("POST, PUT, PATCH" if status == 405 else None)
    assert function.sent == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "put"])
def test_a_webhook_may_use_each_method_that_segment_offers(function: Function, method: str) -> None:
    assert function.post(IDENTIFY, method=method).body["delivered"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b'"text"', b'{"a": NaN}', b'{"batch": 1}'])
def test_a_body_that_is_no_event_is_400(function: Function, body: bytes) -> None:
    answer = function.post(body)
    assert answer.status == 400
    assert answer.body["message"].startswith(("the body is", '"batch"'))
    assert (function.retries, function.dead_letters) == ([], [])


def test_a_single_event_that_could_not_be_stored_is_413(function: Function) -> None:
    answer = function.post({**TRACK, "properties": {"x": "x" * MAX_EVENT_BYTES}})
    assert (answer.status, answer.body["message"]) == (
        413,
        "the event is larger than an SQS message, or nested too deeply",
    )
    assert function.sent == []


def test_inside_a_batch_such_an_event_is_dead_without_its_payload_and_its_neighbours_delivered(
    function: Function,
) -> None:
    huge = {**TRACK, "messageId": "huge", "properties": {"x": "x" * MAX_EVENT_BYTES}}
    answer = function.post_batch([IDENTIFY, huge, TRACK])
    assert (answer.status, answer.body["delivered"], answer.body["rejected"]) == (200, 2, 1)
    (record,) = function.dead_letters
    assert record["event"] == {"messageId": "huge", "userId": "u-1", "event": "Signed Up"}
    assert record["failure"]["code"] == "event_too_large"


def test_many_events_that_are_large_only_together_are_delivered(function: Function) -> None:
    events = [{**UNGUARDED, "properties": {"x": "x" * 400_000}} for _ in range(5)]
    assert function.post_batch(events).body == counts(delivered=5)


def test_without_readable_settings_it_is_503_and_the_next_request_tries_again(function: Function) -> None:
    function.aws.delete_settings()
    answer = function.post(IDENTIFY)
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.body == {**counts(), "message": "not accepted, try again later"}
    function.put(apiKey=API_KEY, apiToken=API_TOKEN, apiUrl=function.voucherify.url, sharedSecret=SHARED_SECRET)
    assert function.post(IDENTIFY).status == 200


@pytest.mark.scenario(row=2)
def test_without_any_secret_nobody_is_let_in(function: Function) -> None:
    function.aws.delete_settings()
    function.put(apiKey=API_KEY, apiToken=API_TOKEN, apiUrl=function.voucherify.url)
    assert function.post(IDENTIFY, {}).status == 503
    assert function.sent == []


@pytest.mark.scenario(row=5)
def test_a_mapping_that_breaks_while_the_function_runs_leaves_the_last_good_one_in_force(function: Function) -> None:
    function.post(IDENTIFY)
    function.put(identifyMapping='{"traits.email": "customer.emial"}')
    assert function.post(IDENTIFY).status == 200
    assert function.sent == [IDENTIFY_REQUEST] * 2
    loud = next(line for line in function.logs if line["level"] == "ERROR")
    assert loud["faults"] == [
        "identifyMapping['traits.email']: 'customer.emial' is not a Voucherify field; did you mean 'customer.email'?"
    ]


def test_a_new_key_is_used_once_it_is_set(function: Function) -> None:
    function.put(apiToken="wrong")
    assert function.post(IDENTIFY).status == 202
    function.put(apiToken=API_TOKEN)
    assert function.post(IDENTIFY).status == 200


@pytest.mark.scenario(row=24)
def test_what_can_be_stored_in_neither_queue_is_503(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRY_QUEUE_URL", function.aws.environment["RETRY_QUEUE_URL"] + "-gone")
    monkeypatch.setenv("DEAD_LETTER_QUEUE_URL", function.aws.environment["DEAD_LETTER_QUEUE_URL"] + "-gone")
    function.voucherify.next(Fault(503))
    answer = function.post_batch([IDENTIFY, TRACK])
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert next(line for line in function.logs if line["message"] == "request")["cause"] == "not_stored"
    assert function.post(NOBODYS).status == 503
    assert function.post(IDENTIFY).status == 200, "what needs no storing does not suffer"


@pytest.mark.scenario(row=21)
def test_what_is_not_done_in_time_is_stored(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESPONSE_BUDGET_SECONDS", "2")
    function.warm_up()
    function.aws.empty_queues()
    function.voucherify.next(None, Fault(delay=600))
    answer = function.post_batch([IDENTIFY, UNGUARDED, IDENTIFY, UNGUARDED])
    assert (answer.status, answer.body["delivered"], answer.body["queued"]) == (202, 1, 3)
    assert sorted(record["failure"]["code"] for record in function.retries) == [
        "out_of_time",
        "out_of_time",
        "voucherify_timeout",
    ]


@pytest.mark.scenario(row=21)
def test_with_little_left_before_lambdas_time_out_events_are_stored_and_the_answer_goes_out(function: Function) -> None:
    function.warm_up()
    answer = function.post(IDENTIFY, seconds=1.0)
    assert (answer.status, answer.body["queued"]) == (202, 1)
    assert function.sent == []
    (record,) = function.retries
    assert (record["failure"]["code"], record["attempts"]) == ("out_of_time", 0)


CANARY = "canary-9f3c"


@pytest.mark.scenario(row=31)
def test_no_personal_data_and_no_secret_is_in_any_sink_but_the_record_of_its_event(function: Function) -> None:
    function.aws.delete_settings()
    secret, key, token = f"{CANARY}-secret", f"{CANARY}-key", f"{CANARY}-token"
    function.put(
        apiKey=key, apiToken=token, apiUrl=function.voucherify.url, sharedSecret=secret, accessToken=f"{CANARY}-a"
    )
    personal = {
        "email": f"{CANARY}@example.com",
        "phone": [CANARY],
        "metadata": CANARY,
        "address": {"city": {CANARY: 1}},
    }
    events = [
        {"type": "identify", "userId": "u-1", "traits": personal},
        {"type": "track", "userId": "u-1", "event": {CANARY: CANARY}, "properties": personal},
        {"type": "identify", "userId": {CANARY: 1}, "traits": personal},
        {"type": CANARY, "userId": "u-1"},
    ]
    function.voucherify.next(
        Fault(400, body={"code": 400, "key": CANARY, "message": f"{CANARY} {key} {token}", "request_id": CANARY})
    )
    first = json.dumps(events[0]).encode()
    headers = {"X-Signature": sign(first, secret), "Authorization": f"Bearer {CANARY}-a"}
    body = b"[" + first + b"," + json.dumps(events[1:]).encode()[1:]
    answers = [function.send(body, headers), function.send(body, {"X-Signature": CANARY, "Authorization": CANARY})]
    function.put(apiUrl=f"http://{CANARY}", identifyDisabled=CANARY)
    answers.append(function.send(body, headers))

    assert [answer.status for answer in answers] == [400, 401, 202]
    assert CANARY not in json.dumps([answer.body for answer in answers])
    assert CANARY not in function.logs.text
    messages = [*function.aws.messages("DEAD_LETTER_QUEUE_URL"), *function.aws.messages("RETRY_QUEUE_URL")]
    assert len(messages) == 8
    assert CANARY not in json.dumps([message["MessageAttributes"] for message in messages])
    for message in messages:
        assert key not in message["Body"]
        assert token not in message["Body"]
        assert secret not in message["Body"]
