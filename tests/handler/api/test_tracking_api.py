"""Segment's HTTP Tracking API: what is in a body, who is let in, and what the libraries are answered."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest

from handler.api.api_gateway import MAX_BODY_BYTES
from handler.api.body import Body
from handler.api.tracking_api import decode_call, write_key_of
from handler.model.errors import MalformedBody
from handler.model.failure_record import MAX_EVENT_BYTES
from local.stack.cold import start_cold
from local.stack.samples import SHARED_SECRET, sign
from local.voucherify_stub.stub import Fault
from tests.function import ACCESS_TOKEN, Answer, Function
from tests.scenarios.aws_proxy import aws_proxy, refuse

CALLS = ("batch", "identify", "track", "page", "screen", "group", "alias")

# No type: the path says it.
IDENTIFY = {"messageId": "m-1", "userId": "u-1", "traits": {"email": "ada@example.com"}}
TRACK = {"messageId": "m-2", "userId": "u-1", "event": "Signed Up", "properties": {"name": "Ada"}}
PAGE = {"messageId": "m-3", "userId": "u-1", "name": "Home", "properties": {"url": "https://example.com"}}
SCREEN = {"messageId": "m-4", "userId": "u-1", "name": "Cart", "properties": {}}
GROUP = {"messageId": "m-5", "userId": "u-1", "groupId": "g-1", "traits": {"name": "Initech"}}
ALIAS = {"messageId": "m-6", "userId": "u-1", "previousId": "a-1"}

IDENTIFY_REQUEST = ("POST", "/v1/customers", {"source_id": "u-1", "email": "ada@example.com"})
TRACK_REQUEST = ("POST", "/v1/events", {"event": "Signed Up", "customer": {"source_id": "u-1", "name": "Ada"}})
PAGE_REQUEST = ("POST", "/v1/events", {"event": "Viewed Home Page", "customer": {"source_id": "u-1"}})
SCREEN_REQUEST = ("POST", "/v1/events", {"event": "Viewed Cart Screen", "customer": {"source_id": "u-1"}})
GROUP_METADATA = {"group_id": "g-1", "group_traits": {"name": "Initech"}}
GROUP_REQUEST = ("POST", "/v1/customers", {"source_id": "u-1", "metadata": GROUP_METADATA})

REFUSED_CREDENTIALS = "missing or wrong credentials"


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


WRITE_KEY = basic(f"{ACCESS_TOKEN}:")


def post(function: Function, call: str, payload: object, headers: Mapping[str, str] = WRITE_KEY) -> Answer:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return function.send(body, headers, path=f"/v1/{call}")


def counts(**counted: int) -> dict[str, int]:
    return {**dict.fromkeys(("delivered", "queued", "skipped", "duplicate", "rejected"), 0), **counted}


def accepted(**counted: int) -> dict[str, Any]:
    return {"success": True, **counts(**counted)}


def refused(code: str, message: str) -> dict[str, Any]:
    return {"success": False, "code": code, **counts(), "message": message}


def the_request_line(function: Function) -> dict[str, Any]:
    (line,) = [line for line in function.logs if line["message"] == "request"]
    return line


@pytest.fixture
def api(function: Function) -> Function:
    """With an access token beside the shared secret, and every call switched on."""
    function.start_anew(
        sharedSecret=SHARED_SECRET,
        accessToken=ACCESS_TOKEN,
        pageDisabled="false",
        screenDisabled="false",
        groupDisabled="false",
    )
    return function


# What is in a body


@pytest.mark.parametrize("call", CALLS[1:])
@pytest.mark.parametrize("own", [{}, {"type": "delete"}, {"type": "batch"}, {"type": 17}, {"batch": [TRACK]}])
def test_the_body_of_a_single_call_is_one_event_of_the_paths_type(call: str, own: dict[str, Any]) -> None:
    body = json.dumps({**own, "userId": "u-1", "writeKey": "key"}).encode()
    assert decode_call(body, call) == Body([{**own, "userId": "u-1", "type": call}], is_batch=False)


@pytest.mark.parametrize(
    ("common", "own", "merged"),
    [
        ({}, {}, {}),
        ({"context": {"ip": "top", "locale": "en"}}, {}, {"context": {"ip": "top", "locale": "en"}}),
        ({"context": {"ip": "top"}}, {"context": None}, {"context": {"ip": "top"}}),
        (
            {"context": {"ip": "top", "locale": "en"}},
            {"context": {"ip": "own"}},
            {"context": {"ip": "own", "locale": "en"}},
        ),
        ({"context": {"ip": "top"}}, {"context": "no object"}, {"context": "no object"}),
        ({"context": "no object"}, {"context": {"ip": "own"}}, {"context": {"ip": "own"}}),
        ({"context": None}, {}, {}),
        ({"integrations": {"All": False}}, {"integrations": {}}, {"integrations": {"All": False}}),
        (
            {"integrations": {"All": False}},
            {"integrations": {"Voucherify": True}},
            {"integrations": {"All": False, "Voucherify": True}},
        ),
        ({"integrations": {"All": False}}, {"integrations": {"All": True}}, {"integrations": {"All": True}}),
        ({"sentAt": "now", "userId": "top", "writeKey": "key"}, {"writeKey": "key"}, {}),
    ],
)
def test_what_a_batch_says_once_goes_under_what_each_event_says_itself(
    common: dict[str, Any], own: dict[str, Any], merged: dict[str, Any]
) -> None:
    body = json.dumps({**common, "batch": [{"type": "track", **own}, {"type": "page"}]}).encode()
    first, second = decode_call(body, "batch").events
    assert first == {"type": "track", **merged}
    assert second == {"type": "page", **{name: value for name, value in common.items() if isinstance(value, dict)}}


def test_what_a_batch_holds_that_is_no_event_stays_what_it_is() -> None:
    body = b'{"context": {"ip": "top"}, "batch": [17, null, ["x"], {"type": "track"}]}'
    assert decode_call(body, "batch") == Body(
        [17, None, ["x"], {"type": "track", "context": {"ip": "top"}}], is_batch=True
    )


def test_an_empty_batch_has_no_events() -> None:
    assert decode_call(b'{"batch": [], "writeKey": "key"}', "batch") == Body([], is_batch=True)


@pytest.mark.parametrize(
    ("call", "body", "cause", "message"),
    [
        ("track", b"", "not_json", "the body is not JSON: Expecting value at line 1 column 1"),
        ("track", b'{"a": NaN}', "not_json", "the body is not JSON: NaN is not a JSON value"),
        ("track", b"[]", "unknown_shape", "the body is not a JSON object"),
        ("batch", b"[]", "unknown_shape", "the body is not a JSON object"),
        ("batch", b"{}", "unknown_shape", '"batch" is not an array'),
        ("batch", b'{"batch": {}}', "unknown_shape", '"batch" is not an array'),
    ],
)
def test_a_body_that_is_none_of_the_apis_is_malformed(call: str, body: bytes, cause: str, message: str) -> None:
    with pytest.raises(MalformedBody) as raised:
        decode_call(body, call)
    assert (raised.value.cause, raised.value.message) == (cause, message)


@pytest.mark.parametrize(
    ("payload", "write_key"),
    [
        ({"writeKey": "key"}, "key"),
        ({"batch": [], "writeKey": "key"}, "key"),
        ({"batch": [{"writeKey": "key"}]}, ""),
        ({}, ""),
        ({"writeKey": None}, ""),
        ({"writeKey": 17}, ""),
        ({"writeKey": ["key"]}, ""),
    ],
)
def test_the_write_key_is_text_at_the_top_of_the_body(payload: dict[str, Any], write_key: str) -> None:
    assert write_key_of(json.dumps(payload).encode()) == write_key


def test_without_a_json_object_there_is_no_write_key_to_read() -> None:
    with pytest.raises(MalformedBody):
        write_key_of(b'"key"')


# From the path to Voucherify


DELIVERED = {
    "identify": (IDENTIFY, IDENTIFY_REQUEST),
    "track": (TRACK, TRACK_REQUEST),
    "page": (PAGE, PAGE_REQUEST),
    "screen": (SCREEN, SCREEN_REQUEST),
    "group": (GROUP, GROUP_REQUEST),
}


def test_each_path_delivers_its_call_whatever_type_the_body_has(api: Function) -> None:
    of_the_body: tuple[dict[str, Any], ...] = ({}, {"type": "alias"}, {"Type": "alias"}, {"type": None})
    for call, (event, request) in DELIVERED.items():
        api.voucherify.reset()
        for number, own in enumerate(of_the_body):
            answer = post(api, call, {**event, **own, "messageId": f"{call}-{number}"})
            assert (answer.status, answer.body) == (200, accepted(delivered=1)), (call, own)
            assert answer.headers["Content-Type"] == "application/json"
        assert api.sent == [request] * 4


def test_a_batch_delivers_each_event_as_the_type_it_has_itself(api: Function) -> None:
    events = [
        {**IDENTIFY, "type": "identify"},
        {**TRACK, "type": "track"},
        {**PAGE, "type": "page"},
        {**SCREEN, "type": "screen"},
        {**GROUP, "type": "group"},
        {**ALIAS, "type": "alias"},
    ]
    answer = post(api, "batch", {"batch": events, "type": "track", "sentAt": "2026-12-02T00:30:08.276Z"})
    assert (answer.status, answer.body) == (200, accepted(delivered=5, skipped=1))
    assert api.sent == [IDENTIFY_REQUEST, TRACK_REQUEST, PAGE_REQUEST, SCREEN_REQUEST, GROUP_REQUEST]
    assert the_request_line(api)["skip_reasons"] == {"alias_not_supported": 1}


def test_what_no_setting_has_switched_on_is_accepted_and_skipped(function: Function) -> None:
    function.start_anew(accessToken=ACCESS_TOKEN)
    for call, event in (("page", PAGE), ("screen", SCREEN), ("group", GROUP), ("alias", ALIAS)):
        answer = post(function, call, event)
        assert (answer.status, answer.body) == (200, accepted(skipped=1)), call
    reasons = ("page_disabled", "screen_disabled", "group_disabled", "alias_not_supported")
    assert [line["skip_reasons"] for line in function.logs] == [{reason: 1} for reason in reasons]
    assert (function.sent, function.retries, function.dead_letters) == ([], [], [])


def test_the_context_of_a_batch_is_mapped_for_each_event_and_an_events_own_goes_over_it(api: Function) -> None:
    api.put(trackMapping='{"context.ip": "metadata.ip", "context.locale": "metadata.locale"}')
    bare = {"type": "track", "userId": "u-1", "event": "E"}
    post(
        api,
        "batch",
        {
            "batch": [bare, {**bare, "context": {"ip": "192.0.2.2"}}],
            "context": {"ip": "192.0.2.1", "locale": "en-GB"},
        },
    )
    assert [body["metadata"] for _, _, body in api.sent] == [
        {"ip": "192.0.2.1", "locale": "en-GB"},
        {"ip": "192.0.2.2", "locale": "en-GB"},
    ]


def test_a_batch_that_opts_out_skips_all_of_its_events(api: Function) -> None:
    for integrations in ({"Voucherify": False}, {"All": False}):
        event = {**TRACK, "type": "track"}
        events = [event, {**event, "integrations": {}}, {**event, "integrations": None}]
        answer = post(api, "batch", {"batch": events, "integrations": integrations})
        assert (answer.status, answer.body) == (200, accepted(skipped=3))
    assert api.sent == []
    assert [line["skip_reasons"] for line in api.logs] == [{"opted_out": 3}] * 2


def test_integrations_of_a_batch_and_of_its_event_count_as_one_object_the_events_own_over_the_batchs(
    api: Function,
) -> None:
    table = (
        ({"Voucherify": False}, {"All": True}, "skipped"),
        ({"Voucherify": False}, {"Voucherify": True}, "delivered"),
        ({"All": False}, {"All": True}, "delivered"),
        ({"All": False}, {"Voucherify": True}, "delivered"),
        ({"All": True}, {"Voucherify": False}, "skipped"),
        ({"Voucherify": True}, {"All": False}, "delivered"),
    )
    for number, (top, own, status) in enumerate(table):
        event = {**TRACK, "type": "track", "messageId": f"m-{number}", "integrations": own}
        answer = post(api, "batch", {"batch": [event], "integrations": top})
        assert answer.body == accepted(**{status: 1}), (top, own)


def test_integrations_count_by_the_way_of_an_event(api: Function) -> None:
    """Segment has chosen a webhook before it delivers an event; its Replay adds `All: false`."""
    event = {**IDENTIFY, "type": "identify"}
    table: tuple[tuple[dict[str, Any], int, int], ...] = (
        ({"All": False}, 0, 1),
        ({"All": False, "Webhooks": True}, 0, 0),
        ({"All": False, "My Function": True}, 0, 1),
        ({"Voucherify (Actions)": False}, 1, 1),
    )
    for integrations, skipped_by_webhook, skipped_by_library in table:
        chosen = {**event, "integrations": integrations}
        body = json.dumps(chosen).encode()
        webhook = api.send(body, {"X-Signature": sign(body), **bearer(ACCESS_TOKEN)})
        library = post(api, "identify", chosen)
        assert [webhook.status, library.status] == [200, 200]
        skipped = (webhook.body["skipped"], library.body["skipped"])
        assert skipped == (skipped_by_webhook, skipped_by_library), integrations


def test_a_body_packed_with_gzip_is_unpacked(api: Function) -> None:
    body = gzip.compress(json.dumps({"batch": [{**IDENTIFY, "type": "identify"}], "writeKey": ACCESS_TOKEN}).encode())
    for headers in (WRITE_KEY, {**WRITE_KEY, "Content-Encoding": "gzip"}, {}):
        assert post(api, "batch", body, headers).body == accepted(delivered=1)
    assert api.sent == [IDENTIFY_REQUEST] * 3


def test_an_empty_batch_is_accepted(api: Function) -> None:
    answer = post(api, "batch", {"batch": []})
    assert (answer.status, answer.body) == (200, accepted())


def test_a_request_has_one_line_in_the_log(api: Function) -> None:
    post(api, "batch", {"batch": [{**IDENTIFY, "type": "identify"}], "writeKey": ACCESS_TOKEN})
    volatile = {"timestamp", "request_id", "duration_ms", "service"}
    assert [{name: value for name, value in line.items() if name not in volatile} for line in api.logs] == [
        {
            "level": "INFO",
            "message": "request",
            "source": "default",
            "status": 200,
            "matched": {"accessToken": "current"},
            "events": 1,
            "delivered": 1,
            "message_ids": {"delivered": ["m-1"]},
        }
    ]


# What the libraries are answered


def test_what_is_stored_for_a_later_retry_is_accepted(api: Function) -> None:
    api.voucherify.next(Fault(503))
    answer = post(api, "track", {**TRACK, "writeKey": ACCESS_TOKEN})
    assert (answer.status, answer.body) == (
        200,
        {**accepted(queued=1), "message": "1 of 1 events stored for a later retry"},
    )
    (record,) = api.retries
    assert record["event"] == {**TRACK, "type": "track"}
    assert (record["source"], record["attempts"]) == ("default", 1)
    assert api.dead_letters == []


def test_what_voucherify_refuses_is_accepted_and_a_dead_letter(api: Function) -> None:
    api.voucherify.next(Fault(400))
    answer = post(api, "track", {**TRACK, "writeKey": ACCESS_TOKEN})
    assert (answer.status, answer.body) == (
        200,
        {
            **accepted(rejected=1),
            "message": "1 of 1 events rejected for good",
            "errors": [{"messageId": "m-2", "reason": "Voucherify answered 400 invalid_payload"}],
        },
    )
    (record,) = api.dead_letters
    assert record["event"] == {**TRACK, "type": "track"}
    assert api.retries == []


def test_a_batch_of_which_nothing_can_be_delivered_is_accepted_and_dead(api: Function) -> None:
    """The libraries would drop it on any 4xx and send it again on a 501 or 5xx, and no answer makes it better."""
    events = [{"type": "identify", "traits": {}}, {"type": "purchase", "userId": "u-1"}, {"userId": "u-1"}, 17]
    answer = post(api, "batch", {"batch": events})
    assert (answer.status, answer.body["success"], answer.body["rejected"]) == (200, True, 4)
    codes = ["customer_id_missing", "unknown_type", "invalid_event", "invalid_event"]
    assert [(record["event"], record["failure"]["code"]) for record in api.dead_letters] == [
        *zip(events, codes, strict=True)
    ]
    assert api.sent == []


def test_each_event_of_a_batch_has_its_own_fate(api: Function) -> None:
    events = [
        {**IDENTIFY, "type": "identify"},
        {**TRACK, "type": "track"},
        {"type": "track", "messageId": "m-9", "event": "Nobody's"},
        {**ALIAS, "type": "alias"},
    ]
    api.voucherify.next(None, Fault(503))
    answer = post(api, "batch", {"batch": events})
    assert (answer.status, answer.body) == (
        200,
        {
            **accepted(delivered=1, queued=1, rejected=1, skipped=1),
            "message": "1 of 4 events stored for a later retry; 1 of 4 events rejected for good",
            "errors": [
                {
                    "messageId": "m-9",
                    "reason": "no userId or anonymousId: send one of them, or map a field to customer.source_id",
                },
            ],
        },
    )


def test_a_batch_that_is_sent_again_delivers_no_track_twice(api: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library sends the same batch again where it got a 503."""
    batch = {"batch": [{**TRACK, "type": "track"}, {**TRACK, "type": "track", "messageId": "m-9", "event": "Second"}]}
    with monkeypatch.context() as without_queues:
        for queue in ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"):
            without_queues.setenv(queue, api.aws.environment[queue] + "-gone")
        api.voucherify.next(None, Fault(503))
        answer = post(api, "batch", batch)
    assert (answer.status, answer.body) == (503, refused("not_stored", "not accepted, try again later"))

    assert post(api, "batch", batch).body == accepted(delivered=1, duplicate=1)
    assert post(api, "batch", batch).body == accepted(duplicate=2)
    assert [event["event"] for event in api.voucherify.events] == ["Signed Up", "Second"]


