"""`make run`, `make smoke` and `make serve` as a user starts them, and the Python that they need."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Timer

import pytest

from local.stack.aws import SETTINGS_PATH
from local.stack.samples import SAMPLES
from local.voucherify_stub.stub import VoucherifyStub
from scripts import check_python
from tests.function import aws_client_at

pytestmark = pytest.mark.slow

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


def test_run_prints_one_line_a_sample_in_order_and_whether_all_went_as_expected() -> None:
    ended = run("local.run")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0] == "✓ identify → POST /v1/customers → 200 delivered"
    assert [line.split(" → ")[0] for line in lines[: len(SAMPLES)]] == [f"✓ {sample.title}" for sample in SAMPLES]
    assert lines[len(SAMPLES)] == "✓ retry worker → POST /v1/customers → 1 of 1 delivered"
    assert lines[-1] == f"✓ All {len(SAMPLES)} samples went as expected, against a stub for Voucherify."
    assert max(map(len, lines)) <= 80


@pytest.mark.long
def test_a_verbose_run_prints_every_request_every_answer_and_every_stored_message() -> None:
    ended = run("local.run", "--verbose")
    for shown in (
        'Segment → function: POST /events {"version":1,"type":"identify"',
        'function → Voucherify: POST /v1/customers {"source_id":"cust_9032_re_3234"',
        'Voucherify → function: 200 {"id": "cust_',
        'function → Segment: 401 {"',
        "dead-letter queue: customer_id_missing: ",
        "retry queue: ",
    ):
        assert f"\n  {shown}" in ended.stdout


@pytest.mark.long
def test_run_calls_the_real_voucherify_where_it_has_keys_and_fails_where_a_sample_does() -> None:
    """The real one is another stub here, which refuses the wrong token."""
    with VoucherifyStub(api_key="real-id", api_token="real-token") as voucherify:
        keys = {"VOUCHERIFY_API_KEY": "real-id", "VOUCHERIFY_API_URL": voucherify.url}
        ended = run("local.run", **keys, VOUCHERIFY_API_TOKEN="real-token")
        assert "✓ All 8 samples went as expected, against the real Voucherify." in ended.stdout
        assert ended.returncode == 0
        assert voucherify.customers["cust_1"]["email"] == "ada@example.com"

        ended = run("local.run", **keys, VOUCHERIFY_API_TOKEN="wrong")
        assert "✗ identify → POST /v1/customers → 202 queued\n  the status is 202, not 200" in ended.stdout
        assert 'Voucherify → function: 401 {"code": 401' in ended.stdout
        assert ended.stdout.splitlines()[-1].startswith("✗ 5 of 8 samples did not go as expected")
        assert ended.returncode == 1


@pytest.mark.long
def test_smoke_says_what_it_saw_on_this_machine_and_what_only_aws_can_answer() -> None:
    ended = run("local.smoke")
    lines = ended.stdout.splitlines()
    assert [line for line in lines if not line.startswith("✓")] == [
        "○ gzip: 401 missing or wrong credentials here; only AWS can answer",
        "○ rollback: only AWS can answer: the local system has no versions",
        "○ parameter: only AWS can answer: the local system has no stack",
    ]
    assert len(lines) == 18
    assert max(map(len, lines)) <= 80
    assert ended.returncode == 0
    assert "Only AWS can also answer for" in ended.stderr


@pytest.mark.long
def test_smoke_fails_where_a_line_does() -> None:
    """The real Voucherify is a stub here, which refuses the token."""
    with VoucherifyStub(api_key="real-id", api_token="real-token") as voucherify:
        keys = {"VOUCHERIFY_API_KEY": "real-id", "VOUCHERIFY_API_URL": voucherify.url, "VOUCHERIFY_API_TOKEN": "wrong"}
        ended = run("local.smoke", **keys)
    assert "✗ identify: 202 queued" in ended.stdout
    assert ended.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], "local.smoke"),
        (["STACK=local"], "local.smoke"),
        (["STACK=shop"], "cli smoke --stack shop"),
        (["STACK=shop", "UPDATE=1"], "cli smoke --stack shop --update-stack"),
    ],
)
def test_make_smoke_chooses_the_stack(arguments: list[str], command: str) -> None:
    make = ["make", "--no-print-directory", "--dry-run", "--old-file=.venv/installed", "smoke", *arguments]
    environment = {name: value for name, value in ENVIRONMENT.items() if name not in ("MAKEFLAGS", "STACK", "UPDATE")}
    ended = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout == f".venv/bin/python -m {command}\n"


class Server:
    """`make serve` at free ports. Its output is printed here too, so that pytest shows it where a test fails."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.written = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until a line matches. Fail where the server ends before."""
        assert self._process.stdout
        for line in self._process.stdout:
            self._note(line)
            if found := re.search(pattern, line):
                return found
        pytest.fail(f"make serve ended before it wrote {pattern!r}:\n{self.written}")

    def end(self, signal_: signal.Signals) -> int:
        """Send a signal, read the rest of the output, and return the exit code."""
        self._process.send_signal(signal_)
        rest, _ = self._process.communicate()
        self._note(rest)
        return self._process.returncode

    def _note(self, text: str) -> None:
        self.written += text
        print(text, end="")


@contextmanager
def serving(*arguments: str) -> Iterator[Server]:
    """Start `make serve`, and kill it after ten minutes, so that nothing waits for ever."""
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "local.serve", "--port", "0", *arguments],
        cwd=ROOT,
        env={**ENVIRONMENT, "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        too_late = Timer(600, process.kill)
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


@pytest.mark.long
def test_served_for_containers_voucherify_is_where_a_container_finds_it() -> None:
    with serving("--host", "localhost") as server:
        voucherify = server.wait_for(r"a stub at http://127\.0\.0\.1:(\d+)")[1]
        aws = server.wait_for(r"AWS_ENDPOINT_URL=http://127\.0\.0\.1:(\d+)")[1]
        server.wait_for("^curl ")
        ssm = aws_client_at("ssm", int(aws))
        assert (
            ssm.get_parameter(Name=f"{SETTINGS_PATH}/apiUrl")["Parameter"]["Value"] == f"http://localhost:{voucherify}"
        )


@pytest.mark.long
def test_serve_says_which_port_is_taken_and_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("local.serve", "--port", str(port))
    assert ended.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by another program" in ended.stdout
    assert f"make serve PORT={port + 100}" in ended.stdout


@pytest.mark.parametrize(
    ("version", "is_supported"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)]
)
def test_setup_refuses_a_python_that_the_pinned_packages_do_not_support(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], is_supported: bool
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    with nullcontext() if is_supported else pytest.raises(SystemExit, match=r"need 3\.11 to 3\.14"):
        check_python.main()
