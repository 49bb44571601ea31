"""Segment's own libraries as clients, over real HTTP: the host is the destination, the write key its access token.

https://segment.com/docs/connections/sources/catalog/libraries/server/python/ and, where Node and npm are there,
https://segment.com/docs/connections/sources/catalog/libraries/server/node/. The latter is installed once, into `.venv`.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from segment.analytics.client import Client  # type: ignore[import-untyped] # the library has no types
from segment.analytics.request import APIError  # type: ignore[import-untyped]

from handler.app import lambda_handler
from local.stack.cold import start_cold
from local.stack.front import Exchange, front
from local.stack.system import LocalSystem
from local.voucherify_stub.stub import Fault
from tests.limits import INVOCATION_SECONDS
from tests.worker import QUEUES, Worker, stored

ROOT = Path(__file__).parents[2]

WRITE_KEY = "write-key-1"

USER = "u-1"

# The calls of each library in their order, and the requests that Voucherify receives; none for the alias.
TYPES = ["identify", "track", "page", "screen", "group", "alias"]
RECEIVED = [
    ("POST", "/v1/customers", b'{"source_id":"u-1","email":"ada@example.com","metadata":{"visits":3},"name":"Ada"}'),
    ("POST", "/v1/events", b'{"event":"Order Completed","customer":{"source_id":"u-1"},"metadata":{"total":42.5}}'),
    ("POST", "/v1/events", b'{"event":"Viewed Home Page","customer":{"source_id":"u-1"}}'),
    ("POST", "/v1/events", b'{"event":"Viewed Cart Screen","customer":{"source_id":"u-1"}}'),
    (
        "POST",
        "/v1/customers",
        b'{"source_id":"u-1","metadata":{"group_id":"g-1","group_traits":{"name":"Initech"}}}',
    ),
]

SETTINGS = {
    "accessToken": WRITE_KEY,
    "identifyMapping": json.dumps(
        {"email": "customer.email", "firstName": "customer.firstName", "visits": "customer.metadata.visits"}
    ),
    "trackMapping": '{"total": "metadata.total", "coupon": "metadata.coupon"}',
    "pageDisabled": "false",
    "screenDisabled": "false",
    "groupDisabled": "false",
}


@dataclass(frozen=True)
class Destination:
    """The destination behind its HTTP front, and the requests of a library."""

    system: LocalSystem
    url: str
    exchanges: list[Exchange]

    @property
    def received(self) -> list[tuple[str, str, bytes]]:
        """The requests that reached Voucherify."""
        return [(call.method, call.path, call.body) for call in self.system.voucherify.calls]

    @property
    def stored(self) -> list[list[str]]:
        """The types of the events in the retry queue and in the dead-letter queue."""
        return [[record["event"]["type"] for record in stored(queue)] for queue in QUEUES]

    @property
    def answers(self) -> list[tuple[int, bool]]:
        """The status of each answer, and its `success`."""
        answers = [exchange.answer for exchange in self.exchanges]
        return [(answer["statusCode"], json.loads(answer["body"])["success"]) for answer in answers]

    def assert_write_keys(self, write_key: str) -> None:
        """Assert that each request had the write key as the user name of its Basic credentials."""
        basic = base64.b64encode(f"{write_key}:".encode()).decode()
        assert {exchange.event["headers"]["authorization"] for exchange in self.exchanges} == {f"Basic {basic}"}
        assert {exchange.event["rawPath"] for exchange in self.exchanges} == {"/v1/batch"}


@pytest.fixture
def destination(system: LocalSystem) -> Iterator[Destination]:
    names = ("apiKey", "apiToken", "apiUrl", "sharedSecret")
    common = {name: system.settings[name] for name in names}
    system.aws.delete_settings()
    system.aws.put_settings({**common, **SETTINGS})
    start_cold()
    exchanges: list[Exchange] = []
    with front(lambda_handler, on_exchange=exchanges.append, seconds=INVOCATION_SECONDS) as url:
        yield Destination(system, url, exchanges)


def deliver_stored_events(destination: Destination) -> None:
    """Run the retry worker until the retry queue is empty."""
    worker = Worker(destination.system.aws)
    assert worker.run().kept == []
    assert worker.run().records == []


# segment-analytics-python


@dataclass
class PythonLibrary:
    """A client of the library, and the errors that it reported to `on_error`."""

    client: Any
    errors: list[tuple[Exception, list[dict[str, Any]]]] = field(default_factory=list)

    def make_calls(self) -> None:
        self.client.identify(USER, {"email": "ada@example.com", "firstName": "Ada", "visits": 3})
        self.client.track(USER, "Order Completed", {"total": 42.5, "coupon": None})
        self.client.page(USER, "Docs", "Home", {"url": "https://example.com"})
        self.client.screen(USER, name="Cart")
        self.client.group(USER, "g-1", {"name": "Initech"})
        self.client.alias("a-1", USER)


NewLibrary = Callable[..., PythonLibrary]


@pytest.fixture
def library(destination: Destination) -> Iterator[NewLibrary]:
    """Create clients of the destination, and close them after the test."""
    clients = []

    def new(write_key: str = WRITE_KEY, **options: Any) -> PythonLibrary:
        library = PythonLibrary(None)
        batching = {"upload_size": len(TYPES), "upload_interval": 0.1}  # a slow machine may need two batches
        library.client = Client(
            write_key,
            host=destination.url,
            on_error=lambda error, items: library.errors.append((error, items)),
            **{**batching, **options},
        )
        clients.append(library.client)
        return library

    yield new
    for client in clients:
        if client.consumers:
            client.join()


def test_the_python_library_delivers_every_call_in_batches(destination: Destination, library: NewLibrary) -> None:
    python = library()
    python.make_calls()
    python.client.flush()
    assert destination.received == RECEIVED
    assert python.errors == []
    assert set(destination.answers) == {(200, True)}
    destination.assert_write_keys(WRITE_KEY)
    assert destination.stored == [[], []]


def test_the_python_library_hears_that_its_gzip_cannot_be_read(destination: Destination, library: NewLibrary) -> None:
    """It sends gzip as application/json, of which API Gateway makes a text: see local/stack/front.py."""
    python = library(gzip=True)
    python.make_calls()
    python.client.flush()
    assert {exchange.event["headers"].get("content-encoding") for exchange in destination.exchanges} == {"gzip"}
    assert set(destination.answers) == {(400, False)}
    assert [item["type"] for _, items in python.errors for item in items] == TYPES
    assert (destination.received, destination.stored) == ([], [[], []])


def test_the_python_library_delivers_its_queue_when_it_shuts_down(
    destination: Destination, library: NewLibrary
) -> None:
    python = library()
    python.make_calls()
    python.client.shutdown()
    assert destination.received == RECEIVED
    assert python.errors == []


def test_the_python_library_delivers_every_call_one_by_one(destination: Destination, library: NewLibrary) -> None:
    library(sync_mode=True).make_calls()
    assert destination.received == RECEIVED
    assert destination.answers == [(200, True)] * len(TYPES)
    destination.assert_write_keys(WRITE_KEY)
    assert destination.stored == [[], []]


def test_the_python_library_reports_a_wrong_write_key_and_nothing_is_sent(
    destination: Destination, library: NewLibrary
) -> None:
    python = library("wrong")
    python.make_calls()
    python.client.flush()
    assert [item["type"] for _, items in python.errors for item in items] == TYPES
    assert {(type(error), error.status, error.code, error.message) for error, _ in python.errors} == {  # type: ignore[attr-defined]
        (APIError, 401, "wrong_token", "missing or wrong credentials")
    }
    assert set(destination.answers) == {(401, False)}
    destination.assert_write_keys("wrong")
    assert (destination.received, destination.stored) == ([], [[], []])


def test_the_python_library_raises_for_a_wrong_write_key_in_sync_mode(
    destination: Destination, library: NewLibrary
) -> None:
    with pytest.raises(APIError) as raised:
        library("wrong", sync_mode=True).make_calls()
    assert str(raised.value) == "[Segment] wrong_token: missing or wrong credentials (401)"
    assert (destination.received, destination.stored) == ([], [[], []])


def test_while_voucherify_is_down_the_python_library_succeeds_and_the_worker_delivers_once(
    destination: Destination, library: NewLibrary
) -> None:
    destination.system.voucherify.rule = lambda request: Fault(503)
    python = library()
    python.make_calls()
    python.client.flush()
    assert python.errors == []
    assert set(destination.answers) == {(200, True)}
    assert destination.stored == [TYPES[:-1], []]

    destination.system.voucherify.reset()
    deliver_stored_events(destination)
    assert destination.received == RECEIVED
    assert destination.stored == [[], []]


def test_an_event_that_voucherify_refuses_does_not_stop_the_others_of_the_python_library(
    destination: Destination, library: NewLibrary
) -> None:
    destination.system.voucherify.next(None, Fault(400))
    python = library()
    python.make_calls()
    python.client.flush()
    assert python.errors == []
    # The metadata schemas are read after a refusal.
    assert [call for call in destination.received if call[0] != "GET"] == RECEIVED
    assert destination.stored == [[], ["track"]]


# @segment/analytics-node


NODE_LIBRARY, NODE_LIBRARY_VERSION = "@segment/analytics-node", "3.1.0"
NODE_VERSION = 20

# npm's error codes for a registry that cannot be reached or does not have the package: a reason to skip the test.
NO_REGISTRY = re.compile(
    r"npm (?:error|ERR!) code "
    r"(EAI_AGAIN|ECONN\w+|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|ENOTCACHED|E40[137]|E429|E5\d\d|\w*(?:TIMEDOUT|TIMEOUT|CERT)\w*)"
)


@pytest.fixture(scope="session")
def node_library() -> Path:
    """Return the directory in which the library is installed."""
    npm = shutil.which("npm")
    if not (shutil.which("node") and npm):
        pytest.skip("Node and npm are not installed")
    version = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    if int(version.lstrip("v").partition(".")[0]) < NODE_VERSION:
        pytest.skip(f"{NODE_LIBRARY} needs Node {NODE_VERSION} or later, this is {version}")
    directory = ROOT / ".venv" / "node" / f"analytics-node-{NODE_LIBRARY_VERSION}"
    if not directory.exists():
        _install(npm, directory)
    return directory


def _install(npm: str, directory: Path) -> None:
    """Install into a directory that exists only once the installation is complete."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=directory.parent) as unfinished:
        package = f"{NODE_LIBRARY}@{NODE_LIBRARY_VERSION}"
        options = ("--no-audit", "--no-fund", "--no-save", "--no-update-notifier", "--ignore-scripts")
        patience = ("--fetch-retries=1", "--fetch-retry-mintimeout=500", "--fetch-timeout=20000")
        installed = subprocess.run(
            [npm, "install", *options, *patience, "--prefix", unfinished, package], capture_output=True, text=True
        )
        if missing := NO_REGISTRY.search(installed.stderr):
            pytest.skip(f"npm cannot install {package}: {missing[1]}")
        assert installed.returncode == 0, installed.stderr
        Path(unfinished).rename(directory)
        Path(unfinished).mkdir()  # for its own removal


