"""Lambda's own runtime on this machine: its interface emulator, which the SAM CLI has, its client and packages.

https://docs.aws.amazon.com/lambda/latest/dg/python-image.html#python-image-clients
"""

from __future__ import annotations

import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import boto3

SITE_PACKAGES = Path(boto3.__file__).parents[1]

# Of what Lambda's runtime brings along, the artifact does not hold these.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
AWS_SDK = ("boto3", "botocore", "dateutil", "s3transfer", "six.py")
_RUNTIME_CLIENT = ("awslambdaric", "runtime_client.*", "simplejson", "snapshot_restore_py.py")

_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
_EMULATOR = SITE_PACKAGES / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{_ARCHITECTURE}"


def is_possible() -> bool:
    """The emulator runs on Linux only."""
    return platform.system() == "Linux" and _EMULATOR.exists()


def link_lambdas_own(directory: Path) -> None:
    """Put the packages that Lambda's runtime brings along into an empty directory."""
    for pattern in (*_RUNTIME_CLIENT, *AWS_SDK, "__pycache__"):  # the last one is of the modules that are no package
        for path in SITE_PACKAGES.glob(pattern):
            (directory / path.name).symlink_to(path)


@contextmanager
def emulator(handler: str, task: Path, variables: Mapping[str, str], output: int | None = None) -> Iterator[str]:
    """Start a function and give the address to invoke it at; `output` is where what it writes goes.

    `-S` hides this machine's packages from it, `-B` keeps the artifact as it was built.
    """
    address, runtime_address = _free_addresses(2)
    command = [
        *(str(_EMULATOR), "--runtime-interface-emulator-address", address, "--runtime-api-address", runtime_address),
        *(sys.executable, "-S", "-B", "-m", "awslambdaric", handler),
    ]
    with subprocess.Popen(command, cwd=task, env=dict(variables), stdout=output, stderr=output) as running:
        try:
            _wait_for(address)
            yield f"http://{address}/2015-03-31/functions/function/invocations"
        finally:
            running.terminate()


def _free_addresses(count: int) -> list[str]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return addresses


def _wait_for(address: str, seconds: float = 10.0) -> None:
    host, port = address.split(":")
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.001)
