"""Lambda's own runtime on this machine: its interface emulator, which the SAM CLI contains, its client and packages.

https://docs.aws.amazon.com/lambda/latest/dg/python-image.html#python-image-clients
"""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3

from local.stack.output import Output

SITE_PACKAGES = Path(boto3.__file__).parents[1]

# Packages of Lambda's runtime that the artifact does not contain.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
AWS_SDK = ("boto3", "botocore", "dateutil", "s3transfer", "six.py")
_RUNTIME_CLIENT = ("awslambdaric", "runtime_client.*", "simplejson", "snapshot_restore_py.py")

_ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
_EMULATOR = SITE_PACKAGES / "samcli" / "local" / "rapid" / f"aws-lambda-rie-{_ARCHITECTURE}"

_STARTS = 3
_START_SECONDS = 60.0


def is_possible() -> bool:
    """Return whether the emulator runs here: on Linux only."""
    return platform.system() == "Linux" and _EMULATOR.exists()


def link_lambdas_own(directory: Path) -> None:
    """Put the packages of Lambda's runtime into an empty directory."""
    for pattern in (*_RUNTIME_CLIENT, *AWS_SDK, "__pycache__"):  # the last one has the single modules
        for path in SITE_PACKAGES.glob(pattern):
            (directory / path.name).symlink_to(path)


class EmulatorFailed(Exception):
    """The emulator did not start. The text is its output."""


@dataclass(frozen=True)
class Emulator:
    """A running function: the address to invoke it at, and its output."""

    url: str
    output: Output


@contextmanager
def emulator(handler: str, task: Path, variables: Mapping[str, str]) -> Iterator[Emulator]:
    """Run a function in a `with`. Raises EmulatorFailed.

    The emulator must be given its ports, and another process may have taken one by then, so the start is retried.
    """
    outputs = [Output() for _ in range(_STARTS)]
    for output in outputs:
        with _started(handler, task, variables, output) as url:
            if url:
                yield Emulator(url, output)
                return
    raise EmulatorFailed(f"{_EMULATOR.name} did not start:\n{outputs[-1].text()}")


@contextmanager
def _started(handler: str, task: Path, variables: Mapping[str, str], output: Output) -> Iterator[str]:
    """Start a function and yield the address to invoke it at, or "" where it ended before it listened.

    `-S` hides this machine's packages from it, `-B` keeps the artifact as it was built.
    """
    address, runtime_address = _free_addresses(2)
    command = [
        *(str(_EMULATOR), "--runtime-interface-emulator-address", address, "--runtime-api-address", runtime_address),
        *(sys.executable, "-S", "-B", "-m", "awslambdaric", handler),
    ]
    written = output.fileno()
    with subprocess.Popen(command, cwd=task, env=dict(variables), stdout=written, stderr=written) as running:
        try:
            listens = all(_listens(running, each) for each in (address, runtime_address))
            yield f"http://{address}/2015-03-31/functions/function/invocations" if listens else ""
        finally:
            running.terminate()


def _free_addresses(count: int) -> list[str]:
    """Return free ports at a loopback address of this process's own, where no other server answers.

    On Linux all of 127.0.0.0/8 is this machine.
    """
    rest, last = divmod(os.getpid(), 256)
    host = f"127.{1 + rest // 256}.{rest % 256}.{last}"
    probes = [socket.create_server((host, 0)) for _ in range(count)]
    addresses = [f"{host}:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return addresses


def _listens(running: subprocess.Popen[bytes], address: str) -> bool:
    """Wait until the process listens at an address. Return False where it ends first, or takes a minute."""
    host, port = address.split(":")
    deadline = time.monotonic() + _START_SECONDS
    while running.poll() is None:
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.001)
        else:
            return True
    return False
