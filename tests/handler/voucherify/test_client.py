"""The client over real HTTP: the bytes that leave, and every way in which no answer comes."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from handler import __version__
from handler.model.deadline import Deadline
from handler.threads import GivenUp
from handler.voucherify.client import MAX_ANSWER_BYTES, Answer, Call, NoAnswer, VoucherifyClient, VoucherifyError
from local.stack.http_server import HttpRequest, HttpServer, Reply
from local.stack.system import API_KEY, API_TOKEN
from local.voucherify_stub.stub import Fault, VoucherifyStub
from mapping import Operation, Request
from tests.raw_server import Dribbling, RawServer

pytestmark = pytest.mark.scenario(row=16)

IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": "c-1", "name": "Zoë"}, "c-1")
TRACK = Request(Operation.TRACK_EVENT, "POST", "/v1/events", {"event": "e", "customer": {"source_id": "c-1"}}, "c-1")


@pytest.fixture
def client(voucherify: VoucherifyStub) -> VoucherifyClient:
    return VoucherifyClient(voucherify.url, API_KEY, API_TOKEN)


def no_answer(client: VoucherifyClient, request: Request, timeout_seconds: float = 30.0) -> tuple[str, bool]:
    with pytest.raises(NoAnswer) as raised:
        client.send(request, Deadline.after(timeout_seconds))
    return raised.value.code, raised.value.sent


def test_the_bytes_that_leave(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    answer = client.send(IDENTIFY, Deadline.after(30.0))
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


def test_connections_are_kept(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    for request in (IDENTIFY, TRACK, IDENTIFY):
        client.send(request, Deadline.after(30.0))
    assert len({call.connection for call in voucherify.calls}) == 1


def test_a_connection_that_is_idle_for_long_is_replaced(voucherify: VoucherifyStub) -> None:
    client = VoucherifyClient(voucherify.url, API_KEY, API_TOKEN, max_idle_seconds=0.0)
    for _ in range(2):
        assert client.send(TRACK, Deadline.after(30.0)).status == 200
    assert len({call.connection for call in voucherify.calls}) == 2
    assert len(voucherify.events) == 2


@pytest.mark.scenario(row=18)
@pytest.mark.parametrize("request_", [IDENTIFY, TRACK], ids=["identify", "track"])
def test_a_kept_connection_that_was_closed_meanwhile_is_replaced_unnoticed(
    client: VoucherifyClient, voucherify: VoucherifyStub, request_: Request
) -> None:
    client.send(request_, Deadline.after(30.0))
    voucherify.close_connections()
    assert client.send(request_, Deadline.after(30.0)).status == 200
    assert len(voucherify.calls) == 2, "no call was made twice"


@pytest.mark.scenario(row=18)
def test_a_kept_connection_that_dies_under_an_identify_gets_one_more_try_at_once(
    client: VoucherifyClient, voucherify: VoucherifyStub
) -> None:
    client.send(IDENTIFY, Deadline.after(30.0))
    voucherify.next(Fault(drop="before", reset=True))
    assert client.send(IDENTIFY, Deadline.after(30.0)).status == 200
    assert [call.status for call in voucherify.calls] == [200, None, 200]


def test_it_gets_one_more_try_and_not_two(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    client.send(IDENTIFY, Deadline.after(30.0))
    voucherify.next(Fault(drop="before"), Fault(drop="before"))
    assert no_answer(client, IDENTIFY) == ("voucherify_connection_lost", True)
    assert len(voucherify.calls) == 3


@pytest.mark.scenario(row=18)
def test_a_kept_connection_that_dies_under_a_track_is_not_tried_again_at_once(
    client: VoucherifyClient, voucherify: VoucherifyStub
) -> None:
    """It may have been applied, and applied again it is money given away."""
    client.send(TRACK, Deadline.after(30.0))
    voucherify.next(Fault(drop="after"))
    assert no_answer(client, TRACK) == ("voucherify_connection_lost", True)
    assert len(voucherify.events) == 2


@pytest.mark.parametrize("request_", [IDENTIFY, TRACK], ids=["identify", "track"])
@pytest.mark.parametrize("fault", [Fault(drop="before"), Fault(drop="after"), Fault(drop="before", reset=True)])
def test_a_fresh_connection_that_breaks_off_is_not_tried_again_at_once(
    client: VoucherifyClient, voucherify: VoucherifyStub, request_: Request, fault: Fault
) -> None:
    voucherify.next(fault)
    assert no_answer(client, request_) == ("voucherify_connection_lost", True)
    assert len(voucherify.calls) == 1


def test_no_answer_in_time_may_have_been_applied(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
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


def test_a_failed_tls_handshake_sent_nothing(voucherify: VoucherifyStub) -> None:
    client = VoucherifyClient(voucherify.url.replace("http:", "https:"), API_KEY, API_TOKEN)
    assert no_answer(client, TRACK) == ("voucherify_unreachable", False)
    assert voucherify.calls == []


class TlsServer(HttpServer):
    """Answers every request with 200 and keeps it; its certificate is an address's."""

    def __init__(self, authority: trustme.CA, address: str) -> None:
        self.requests: list[HttpRequest] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(address).configure_cert(self._context)
        super().__init__(0, self._answer)

    def _answer(self, request: HttpRequest) -> Reply:
        self.requests.append(request)
        return Reply(200, {}, b"{}")

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        # The handshake comes with the first reading, in the connection's own thread.
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust the certificate is nothing to report."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """An authority that this machine trusts, and no other."""
    certificate = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(certificate))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return authority


@pytest.mark.scenario(row=18)
def test_https_is_spoken_over_a_kept_connection(trusted: trustme.CA) -> None:
    with closing(TlsServer(trusted, "127.0.0.1")) as server:
        client = VoucherifyClient(f"https://127.0.0.1:{server.port}", API_KEY, API_TOKEN)
        assert [client.send(request, Deadline.after(30.0)).status for request in (IDENTIFY, TRACK)] == [200, 200]
    assert [request.path for request in server.requests] == ["/v1/customers", "/v1/events"]
    assert {request.headers["host"] for request in server.requests} == {f"127.0.0.1:{server.port}"}
    assert len({request.connection for request in server.requests}) == 1


def test_a_kept_https_connection_that_was_closed_meanwhile_is_replaced_unnoticed(trusted: trustme.CA) -> None:
    with closing(TlsServer(trusted, "127.0.0.1")) as server:
        client = VoucherifyClient(f"https://127.0.0.1:{server.port}", API_KEY, API_TOKEN)
        client.send(TRACK, Deadline.after(30.0))
        server.close_connections()
        assert client.send(TRACK, Deadline.after(30.0)).status == 200
    assert len(server.requests) == 2


def test_a_certificate_of_another_host_gets_nothing(trusted: trustme.CA) -> None:
    with closing(TlsServer(trusted, "127.0.0.2")) as server:
        client = VoucherifyClient(f"https://127.0.0.1:{server.port}", API_KEY, API_TOKEN)
        assert no_answer(client, TRACK) == ("voucherify_unreachable", False)
    assert server.requests == []


def test_a_certificate_that_nobody_vouches_for_gets_nothing(authority: trustme.CA) -> None:
    with closing(TlsServer(authority, "127.0.0.1")) as server:
        client = VoucherifyClient(f"https://127.0.0.1:{server.port}", API_KEY, API_TOKEN)
        assert no_answer(client, TRACK) == ("voucherify_unreachable", False)
    assert server.requests == []


ERROR = b'{"key": "k"}'
LENGTH = b"Content-Length: 12\r\n"


@pytest.mark.parametrize(
    ("head", "body", "is_kept"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n" + LENGTH, ERROR, True),
        (b"HTTP/1.1 400 \r\n" + LENGTH, ERROR, True),
        (
            b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n",
            b'5\r\n{"key\r\n7\r\n": "k"}\r\n0\r\n\r\n',
            True,
        ),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\n" + LENGTH, ERROR, True),
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n" + LENGTH, ERROR, False),
        (b"HTTP/1.1 400 Bad Request\r\n", ERROR, False),
        (b"HTTP/1.0 400 Bad Request\r\n", ERROR, False),
    ],
    ids=["length", "no phrase", "chunked", "continue", "close", "no length", "HTTP/1.0"],
)
def test_an_answer_comes_in_every_form_that_http_has(head: bytes, body: bytes, is_kept: bool) -> None:
    with closing(RawServer(head + b"\r\n" + body, keeps=is_kept)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        for _ in range(2):
            answer = client.send(TRACK, Deadline.after(30.0))
            assert (answer.status, answer.error) == (400, VoucherifyError("k", "", "", ""))
        assert server.connections == (1 if is_kept else 2)


@pytest.mark.parametrize("head", [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_an_answer_without_a_body_leaves_its_connection_fit_for_more(head: bytes) -> None:
    with closing(RawServer(head, keeps=True)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        for _ in range(2):
            assert 200 <= client.send(TRACK, Deadline.after(30.0)).status < 300
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer", [b"220 mail.example.com ESMTP\r\n", b"HTTP/1.1 OK\r\n\r\n", b"\x15\x03\x01\r\n", b""]
)
def test_what_is_no_http_is_no_answer(answer: bytes) -> None:
    with closing(RawServer(answer, keeps=False)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        assert no_answer(client, TRACK) == ("voucherify_connection_lost", True)


@pytest.mark.scenario(row=32)
@pytest.mark.parametrize("status", [101, 102, 103, 199])
def test_an_interim_status_is_no_answer_and_the_real_one_is_nobody_elses(status: int) -> None:
    """Taken for the answer, it would leave the real one to the next request: a refused event would be delivered."""
    answer = f"HTTP/1.1 {status} Interim\r\nLink: </x>\r\n\r\n".encode() + b"HTTP/1.1 400 Bad Request\r\n" + LENGTH
    with closing(RawServer(answer + b"\r\n" + ERROR, keeps=True)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        for _ in range(2):
            assert no_answer(client, TRACK) == ("voucherify_connection_lost", True)
        assert server.connections == 2


def test_what_comes_after_an_answer_is_not_taken_for_the_next_one() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"
    with closing(RawServer(answer + b"x" * 70_000, keeps=True)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        assert [client.send(TRACK, Deadline.after(30.0)).status for _ in range(2)] == [200, 200]
        assert server.connections == 2


@pytest.mark.parametrize("text", ["line\r\nX-App-Id: another", "line\n", "ключ"])
def test_no_key_can_add_to_the_request(text: str) -> None:
    with closing(RawServer(b"", keeps=True)) as server:
        client = VoucherifyClient(server.url, API_KEY, text)
        with pytest.raises(ValueError, match=r"Invalid header value|codec can't encode"):
            client.send(TRACK, Deadline.after(30.0))
        assert server.requests == 0


# Calls that are given up: their caller waits no longer, whatever the peer does.


def given_up(client: VoucherifyClient, request: Request, is_time: Callable[[], bool]) -> tuple[Any, Exception | None]:
    """Give a call up when it is time. Return what was known of it then, and what its thread has raised in the end."""
    call = Call()
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(client.send, request, Deadline.after(3600.0), call)
        assert is_time()
        known = call.give_up()
        raised = sending.exception(timeout=60)
    return known, raised if isinstance(raised, Exception) else None


@pytest.mark.parametrize("request_", [IDENTIFY, TRACK], ids=["identify", "track"])
@pytest.mark.parametrize("answer", [b"", b"H", b"HTTP/1.1 20"], ids=["silence", "a byte", "half a status"])
def test_a_call_without_an_answer_is_given_up_and_its_connection_closed(request_: Request, answer: bytes) -> None:
    with closing(Dribbling(answer)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        known, raised = given_up(client, request_, lambda: server.has_begun.wait(60))
        assert (known.code, known.sent) == ("voucherify_timeout", True)
        assert isinstance(raised, NoAnswer)
        assert server.has_ended.wait(60)
        assert server.requests == 1, "it is not sent again"


def test_a_status_without_all_its_headers_is_too_late_for_the_caller_and_known_to_the_thread() -> None:
    """So that a track is noted as delivered, though it is stored to be tried again."""
    with closing(Dribbling(b"HTTP/1.1 200 OK\r\nA: 1\r\nB")) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        known, raised = given_up(client, TRACK, lambda: server.has_begun.wait(60))
        assert (known.code, known.sent, raised) == ("voucherify_timeout", True, None)


@pytest.mark.scenario(row=18)
def test_a_kept_connection_that_is_given_up_is_not_replaced() -> None:
    class Once(Dribbling):
        """Answers the first request."""

        def answer(self, connection: socket.socket) -> None:
            if self.requests == 1:
                return connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return super().answer(connection)

    with closing(Once(b"")) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        assert client.send(IDENTIFY, Deadline.after(30.0)).status == 204
        known, raised = given_up(client, IDENTIFY, lambda: server.has_begun.wait(60))
        assert (known.code, known.sent) == ("voucherify_timeout", True)
        assert isinstance(raised, GivenUp), "an identify whose kept connection dies is sent again, but not this one"
        assert (server.connections, server.requests) == (1, 2)


@pytest.mark.parametrize("status", [200, 400])
def test_an_answer_whose_body_dribbles_counts_by_its_status(status: int) -> None:
    class Noticed(Call):
        """Says when the status has come."""

        def __init__(self) -> None:
            super().__init__()
            self.has_answer = threading.Event()

        def answered(self, answer: Answer) -> None:
            super().answered(answer)
            self.has_answer.set()

    head = f"HTTP/1.1 {status} Status\r\nContent-Length: 100\r\n\r\n".encode()
    with closing(Dribbling(head + b"{" * 50)) as server, ThreadPoolExecutor(1) as thread:
        call = Noticed()
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        sending = thread.submit(client.send, TRACK, Deadline.after(3600.0), call)
        assert call.has_answer.wait(60)
        known = call.give_up()
        assert isinstance(known, Answer)
        assert known.status == status
        assert sending.result(60).status == status
        assert server.has_ended.wait(60)


def test_a_resolver_that_is_slow_is_not_waited_for_and_nothing_is_sent_after_it(
    voucherify: VoucherifyStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = threading.Event(), threading.Event()
    resolve = socket.getaddrinfo

    def slow(*args: Any, **kwargs: Any) -> Any:
        asked.set()
        assert answers.wait(60)
        return resolve(*args, **kwargs)

    client = VoucherifyClient(voucherify.url, API_KEY, API_TOKEN)
    monkeypatch.setattr(socket, "getaddrinfo", slow)
    call = Call()
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(client.send, TRACK, Deadline.after(3600.0), call)
        assert asked.wait(60)
        known = call.give_up()
        assert isinstance(known, NoAnswer)
        assert (known.code, known.sent) == ("voucherify_unreachable", False)
        answers.set()
        assert isinstance(sending.exception(60), GivenUp)
    assert voucherify.calls == []


def test_a_call_that_was_not_begun_is_given_up_before_it_is(voucherify: VoucherifyStub) -> None:
    call = Call()
    assert call.give_up() is None
    with pytest.raises(GivenUp):
        VoucherifyClient(voucherify.url, API_KEY, API_TOKEN).send(TRACK, Deadline.after(30.0), call)
    assert voucherify.calls == []


def test_a_call_that_has_ended_does_not_close_the_connection_of_the_next_one(voucherify: VoucherifyStub) -> None:
    client = VoucherifyClient(voucherify.url, API_KEY, API_TOKEN)
    first = Call()
    client.send(TRACK, Deadline.after(30.0), first)

    def give_up_the_first(request: Any) -> None:
        first.give_up()

    voucherify.rule = give_up_the_first
    assert client.send(TRACK, Deadline.after(30.0)).status == 200
    assert len({call.connection for call in voucherify.calls}) == 1


def test_a_redirect_is_not_followed(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    voucherify.next(Fault(307, headers={"Location": "/v1/events"}))
    assert client.send(TRACK, Deadline.after(30.0)).status == 307
    assert len(voucherify.calls) == 1


def test_status_headers_and_error_object_come_back(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    error = {"code": 400, "key": "k", "message": "m", "details": "d", "request_id": "r", "resource_id": None}
    voucherify.next(Fault(400, body=error, headers={"X-Rate-Limit-Type": "api_calls"}))
    answer = client.send(TRACK, Deadline.after(30.0))
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
    client: VoucherifyClient, voucherify: VoucherifyStub, body: bytes, error: VoucherifyError | None
) -> None:
    voucherify.next(Fault(404, body=body))
    assert client.send(TRACK, Deadline.after(30.0)).error == error


def test_our_own_keys_do_not_come_back(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    voucherify.next(Fault(401, body={"key": "unauthorized", "message": f"no project has {API_KEY} and {API_TOKEN}"}))
    error = client.send(TRACK, Deadline.after(30.0)).error
    assert error
    assert error.message == "no project has *** and ***"


def test_an_endless_answer_is_read_to_its_limit_and_its_connection_dropped(
    client: VoucherifyClient, voucherify: VoucherifyStub
) -> None:
    voucherify.next(Fault(500, body=b"x" * (2 * MAX_ANSWER_BYTES)))
    assert client.send(TRACK, Deadline.after(30.0)).status == 500
    assert client.send(TRACK, Deadline.after(30.0)).status == 200
    assert len({call.connection for call in voucherify.calls}) == 2


def test_an_answer_that_breaks_off_keeps_its_status(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    voucherify.next(Fault(200, body=b"{", headers={"Content-Length": "100", "Connection": "close"}))
    assert client.send(TRACK, Deadline.after(30.0)).status == 200


def test_an_answer_whose_body_never_comes_keeps_its_status() -> None:
    with closing(RawServer(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\n", keeps=True)) as server:
        client = VoucherifyClient(server.url, API_KEY, API_TOKEN)
        for _ in range(2):
            assert client.send(TRACK, Deadline.after(0.2)) == (400, {"content-length": "12"}, None, "")
        assert server.connections == 2


def test_nothing_that_utf_8_cannot_say_leaves(client: VoucherifyClient, voucherify: VoucherifyStub) -> None:
    client.send(
        Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": "\ud83e \x00 🦊"}, "c"),
        Deadline.after(30.0),
    )
    assert voucherify.calls[0].body == '{"source_id":"? \\u0000 🦊"}'.encode()


COMPRESSED = gzip.compress(b'{"key": "some_key", "message": "no"}')


def compressed(body: bytes) -> bytes:
    return b"HTTP/1.1 400 Bad Request\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("answer", "key"), [(compressed(COMPRESSED), "some_key"), (compressed(b"\x1f\x8bno gzip"), None)]
)
def test_a_compressed_answer_is_read_and_a_broken_one_keeps_its_status(answer: bytes, key: str | None) -> None:
    with closing(RawServer(answer, keeps=False)) as server:
        found = VoucherifyClient(server.url, API_KEY, API_TOKEN).send(TRACK, Deadline.after(30.0))
    assert (found.status, found.error and found.error.key) == (400, key)


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"\x00\xff" * 50 + b"\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"])
def test_garbage_is_no_answer(answer: bytes) -> None:
    with closing(RawServer(answer, keeps=False)) as server, pytest.raises(NoAnswer) as raised:
        VoucherifyClient(server.url, API_KEY, API_TOKEN).send(TRACK, Deadline.after(30.0))
    assert (raised.value.code, raised.value.sent) == ("voucherify_connection_lost", True)
