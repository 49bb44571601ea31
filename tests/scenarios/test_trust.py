"""Signatures over the whole path, and settings that cannot be read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from handler.settings import sources
from local.stack.cold import start_cold
from local.stack.http_server import Reply
from local.stack.samples import SHARED_SECRET, sign
from tests.function import Function
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, refusal, refuse

IDENTIFY: dict[str, Any] = {"type": "identify", "messageId": "i-1", "userId": "u-1", "traits": {"name": "Ada"}}


def flipped(text: bytes, bit: int) -> bytes:
    return bytes([*text[:-2], text[-2] ^ bit, text[-1]])


@pytest.mark.scenario(row=1)
def test_batch_of_a_thousand_is_trusted_by_its_first_element(function: Function) -> None:
    first, *others = [json.dumps({**IDENTIFY, "userId": f"u-{number}"}).encode() for number in range(1000)]
    rest = b"," + b",".join(others) + b"]"
    assert function.send(b"[" + flipped(first, 1) + rest, {"X-Signature": sign(first)}).status == 401
    wrong = flipped(SHARED_SECRET.encode(), 1).decode()
    assert function.send(b"[" + first + rest, {"X-Signature": sign(first, wrong)}).status == 401
    assert function.sent == []
    answer = function.send(b"[" + first + rest, {"X-Signature": sign(first)})
    assert (answer.status, answer.body["delivered"]) == (200, 1000)


@pytest.mark.scenario(row=4)
@pytest.mark.parametrize(
    ("status", "code", "tries"), [(500, "InternalServerError", 2), (400, "AccessDeniedException", 1)]
)
def test_cold_start_without_ssm_gives_503_and_the_next_request_recovers(
    function: Function, proxy: AwsProxy, status: int, code: str, tries: int
) -> None:
    reads: list[str] = []

    def down(call: AwsCall, forward: Forward) -> Reply:
        reads.append(call.operation)
        return refusal(status, code)

    proxy.rule = down
    answer = function.post(IDENTIFY)
    assert (answer.status, function.sent) == (503, [])
    assert len(reads) == tries
    proxy.rule = None
    assert function.post(IDENTIFY).status == 200


@pytest.mark.scenario(row=4)
def test_cold_start_survives_throttled_reads(
    function: Function, proxy: AwsProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them than botocore's two tries: 200 cold starts at once exceed what Parameter Store answers a second."""
    monkeypatch.setattr(sources, "THROTTLED_SECONDS", 0.0)
    reads: list[str] = []

    def at_first(call: AwsCall, forward: Forward) -> Reply:
        reads.append(call.operation)
        return refusal(400, "ThrottlingException") if len(reads) <= 3 else forward(call)

    proxy.rule = at_first
    assert function.post(IDENTIFY).status == 200


@pytest.mark.scenario(row=4)
def test_settings_outlive_an_outage_of_ssm(function: Function, proxy: AwsProxy) -> None:
    assert function.post(IDENTIFY).status == 200
    proxy.rule = refuse("GetParametersByPath", status=400, code="AccessDeniedException")
    assert function.post(IDENTIFY).status == 200
    (line,) = [line for line in function.logs if line["level"] == "ERROR"]
    assert line["cause"] == "settings_unavailable"


@pytest.mark.scenario(row=5)
def test_cold_start_with_a_broken_mapping_gives_503_until_it_is_fixed(function: Function) -> None:
    function.put(trackMapping="{")
    assert function.post(IDENTIFY).status == 503
    function.put(trackMapping="{}")
    start_cold()
    assert function.post(IDENTIFY).status == 200
