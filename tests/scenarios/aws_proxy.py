"""A proxy before moto, in which AWS fails as a test wants, and in which the test sees each call.

A rule takes the call and the way to forward it, and returns the answer. It can refuse before or after it forwards,
change the call, or do something else first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import urllib3

from local.stack.http_server import HttpRequest, HttpServer, Reply


@dataclass(frozen=True)
class AwsCall:
    """One call of AWS: its operation, such as `PutItem`, and its JSON body."""

    operation: str
    json: dict[str, Any]


Forward = Callable[[AwsCall], Reply]
Rule = Callable[[AwsCall, Forward], Reply]


class AwsProxy:
    """Serves from construction to `close`. Without a `rule` it forwards every call."""

    def __init__(self, url: str) -> None:
        self.rule: Rule | None = None
        self._pool = urllib3.connection_from_url(url, maxsize=32)
        self._server = HttpServer(0, self._respond)
        self.url = f"http://127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self._server.close()
        self._pool.close()

    def _respond(self, request: HttpRequest) -> Reply:
        def forward(call: AwsCall) -> Reply:
            # A body that a rule has changed has another length; moto does not check the signature.
            headers = {name: value for name, value in request.headers.items() if name != "content-length"}
            body = json.dumps(call.json).encode()
            answer = self._pool.request(request.method, request.path, body=body, headers=headers, retries=False)
            return Reply(answer.status, _end_to_end(answer.headers), answer.data)

        call = AwsCall(request.headers.get("X-Amz-Target", "").rpartition(".")[2], json.loads(request.body))
        return self.rule(call, forward) if self.rule else forward(call)


def _end_to_end(headers: Mapping[str, str]) -> dict[str, str]:
    hop_by_hop = {"connection", "content-length", "transfer-encoding"}
    return {name: value for name, value in headers.items() if name.lower() not in hop_by_hop}


def refusal(status: int = 500, code: str = "InternalServerError") -> Reply:
    """Return an error as AWS does, in the JSON protocols of SQS, DynamoDB and SSM."""
    body = json.dumps({"__type": code, "message": "made up by a test"}).encode()
    return Reply(status, {"Content-Type": "application/x-amz-json-1.0"}, body)


def refuse(*operations: str, status: int = 500, code: str = "InternalServerError") -> Rule:
    """Return a rule that refuses these operations and forwards all others."""

    def rule(call: AwsCall, forward: Forward) -> Reply:
        return refusal(status, code) if call.operation in operations else forward(call)

    return rule


def take_some(call: AwsCall, forward: Forward, taken: Callable[[int], bool]) -> Reply:
    """Answer a SendMessageBatch with 200, and with `Failed` for the entries whose number is not `taken`."""
    entries = call.json["Entries"]
    refused = [entry["Id"] for number, entry in enumerate(entries) if not taken(number)]
    kept = [entry for entry in entries if entry["Id"] not in refused]
    answer: dict[str, Any] = {"Successful": []}
    headers: Mapping[str, str] = {"Content-Type": "application/x-amz-json-1.0"}
    if kept:
        reply = forward(AwsCall(call.operation, {**call.json, "Entries": kept}))
        if reply.status != 200:
            return reply
        answer, headers = json.loads(reply.body), reply.headers
    answer["Failed"] = [{"Id": id_, "Code": "InternalError", "SenderFault": False} for id_ in refused]
    return Reply(200, headers, json.dumps(answer).encode())


@contextmanager
def aws_proxy(url: str) -> Iterator[AwsProxy]:
    proxy = AwsProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
