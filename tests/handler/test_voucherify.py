"""The client over real HTTP: the bytes that leave, and every way in which no answer comes."""

from __future__ import annotations

import socket
import threading

import pytest

from handler import __version__
from handler.voucherify import MAX_ANSWER_BYTES, NoAnswer, VoucherifyClient, VoucherifyError
from local.system import API_KEY, API_TOKEN
from local.voucherify import Fault, VoucherifyStandIn
from mapping import Operation, Request

IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": "c-1", "name": "Zoë"}, "c-1")
TRACK = Request(Operation.TRACK_EVENT, "POST", "/v1/events", {"event": "e", "customer": {"source_id": "c-1"}}, "c-1")


@pytest.fixture
def client(voucherify: VoucherifyStandIn) -> VoucherifyClient:
    return VoucherifyClient(voucherify.url, API_KEY, API_TOKEN)


def no_answer(client: VoucherifyClient, request: Request, timeout_seconds: float = 5.0) -> tuple[str, bool]:
    with pytest.raises(NoAnswer) as raised:
        client.send(request, timeout_seconds)
    return raised.value.code, raised.value.sent


def test_the_bytes_that_leave(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    answer = client.send(IDENTIFY, 5.0)
    (call,) = voucherify.calls

    assert (answer.status, answer.error) == (200, None)
    assert (call.method, call.path) == ("POST", "/v1/customers")
    assert call.body == '{"source_id":"c-1","name":"Zoë"}'.encode()
    assert {name.lower(): value for name, value in call.headers.items()} == {
        "host": voucherify.url.removeprefix("http://"),
        "accept": "application/json",
        "accept-encoding": "identity",
        "content-length": str(len(call.body)),
        "content-type": "application/json",
        "user-agent": f"segment-voucherify-destination/{__version__}",
        "x-app-id": API_KEY,
        "x-app-token": API_TOKEN,
    }


def test_connections_are_kept(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    for request in (IDENTIFY, TRACK, IDENTIFY):
        client.send(request, 5.0)
    assert len({call.connection for call in voucherify.calls}) == 1


def test_a_connection_that_is_idle_for_long_is_replaced(voucherify: VoucherifyStandIn) -> None:
    client = VoucherifyClient(voucherify.url, API_KEY, API_TOKEN, max_idle_seconds=0.0)
    for _ in range(2):
        assert client.send(TRACK, 5.0).status == 200
    assert len({call.connection for call in voucherify.calls}) == 2
    assert len(voucherify.events) == 2


@pytest.mark.parametrize("request_", [IDENTIFY, TRACK], ids=["identify", "track"])
def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_unnoticed(
    client: VoucherifyClient, voucherify: VoucherifyStandIn, request_: Request
) -> None:
    client.send(request_, 5.0)
    voucherify.close_connections()
    assert client.send(request_, 5.0).status == 200
    assert len(voucherify.calls) == 2, "no call was made twice"


def test_a_kept_connection_that_dies_under_an_identify_gets_one_more_try_at_once(
    client: VoucherifyClient, voucherify: VoucherifyStandIn
) -> None:
    client.send(IDENTIFY, 5.0)
    voucherify.next(Fault(drop="before", reset=True))
    assert client.send(IDENTIFY, 5.0).status == 200
    assert [call.status for call in voucherify.calls] == [200, None, 200]


def test_it_gets_one_more_try_and_not_two(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    client.send(IDENTIFY, 5.0)
    voucherify.next(Fault(drop="before"), Fault(drop="before"))
    assert no_answer(client, IDENTIFY) == ("voucherify_connection_lost", True)
    assert len(voucherify.calls) == 3


def test_a_kept_connection_that_dies_under_a_track_is_not_tried_again_at_once(
    client: VoucherifyClient, voucherify: VoucherifyStandIn
) -> None:
    """It may have been applied, and applied again it is money given away."""
    client.send(TRACK, 5.0)
    voucherify.next(Fault(drop="after"))
    assert no_answer(client, TRACK) == ("voucherify_connection_lost", True)
    assert len(voucherify.events) == 2


@pytest.mark.parametrize("request_", [IDENTIFY, TRACK], ids=["identify", "track"])
@pytest.mark.parametrize("fault", [Fault(drop="before"), Fault(drop="after"), Fault(drop="before", reset=True)])
def test_a_fresh_connection_that_breaks_off_is_not_tried_again_at_once(
    client: VoucherifyClient, voucherify: VoucherifyStandIn, request_: Request, fault: Fault
) -> None:
    voucherify.next(fault)
    assert no_answer(client, request_) == ("voucherify_connection_lost", True)
    assert len(voucherify.calls) == 1


def test_no_answer_in_time_may_have_been_applied(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    voucherify.next(Fault(delay=60.0))
    assert no_answer(client, TRACK, timeout_seconds=0.2) == ("voucherify_timeout", True)
    assert len(voucherify.events) == 1


def test_a_refused_connection_sent_nothing() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound and not listening: refused
        client = VoucherifyClient(f"http://127.0.0.1:{free.getsockname()[1]}", API_KEY, API_TOKEN)
        assert no_answer(client, TRACK) == ("voucherify_unreachable", False)


def test_a_name_that_leads_nowhere_sent_nothing() -> None:
    client = VoucherifyClient("https://voucherify.invalid", API_KEY, API_TOKEN)
    assert no_answer(client, TRACK) == ("voucherify_unreachable", False)


def test_a_failed_tls_handshake_sent_nothing(voucherify: VoucherifyStandIn) -> None:
    client = VoucherifyClient(voucherify.url.replace("http:", "https:"), API_KEY, API_TOKEN)
    assert no_answer(client, TRACK) == ("voucherify_unreachable", False)
    assert voucherify.calls == []


def test_what_is_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = VoucherifyClient(f"http://127.0.0.1:{server.getsockname()[1]}", API_KEY, API_TOKEN)
        threading.Thread(target=talk_something_else, args=(server,), daemon=True).start()
        assert no_answer(client, TRACK) == ("voucherify_connection_lost", True)


def talk_something_else(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"220 mail.example.com ESMTP\r\n")


def test_a_redirect_is_not_followed(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    voucherify.next(Fault(307, headers={"Location": "/v1/events"}))
    assert client.send(TRACK, 5.0).status == 307
    assert len(voucherify.calls) == 1


def test_status_headers_and_error_object_come_back(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    error = {"code": 400, "key": "k", "message": "m", "details": "d", "request_id": "r", "resource_id": None}
    voucherify.next(Fault(400, body=error, headers={"X-Rate-Limit-Type": "api_calls"}))
    answer = client.send(TRACK, 5.0)
    assert (answer.status, answer.error) == (400, VoucherifyError("k", "m", "d", "r"))
    assert answer.headers["x-rate-limit-type"] == "api_calls"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", None),
        (b"<html>", None),
        (b"\xff", None),
        (b"[" * 60_000, None),
        (b"null", None),
        (b'{"message": "Not Found"}', None),
        (b'{"code": 404, "message": "m"}', VoucherifyError("", "m", "", "")),
        (b'{"key": "k", "message": 1, "details": {"a": 1}}', VoucherifyError("k", "", "", "")),
    ],
)
def test_only_voucherifys_error_object_is_one(
    client: VoucherifyClient, voucherify: VoucherifyStandIn, body: bytes, error: VoucherifyError | None
) -> None:
    voucherify.next(Fault(404, body=body))
    assert client.send(TRACK, 5.0).error == error


def test_our_own_keys_do_not_come_back(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    voucherify.next(Fault(401, body={"key": "unauthorized", "message": f"no project has {API_KEY} and {API_TOKEN}"}))
    error = client.send(TRACK, 5.0).error
    assert error
    assert error.message == "no project has *** and ***"


def test_an_endless_answer_is_read_to_its_limit_and_its_connection_dropped(
    client: VoucherifyClient, voucherify: VoucherifyStandIn
) -> None:
    voucherify.next(Fault(500, body=b"x" * (2 * MAX_ANSWER_BYTES)))
    assert client.send(TRACK, 5.0).status == 500
    assert client.send(TRACK, 5.0).status == 200
    assert len({call.connection for call in voucherify.calls}) == 2


def test_an_answer_that_breaks_off_keeps_its_status(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    voucherify.next(Fault(200, body=b"{", headers={"Content-Length": "100", "Connection": "close"}))
    assert client.send(TRACK, 5.0).status == 200


def test_nothing_that_utf_8_cannot_say_leaves(client: VoucherifyClient, voucherify: VoucherifyStandIn) -> None:
    client.send(Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": "\ud83e \x00 🦊"}, "c"), 5.0)
    assert voucherify.calls[0].body == '{"source_id":"? \\u0000 🦊"}'.encode()