def run_node_library(destination: Destination, directory: Path, write_key: str = WRITE_KEY) -> dict[str, str | None]:
    """Return the error of each call, by type."""
    ran = subprocess.run(
        ["node", str(ROOT / "tests" / "segment_library.mjs"), str(directory), destination.url, write_key],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ["PATH"]},
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    errors: dict[str, str | None] = json.loads(ran.stdout)
    return errors


@pytest.mark.slow
def test_the_node_library_delivers_every_call(destination: Destination, node_library: Path) -> None:
    assert run_node_library(destination, node_library) == dict.fromkeys(TYPES)
    assert destination.received == RECEIVED
    assert destination.answers == [(200, True)]
    destination.assert_write_keys(WRITE_KEY)
    assert destination.stored == [[], []]


@pytest.mark.slow
def test_the_node_library_reports_a_wrong_write_key_and_nothing_is_sent(
    destination: Destination, node_library: Path
) -> None:
    assert run_node_library(destination, node_library, "wrong") == dict.fromkeys(TYPES, "Error: [401] Unauthorized")
    assert destination.answers == [(401, False)]
    assert (destination.received, destination.stored) == ([], [[], []])


@pytest.mark.slow
def test_while_voucherify_is_down_the_node_library_succeeds_and_the_worker_delivers_once(
    destination: Destination, node_library: Path
) -> None:
    destination.system.voucherify.rule = lambda request: Fault(503)
    assert run_node_library(destination, node_library) == dict.fromkeys(TYPES)
    assert destination.stored == [TYPES[:-1], []]

    destination.system.voucherify.reset()
    deliver_stored_events(destination)
    assert destination.received == RECEIVED
    assert destination.stored == [[], []]