NOT_JSON = "the body is not JSON"
GZIP_BOMB = gzip.compress(bytes(MAX_BODY_BYTES + 1))


TOO_LARGE = json.dumps({**TRACK, "properties": {"x": "x" * MAX_EVENT_BYTES}}).encode()

# The call, its body, and the answer's status, code and message.
BAD_BODIES = (
    (
        "track",
        b"{",
        400,
        "not_json",
        f"{NOT_JSON}: Expecting property name enclosed in double quotes at line 1 column 2",
    ),
    ("identify", b"[]", 400, "unknown_shape", "the body is not a JSON object"),
    ("batch", b"[]", 400, "unknown_shape", "the body is not a JSON object"),
    ("batch", b"{}", 400, "unknown_shape", '"batch" is not an array'),
    ("batch", b"\x1f\x8bno", 400, "bad_encoding", "the body is not valid gzip"),
    ("batch", b" " * 512_001, 413, "body_too_large", "the body of batch has more than 512000 bytes"),
    ("batch", GZIP_BOMB, 413, "body_too_large", f"the body unpacks to more than {MAX_BODY_BYTES} bytes"),
    ("track", TOO_LARGE, 413, "body_too_large", "the body of track has more than 32768 bytes"),
)


def test_a_body_that_cannot_be_taken_is_refused_with_a_code(api: Function) -> None:
    for call, body, status, code, message in BAD_BODIES:
        answer = post(api, call, body)
        assert (answer.status, answer.body) == (status, refused(code, message))
    assert (api.sent, api.retries, api.dead_letters) == ([], [], [])
    assert [line["cause"] for line in api.logs] == [code for _, _, _, code, _ in BAD_BODIES]


