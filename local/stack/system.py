"""The whole system on one machine: moto for AWS, Voucherify or its stub, and an HTTP API before the function."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from handler.app import lambda_handler
from local.stack.aws import LocalAws, local_aws
from local.stack.front import FUNCTION_TIME_OUT_SECONDS, Exchange, front
from local.stack.samples import ACCESS_TOKEN, SHARED_SECRET
from local.voucherify_stub.real import RealVoucherify
from local.voucherify_stub.stub import Call, VoucherifyStub
from mapping import CALLS

API_KEY, API_TOKEN = "local-app-id", "local-secret-key"


@dataclass(frozen=True)
class LocalSystem:
    """The running system. With `is_real` the stub forwards its calls to the real Voucherify."""

    url: str
    aws: LocalAws
    voucherify: VoucherifyStub
    is_real: bool

    @property
    def settings(self) -> dict[str, str]:
        """The settings at the start. The source `app` accepts every type of call."""
        return {
            "apiKey": API_KEY,
            "apiToken": API_TOKEN,
            "apiUrl": self.voucherify.url,
            "sharedSecret": SHARED_SECRET,
            "app/accessToken": ACCESS_TOKEN,
            **{f"app/{call.disabled_setting}": "false" for call in CALLS.values() if call.is_disabled},
        }


@dataclass(frozen=True)
class Ports:
    """The ports and the address to listen at. 0 means any free port. A container cannot reach a loopback address."""

    front: int = 0
    aws: int = 0
    voucherify: int = 0
    host: str = "127.0.0.1"


class PortTaken(Exception):
    """Another program on this machine uses a port that is needed here."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} on 127.0.0.1 is taken by another program")
        self.port = port


@contextmanager
def local_system(
    ports: Ports,
    on_exchange: Callable[[Exchange], object] | None = None,
    on_call: Callable[[Call], object] | None = None,
    function_seconds: float = FUNCTION_TIME_OUT_SECONDS,
) -> Iterator[LocalSystem]:
    """Run everything in a `with`. The function times out after `function_seconds`. Raises PortTaken."""
    for port in (ports.front, ports.aws, ports.voucherify):
        _require_free(port)
    real = RealVoucherify.from_environment(os.environ)
    with (
        VoucherifyStub(
            api_key=API_KEY, api_token=API_TOKEN, port=ports.voucherify, on_call=on_call, api=real, host=ports.host
        ) as voucherify,
        local_aws(ports.aws, ports.host) as aws,
        front(lambda_handler, ports.front, on_exchange, ports.host, function_seconds) as url,
    ):
        system = LocalSystem(url, aws, voucherify, is_real=real is not None)
        aws.put_settings(system.settings)
        yield system


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(port) from error
