"""`make run` and `make serve` as a person starts them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer

import pytest

from local.stack.aws import SETTINGS_PATH
from local.stack.samples import SAMPLES
from local.voucherify_stub.stub import VoucherifyStub
from tests.function import aws_client_at

ROOT = Path(__file__).parents[2]

# A run of coverage or a person's own Voucherify keys must not change what is tested.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("VOUCHERIFY_", "AWS_"))}


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_run_shows_every_sample_and_ends_well() -> None:
    ended = run("local.run")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{len(SAMPLES)} of {len(SAMPLES)} samples came out as they should" in ended.stdout
    for shown in ("POST /v1/customers", "POST /v1/events", "✓ identify", "retry queue: 1 x", "dead-letter queue: 1 x"):
        assert shown in ended.stdout
    assert "✗" not in ended.stdout
    assert "1 of 1 events of the retry queue delivered" in ended.stdout
    assert "{" not in ended.stdout.splitlines()[0], "no log line and no metric stands before the table"


def test_run_calls_the_real_voucherify_where_it_has_keys_and_fails_where_a_sample_does() -> None:
    """The real one is another stub here, which refuses what the samples send."""
    with VoucherifyStub(api_key="real-id", api_token="real-token") as voucherify:
        keys = {"VOUCHERIFY_API_KEY": "real-id", "VOUCHERIFY_API_URL": voucherify.url}
        ended = run("local.run", **keys, VOUCHERIFY_API_TOKEN="real-token")
        assert "8 of 8 samples came out as they should, against the real Voucherify." in ended.stdout
        assert ended.returncode == 0
        assert voucherify.customers["cust_1"]["email"] == "ada@example.com"

        ended = run("local.run", **keys, VOUCHERIFY_API_TOKEN="wrong")
        assert "401 unauthorized" in ended.stdout
        assert "but the status is 202, not 200" in ended.stdout
        assert ended.returncode == 1


class Server:
    """`make serve` at free ports. What it writes is printed here too, so that pytest shows it where a test fails."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.written = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until a line has it. Fails where the server ends before."""
        assert self._process.stdout
        for line in self._process.stdout:
            self._note(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"make serve ended before it wrote {pattern!r}:\n{self.written}")

    def end(self, signal_: signal.Signals) -> int:
        """Send a signal, read what it still writes, and return its exit code."""
        self._process.send_signal(signal_)
        rest, _ = self._process.communicate()
        self._note(rest)
        return self._process.returncode

    def _note(self, text: str) -> None:
        self.written += text
        print(text, end="")


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Start `make serve`. It is killed where it is still there after two minutes, so that nothing waits for ever."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "local.serve", "--port", "0", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        too_late = Timer(120, process.kill)
        too_late.start()
        server = Server(process)
        try:
            yield server
        finally:
            too_late.cancel()
            if process.poll() is None:
                server.end(signal.SIGKILL)


@pytest.mark.skipif(not Path("/usr/bin/curl").exists(), reason="needs curl")
def test_serve_prints_a_curl_that_works_shows_the_request_and_stops_at_ctrl_c() -> None:
    with serving() as server:
        command = server.wait_for("^curl .*").group()
        curl = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
        assert curl.stdout.startswith("HTTP/1.1 200 OK")
        assert json.loads(curl.stdout.splitlines()[-1])["delivered"] == 1

        code = server.end(signal.SIGINT)
    assert "→ Voucherify  POST /v1/customers  200" in server.written
    assert "POST /events  200" in server.written
    assert "Stopped." in server.written
    assert code == 0


def test_served_for_containers_voucherify_is_where_a_container_finds_it() -> None:
    with serving("--host", "localhost") as server:
        voucherify = server.wait_for(r"stub for Voucherify at http://127\.0\.0\.1:(\d+)")[1]
        aws = server.wait_for(r"AWS_ENDPOINT_URL=http://127\.0\.0\.1:(\d+)")[1]
        server.wait_for("^curl ")
        ssm = aws_client_at("ssm", int(aws))
        assert (
            ssm.get_parameter(Name=f"{SETTINGS_PATH}/apiUrl")["Parameter"]["Value"] == f"http://localhost:{voucherify}"
        )


def test_serve_says_which_port_is_taken_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("local.serve", "--port", str(port))
    assert ended.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by another program" in ended.stdout.replace("\n", " ")
    assert "make serve PORT=" in ended.stdout.replace("\n", " ")
