"""Ctrl-C: every command ends, whatever it waits for, and says what it has done. Real processes get a real signal."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from local.stack.aws import LocalAws
from local.stack.http_server import Reply
from tests.cli.conftest import RETRY, put_message
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, aws_proxy

# Far more than a command needs to end, and far less than the time-outs of the peers that it waits for.
SECONDS = 15.0

# `--local` means the AWS of the tests, and a call of Voucherify may take an hour.
COMMAND = """
import dataclasses, sys
import cli.replay.project, cli.replay.retry_loop
from cli.target import Target
cli.replay.project.CALL_SECONDS = cli.replay.retry_loop.CALL_SECONDS = 3600
local, url = Target.local(0), sys.argv.pop(1)
known = {name: value.replace(local.endpoint_url, url) for name, value in local.known.items()}
Target.local = lambda port: dataclasses.replace(local, endpoint_url=url, known=known)
from cli.__main__ import main
main()
"""


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """What a silent peer waits for."""
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def started(*arguments: str, program: str = COMMAND) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def interrupted(process: subprocess.Popen[str]) -> str:
    """Send Ctrl-C, and return what the command wrote on standard error until it ended."""
    process.send_signal(signal.SIGINT)
    return ended(process)


def ended(process: subprocess.Popen[str]) -> str:
    error = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    return error


def wait_for(text: str, stream: IO[str] | None) -> None:
    """Read a stream as far as a text; a question has no end of its line."""
    read = ""
    while stream and text not in read:
        character = stream.read(1)
        assert character, f"{text!r} was expected after {read!r}"
        read += character


@pytest.fixture
def silent_after(aws: LocalAws, never: threading.Event) -> Iterator[AwsProxy]:
    """A proxy before moto, for a process of its own."""
    with aws_proxy(aws.url) as proxy:
        yield proxy


def test_a_cleanup_that_waits_for_sqs_is_cut_short(
    aws: LocalAws, silent_after: AwsProxy, never: threading.Event
) -> None:
    for number in range(25):
        put_message(aws, f"t-{number}")
    sent = threading.Semaphore(0)

    def rule(call: AwsCall, forward: Forward) -> Reply:
        if call.operation == "SendMessageBatch":
            sent.release()
        if call.operation == "ChangeMessageVisibilityBatch":
            never.wait()
        return forward(call)

    silent_after.rule = rule
    with started(silent_after.url, "--local", "dead-letters", "retry", "--rate", "10") as process:
        sent.acquire()
        sent.acquire()
        error = interrupted(process)
    moved = len(aws.stored(RETRY))
    assert moved in (10, 20)
    assert f"✗ interrupted: {moved - 10} messages moved" in error or f"✗ interrupted: {moved} messages moved" in error
    assert "messages that were read are visible again in 2 minutes at the latest" in error
    assert "run the same command to continue" in error


@pytest.mark.long
def test_a_replay_does_not_wait_for_voucherify(aws: LocalAws, tmp_path: Path) -> None:
    event = {"type": "track", "messageId": "e-1", "userId": "u-1", "event": "Order Completed"}
    (tmp_path / "events.jsonl").write_text(json.dumps(event))
    checkpoint = tmp_path / "checkpoint.sqlite"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        aws.put_settings({"apiUrl": f"http://127.0.0.1:{silent.getsockname()[1]}"})
        arguments = ("--local", "replay", str(tmp_path / "events.jsonl"), "--checkpoint", str(checkpoint))
        with started(aws.url, *arguments) as process:
            connection, _ = silent.accept()
            error = interrupted(process)
            connection.close()
    assert f"✗ interrupted: the checkpoint is {checkpoint}" in error
    assert "no event settled" in error


@pytest.mark.long
def test_a_question_can_be_left(aws: LocalAws) -> None:
    put_message(aws, "t-1")
    with started(aws.url, "--local", "dead-letters", "drop") as process:
        wait_for("[y/N]", process.stderr)
        assert "✗ interrupted: nothing was changed\n" in interrupted(process)


@pytest.mark.long
def test_an_interrupt_that_is_lost_ends_the_process_all_the_same() -> None:
    program = """
import threading
import cli.main
def deaf():
    while True:
        try:
            print("running", flush=True)
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
cli.main.app = deaf
from cli.__main__ import main
main()
"""
    with started(program=program) as process:
        wait_for("running", process.stdout)
        assert interrupted(process) == ("✗ interrupted in the middle of a step\n  run the same command to continue\n")


def test_a_cleanup_that_must_not_be_cut_short_ends_in_its_own_time() -> None:
    program = """
import time
import cli.interruption, cli.main
cli.interruption.CLEANUP_SECONDS = cli.interruption.END_SECONDS = 0.0
def smoke():
    cli.interruption.finish_cleanup()
    try:
        print("running", flush=True)
        time.sleep(60)
    finally:
        time.sleep(0.5)
        raise SystemExit("cleaned up")
cli.main.app = smoke
from cli.__main__ import main
main()
"""
    with started(program=program) as process:
        wait_for("running", process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=SECONDS)[1] == "cleaned up\n"


def test_ctrl_c_during_the_imports_shows_no_traceback() -> None:
    program = """
import sys, threading
class Slow:
    def find_spec(self, name, *_):
        if name == "cli.main":
            print("importing", flush=True)
            threading.Event().wait()
sys.meta_path.insert(0, Slow())
from cli.__main__ import main
main()
"""
    with started(program=program) as process:
        wait_for("importing", process.stdout)
        assert interrupted(process) == "✗ interrupted: nothing was changed\n"
