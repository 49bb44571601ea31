"""The process that moto runs in."""

from __future__ import annotations

import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from local.stack.aws import LocalAws, local_aws
from local.stack.moto import MotoFailed
from tests.local.test_commands import ROOT


def test_a_port_that_is_taken_raises_what_moto_wrote() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(MotoFailed, match="Address already in use"),
        local_aws(port=taken.getsockname()[1]),
    ):
        pass


def test_it_ends_with_the_process_that_started_it_though_that_is_killed() -> None:
    script = "from local.stack.aws import local_aws\nwith local_aws() as aws: print(aws.url, flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        address = urlsplit(parent.stdout.readline().strip())
        with socket.create_connection((address.hostname, address.port), timeout=60) as connection:
            parent.kill()
            assert connection.recv(1) == b"", "the connection ends, since the process has"


def test_what_is_hidden_is_listed_and_shows_as_time_passes(aws: LocalAws) -> None:
    aws.sqs.send_message(QueueUrl=aws.environment["RETRY_QUEUE_URL"], MessageBody="{}", DelaySeconds=900)
    (before,) = aws.stored("RETRY_QUEUE_URL")
    assert aws.messages("RETRY_QUEUE_URL") == []
    aws.advance("RETRY_QUEUE_URL", 901)
    (after,) = aws.stored("RETRY_QUEUE_URL")
    assert after.delayed_until == pytest.approx(before.delayed_until - 901)
    (message,) = aws.messages("RETRY_QUEUE_URL")
    assert (message["MessageId"], message["Body"]) == (before.message_id, before.body)


def test_time_that_passes_makes_a_message_older_and_visible(aws: LocalAws) -> None:
    queue = aws.environment["RETRY_QUEUE_URL"]
    aws.sqs.send_message(QueueUrl=queue, MessageBody="{}", DelaySeconds=900)
    (before,) = aws.stored("RETRY_QUEUE_URL")
    aws.let_time_pass(3600)
    (message,) = aws.sqs.receive_message(QueueUrl=queue, AttributeNames=["SentTimestamp"])["Messages"]
    sent_at = before.delayed_until - 900
    assert int(message["Attributes"]["SentTimestamp"]) / 1000 == pytest.approx(sent_at - 3600, abs=1)