def test_the_one_method_is_post(api: Function) -> None:
    for call in CALLS:
        for method in ("GET", "PUT", "OPTIONS"):
            answer = api.send(json.dumps(TRACK).encode(), WRITE_KEY, method=method, path=f"/v1/{call}")
            assert (answer.status, answer.body) == (405, refused("wrong_method", "the method must be POST"))
            assert answer.headers["Allow"] == "POST"
    assert api.sent == []


def test_no_other_path_is_the_apis(api: Function) -> None:
    for path in ("/v1", "/v1/delete", "/v1/Track", "/v1/track/u-1", "/v2/track", "/events/v1/track"):
        assert api.send(json.dumps(TRACK).encode(), WRITE_KEY, path=path).status == 404, path
    assert api.sent == []


def test_where_a_setting_closes_the_api_it_is_not_found(api: Function) -> None:
    api.put(trackingApiDisabled="true")
    for call in CALLS:
        answer = post(api, call, {**TRACK, "batch": []})
        assert (answer.status, answer.body) == (404, refused("tracking_api_disabled", "there is no such path"))
    assert post(api, "track", TRACK, bearer("wrong")).status == 401, "a stranger does not learn even that"
    assert api.sent == []
    signed = {"X-Signature": sign(json.dumps({**TRACK, "type": "track"}).encode()), **WRITE_KEY}
    assert api.post({**TRACK, "type": "track"}, signed).status == 200, "webhooks are let in"


