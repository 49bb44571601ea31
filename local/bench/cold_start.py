"""The cold start: the built artifact on Lambda's own runtime, from process start to the first answer.

https://docs.aws.amazon.com/lambda/latest/dg/python-image.html#python-image-clients
"""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

import urllib3

from local.bench import minimal_handler
from local.bench.events import Json, identify, proxied, settings_path
from local.bench.numbers import Series, interleaved, quantity
from local.bench.report import paragraph, table
from local.stack.emulator import emulator, link_lambdas_own

ROOT = Path(__file__).parents[2]

_OUR_PACKAGES = ("handler", "mapping")
_SHOWN_IMPORTS = 10
_IMPORTTIME = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)")

# By module: the seconds of its import itself, and those with all that it imports first.
Imports = Mapping[str, tuple[float, float]]


class ColdStart(NamedTuple):
    """Seconds from the process's start to the first answer, and the imports of the handler's module."""

    ours: Series
    floor: Series
    imports: Imports


def build(directory: Path) -> Path:
    """Run `sam build` for the function behind the API, and return its artifact."""
    sam = [sys.executable, "-m", "samcli", "build", "DeliverFunction", "--build-dir", str(directory)]
    subprocess.run(sam, cwd=ROOT, check=True, capture_output=True)
    return directory / "DeliverFunction"


def cold_start(artifact: Path, scratch: Path, rounds: int) -> ColdStart:
    """Start the artifact and the minimal handler in turns. `scratch` is an empty directory."""
    packages, floor = scratch / "lambdas_own", scratch / "floor"
    packages.mkdir()
    link_lambdas_own(packages)
    # The minimal handler with the artifact's other packages, and with byte code as there.
    shutil.copytree(artifact, floor, ignore=lambda parent, _: _OUR_PACKAGES if Path(parent) == artifact else ())
    module = shutil.copy(minimal_handler.__file__, floor)
    py_compile.compile(str(module), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    event = proxied([identify(0)], is_batch=False)
    ours, minimal = interleaved(
        rounds,
        lambda: _first_answer("handler.app.lambda_handler", artifact, packages, event),
        lambda: _first_answer("minimal_handler.lambda_handler", floor, packages, event),
    )
    return ColdStart(ours, minimal, _imports(artifact, packages, rounds))


def _first_answer(handler: str, task: Path, packages: Path, event: Json) -> float:
    """Return the seconds from process start to the first answer."""
    started = time.perf_counter()
    with emulator(handler, task, _environment(task, packages)) as running:
        answer = urllib3.request("POST", running.url, json=event, retries=False, timeout=60).json()
        seconds = time.perf_counter() - started
    if answer.get("statusCode") != 200:
        raise RuntimeError(f"{handler} answered {answer}:\n{running.output.text()}")
    return seconds


def _environment(task: Path, packages: Path) -> dict[str, str]:
    names = ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL", "DEDUPLICATION_TABLE")
    return {
        **{name: value for name, value in os.environ.items() if name.startswith("AWS_") or name in names},
        "SETTINGS_PATH": settings_path(0),
        "AWS_EXECUTION_ENV": "AWS_Lambda_python",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_FUNCTION_NAME": "DeliverFunction",
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "10",
        "AWS_LAMBDA_LOG_FORMAT": "JSON",
        "AWS_LAMBDA_LOG_LEVEL": "INFO",
        "PYTHONPATH": f"{task}{os.pathsep}{packages}",
    }


def _imports(artifact: Path, packages: Path, times: int) -> Imports:
    """Return the medians of several runs."""
    command = [sys.executable, "-S", "-B", "-X", "importtime", "-c", "import handler.app"]
    environment = _environment(artifact, packages)
    runs = [
        read_importtime(subprocess.run(command, cwd=artifact, env=environment, check=True, capture_output=True).stderr)
        for _ in range(times)
    ]
    return {
        name: (median(run[name][0] for run in runs if name in run), median(run[name][1] for run in runs if name in run))
        for name in runs[0]
    }


def read_importtime(output: bytes) -> Imports:
    """Return the seconds by module from the output of `-X importtime`."""
    return {
        name: (int(own) / 1e6, int(cumulative) / 1e6) for own, cumulative, name in _IMPORTTIME.findall(output.decode())
    }


def imports_section(imports: Imports) -> Iterator[str]:
    """Yield what the first request waits for: the costliest modules and packages."""
    total = sum(own for own, _ in imports.values())
    packages: dict[str, float] = {}
    for name, (own, _) in imports.items():
        package = name.split(".")[0]
        package = "Python's own" if package in sys.stdlib_module_names else package
        packages[package] = packages.get(package, 0.0) + own
    yield "## Imports of a cold start"
    yield paragraph(
        f"""`python -X importtime` of `handler.app` in the artifact: {quantity(total, "s")}, which the measurement
        itself lengthens. Below are the {_SHOWN_IMPORTS} costliest modules and packages. The clients of SQS and
        DynamoDB are made when they are needed first."""
    )
    modules = sorted(imports.items(), key=lambda item: item[1], reverse=True)[:_SHOWN_IMPORTS]
    yield table(
        ("module", "itself", "with its imports"),
        [(f"`{name}`", quantity(own, "s"), quantity(cumulative, "s")) for name, (own, cumulative) in modules],
    )
    costliest = sorted(packages.items(), key=lambda item: item[1], reverse=True)[:_SHOWN_IMPORTS]
    yield table(
        ("package", "together", "of all"),
        [(name, quantity(seconds, "s"), f"{seconds / total:.0%}") for name, seconds in costliest],
    )
