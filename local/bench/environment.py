"""The processes of the bench: each measurement in a new one with a core of its own; moto, SQS and Voucherify on the
other cores."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

from local.bench.events import API_KEY, API_TOKEN, settings_path
from local.bench.voucherify import serve_voucherify
from local.stack.samples import SHARED_SECRET

P = ParamSpec("P")
T = TypeVar("T")

CONCURRENCY = 16

# The settings are read once, since a refresh concerns one event in thousands.
_OWN = {"POWERTOOLS_LOG_LEVEL": "INFO", "SETTINGS_TTL_SECONDS": "3600", "VOUCHERIFY_CONCURRENCY": str(CONCURRENCY)}

_SPAWN = multiprocessing.get_context("spawn")


@contextmanager
def servers() -> Iterator[None]:
    """Run the servers, with the function's variables in `os.environ`, all but the path of its settings."""
    before = dict(os.environ)
    with _beside(serve_voucherify) as urls, _beside(_serve_sqs) as sqs, _beside(_serve_aws, urls) as aws:
        os.environ.update(aws | sqs | _OWN)
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def in_own_process(measure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a measurement in a new process whose output is discarded, and return its result."""
    with ProcessPoolExecutor(1, mp_context=_SPAWN, initializer=_as_in_lambda) as process:
        return process.submit(measure, *args, **kwargs).result()


def _as_in_lambda() -> None:
    """Use one core, of which Lambda gives a share below 1,769 MB, and write the output to the null device."""
    _take_core(is_functions=True)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _take_core(*, is_functions: bool) -> None:
    """Use the last core for the function and the others for the servers, where the system allows the choice.

    Otherwise threads that wait for Python's lock move between cores, and some runs take half as long again.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    *others, last = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {last} if is_functions else others or {last})


@contextmanager
def _beside(serve: Callable[..., None], *args: object) -> Iterator[Any]:
    """Run a server in a process of its own and yield the first value that it sends."""
    here, there = _SPAWN.Pipe()
    process = _SPAWN.Process(target=_serve, args=(serve, there, *args), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


def _serve(serve: Callable[..., None], *args: object) -> None:
    _take_core(is_functions=False)
    serve(*args)


def _serve_aws(parent: Connection, voucherify: Mapping[int, str]) -> None:
    """Run moto with settings for each latency of Voucherify, and send the function's variables."""
    from local.stack.aws import local_aws

    before = dict(os.environ)
    with local_aws() as aws:
        for latency, url in voucherify.items():
            settings = {"apiKey": API_KEY, "apiToken": API_TOKEN, "apiUrl": url, "sharedSecret": SHARED_SECRET}
            for name, value in settings.items():
                aws.ssm.put_parameter(Name=f"{settings_path(latency)}/{name}", Value=value, Type="SecureString")
        parent.send({name: value for name, value in os.environ.items() if before.get(name) != value})
        parent.poll(None)


def _serve_sqs(parent: Connection) -> None:
    from local.soak.sqs import SqsStub

    with SqsStub().serving() as variables:
        parent.send(variables)
        parent.poll(None)