def test_without_settings_nothing_is_accepted_and_the_library_tries_again(api: Function) -> None:
    api.aws.delete_settings()
    answer = post(api, "track", TRACK)
    assert (answer.status, answer.body) == (503, refused("faulty_settings", "not accepted, try again later"))
    assert int(answer.headers["Retry-After"]) > 0


def test_settings_that_cannot_be_read_are_no_wrong_write_key(api: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    with aws_proxy(api.aws.url) as proxy:
        proxy.rule = refuse("GetParametersByPath", status=400, code="AccessDeniedException")
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        answer = post(api, "track", TRACK, bearer("anybody's"))
    assert (answer.status, answer.body) == (503, refused("settings_unavailable", "not accepted, try again later"))


# Who is let in


# Headers, and what is in the body beside the event.
GOOD_CREDENTIALS: tuple[tuple[dict[str, str], dict[str, Any]], ...] = (
    (basic(f"{ACCESS_TOKEN}:"), {}),
    (basic(ACCESS_TOKEN), {}),
    (bearer(ACCESS_TOKEN), {}),
    ({"authorization": f"bearer  {ACCESS_TOKEN} "}, {}),
    ({}, {"writeKey": ACCESS_TOKEN}),
    (basic(f"{ACCESS_TOKEN}:"), {"writeKey": "another"}),
    ({"X-Signature": "0" * 40, **bearer(ACCESS_TOKEN)}, {}),
)


def test_the_access_token_is_the_write_key_and_no_signature_is_asked_for(api: Function) -> None:
    for number, (headers, body) in enumerate(GOOD_CREDENTIALS):
        answer = post(api, "track", {**TRACK, **body, "messageId": f"m-{number}"}, headers)
        assert (answer.status, answer.body) == (200, accepted(delivered=1)), (headers, body)
    assert api.sent == [TRACK_REQUEST] * len(GOOD_CREDENTIALS)


# Headers, what is in the body beside the event, and the cause.
BAD_CREDENTIALS: tuple[tuple[dict[str, str], dict[str, Any], str], ...] = (
    ({}, {}, "missing_token"),
    ({}, {"writeKey": ""}, "missing_token"),
    ({}, {"writeKey": 17}, "missing_token"),
    ({}, {"properties": {"writeKey": ACCESS_TOKEN}}, "missing_token"),
    ({}, {"writeKey": "wrong"}, "wrong_token"),
    ({}, {"writeKey": ACCESS_TOKEN.upper()}, "wrong_token"),
    ({}, {"writeKey": f" {ACCESS_TOKEN}"}, "wrong_token"),
    (basic("wrong:"), {}, "wrong_token"),
    (bearer("wrong"), {}, "wrong_token"),
    (bearer("wrong"), {"writeKey": ACCESS_TOKEN}, "wrong_token"),
    (bearer("wörng"), {}, "wrong_token"),
    (basic(f"{ACCESS_TOKEN}:password"), {}, "missing_token"),
    (basic(f":{ACCESS_TOKEN}"), {}, "missing_token"),
    (basic(""), {}, "missing_token"),
    ({"Authorization": f"Basic {ACCESS_TOKEN}:"}, {}, "missing_token"),
    ({"Authorization": ACCESS_TOKEN}, {}, "missing_token"),
    ({"Authorization": f"Digest {ACCESS_TOKEN}"}, {}, "missing_token"),
    ({"X-Write-Key": ACCESS_TOKEN}, {}, "missing_token"),
)


@pytest.mark.parametrize("call", ["track", "batch"])
def test_without_the_write_key_it_is_401_and_nothing_happens(api: Function, call: str) -> None:
    for headers, body, cause in BAD_CREDENTIALS:
        payload = {**TRACK, **body, "batch": [{**TRACK, "type": "track", "writeKey": ACCESS_TOKEN}]}
        answer = post(api, call, payload, headers)
        assert (answer.status, answer.body) == (401, refused(cause, REFUSED_CREDENTIALS)), (headers, body)
    assert (api.sent, api.retries, api.dead_letters) == ([], [], [])
    assert [(line["source"], line["cause"]) for line in api.logs] == [
        ("unknown", cause) for _, _, cause in BAD_CREDENTIALS
    ]


def test_where_only_the_shared_secret_is_set_no_library_is_let_in(function: Function) -> None:
    function.start_anew(sharedSecret=SHARED_SECRET)
    for key in ("", SHARED_SECRET, ACCESS_TOKEN):
        body = json.dumps({**TRACK, "writeKey": key}).encode()
        signed = {"X-Signature": sign(body)}
        for headers in ({}, signed, {**signed, **basic(f"{key}:")}, {**signed, **bearer(key)}):
            answer = post(function, "track", body, headers)
            cause = "wrong_token" if key else "missing_token"
            assert (answer.status, answer.body) == (401, refused(cause, REFUSED_CREDENTIALS)), (key, headers)
    assert (function.sent, function.retries, function.dead_letters) == ([], [], [])


def test_where_both_are_set_the_write_key_opens_the_api_and_not_the_webhooks_path(api: Function) -> None:
    event = {**TRACK, "type": "track"}
    signed = {"X-Signature": sign(json.dumps(event).encode())}
    statuses = {
        path: [api.post(event, headers, path=path).status for headers in (WRITE_KEY, signed, {**signed, **WRITE_KEY})]
        for path in ("/v1/track", "/events")
    }
    assert statuses == {"/v1/track": [200, 401, 200], "/events": [401, 401, 200]}


def test_where_only_the_access_token_is_set_it_opens_both(api: Function) -> None:
    api.start_anew(accessToken=ACCESS_TOKEN)
    event = {**TRACK, "type": "track"}
    assert [api.post(event, WRITE_KEY, path=path).status for path in ("/v1/track", "/events")] == [200, 200]


def test_the_previous_token_is_accepted_while_it_is_rotated_and_the_log_says_which_matched(api: Function) -> None:
    api.put(accessToken="new", accessTokenPrevious=ACCESS_TOKEN)
    assert post(api, "identify", IDENTIFY).status == 200
    assert post(api, "identify", {**IDENTIFY, "writeKey": "new"}, {}).status == 200
    assert [line["matched"] for line in api.logs] == [{"accessToken": "previous"}, {"accessToken": "current"}]


# Which source it is


def test_the_write_key_chooses_the_source(api: Function) -> None:
    mapping = '{{"properties.name": "metadata.{}"}}'
    api.put_source("shop", accessToken="shop's", trackMapping=mapping.format("shop"))
    api.put_source("app", accessToken="app's", accessTokenPrevious="app's before", trackMapping=mapping.format("app"))
    api.put_source("old", trackMapping=mapping.format("old"))  # has the common token, which is the default source's
    for headers, key in ((basic("shop's:"), ""), (bearer("app's"), ""), ({}, "app's before"), (WRITE_KEY, "")):
        payload = {**TRACK, "writeKey": key}
        assert post(api, "track", payload, headers).body in (accepted(delivered=1), accepted(duplicate=1))

    assert [body.get("metadata") for _, _, body in api.sent] == [{"shop": "Ada"}, {"app": "Ada"}, None]
    assert [line["source"] for line in api.logs] == ["shop", "app", "app", "default"]
    assert [line.get("duplicate", 0) for line in api.logs] == [0, 0, 1, 0]


def test_the_api_is_closed_for_one_source_and_open_for_another(api: Function) -> None:
    api.put_source("shop", accessToken="shop's", trackingApiDisabled="true")
    assert post(api, "track", TRACK, bearer("shop's")).status == 404
    assert post(api, "track", TRACK).status == 200


def test_a_write_key_that_may_be_a_faulty_sources_is_503_and_not_401(api: Function) -> None:
    """A library drops for good what is answered 401."""
    api.put_source("shop", accessToken="shop's", trackMapping="{")
    for key in ("shop's", "anybody's"):
        answer = post(api, "track", TRACK, bearer(key))
        assert (answer.status, answer.body) == (503, refused("faulty_settings", "not accepted, try again later"))
        assert int(answer.headers["Retry-After"]) > 0
    assert [line["source"] for line in api.logs if line["message"] == "request"] == ["shop", "shop"]
    assert post(api, "identify", IDENTIFY).status == 200, "another source's key is known all the same"

    api.put_source("shop", trackMapping="{}")
    assert post(api, "track", TRACK, bearer("shop's")).status == 200
    assert post(api, "track", TRACK, bearer("anybody's")).status == 401


# Where the write key is


CANARY = "canary-9f3c"


def test_the_write_key_is_in_no_record_no_line_no_call_and_no_answer(api: Function) -> None:
    api.put(accessToken=CANARY, trackMapping='{"writeKey": "metadata.key", "properties": "metadata.properties"}')
    events = [{**TRACK, "type": "track", "messageId": f"t-{number}", "writeKey": CANARY} for number in range(3)]
    api.voucherify.next(None, Fault(503), Fault(400))
    answers = [
        post(api, "batch", {"batch": [*events, {"writeKey": CANARY}], "writeKey": CANARY}, basic(f"{CANARY}:")),
        post(api, "identify", {**IDENTIFY, "writeKey": CANARY}, {}),
        post(api, "alias", {"writeKey": CANARY}, bearer(CANARY)),
        post(api, "track", {**TRACK, "writeKey": f"{CANARY}-wrong"}, {}),
        post(api, "batch", b'{"writeKey": "' + CANARY.encode() + b'"', basic(f"{CANARY}:")),
    ]
    start_cold()  # without good settings yet
    api.put(trackMapping="{")
    answers.append(post(api, "track", {**TRACK, "writeKey": CANARY}, {}))

    assert [answer.status for answer in answers] == [200, 200, 200, 401, 400, 503]
    messages = [*api.aws.messages("DEAD_LETTER_QUEUE_URL"), *api.aws.messages("RETRY_QUEUE_URL")]
    assert len(messages) == 3
    assert [call.method for call in api.voucherify.calls].count("POST") == 4
    for call in api.voucherify.calls:
        assert CANARY.encode() not in call.body
        assert CANARY not in repr(call.headers)
    assert CANARY not in json.dumps(messages)
    assert CANARY not in json.dumps([[answer.body, dict(answer.headers)] for answer in answers])
    assert CANARY not in api.logs.text


@pytest.mark.parametrize("type_", ["delete", " DELETE "])
def test_a_write_key_deletes_nobody(function: Function, type_: str) -> None:
    """Segment's Tracking API has no delete, and a write key may lie in an app for all to read."""
    function.put(accessToken=ACCESS_TOKEN, deleteDisabled="false")
    body = json.dumps({"batch": [{"type": type_, "userId": "u-1"}], "writeKey": ACCESS_TOKEN}).encode()
    answer = function.send(body, {}, path="/v1/batch")
    assert (answer.status, answer.body["rejected"]) == (200, 1)
    assert function.sent == []
    (record,) = function.dead_letters
    assert record["failure"]["code"] == "delete_not_taken"
    assert record["event"] == {"userId": "u-1"}, "without its type nothing carries it out"
