"""The cold start: the built artifact on Lambda's own runtime, from process start to the first answered event.

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import urllib3

from local.bench import minimal_handler
from local.bench.events import Json, identify, proxied, settings_path
from local.bench.numbers import Series, interleaved
from local.stack.emulator import emulator, link_lambdas_own

ROOT = Path(__file__).parents[2]

_OUR_PACKAGES = ("handler", "mapping")

_IMPORTTIME = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \|\s*(\S+)")


@dataclass(frozen=True)
class Import:
    """What one module costs at import, in seconds: by itself, and with all that it imports first."""

    name: str
    own: float
    cumulative: float


@dataclass(frozen=True)
class ColdStart:
    """Seconds from the process's start to the first answer, and every import of the handler's module."""

    ours: Series
    floor: Series
    imports: tuple[Import, ...]

    def costliest(self, count: int) -> list[Import]:
        return sorted(self.imports, key=lambda found: found.own, reverse=True)[:count]

    def by_package(self) -> dict[str, float]:
        """The seconds of all modules of a package, by themselves; Python's own are one. The costliest first."""
        seconds: dict[str, float] = {}
        for found in self.imports:
            package = found.name.split(".")[0]
            package = "Python's own" if package in sys.stdlib_module_names else package
            seconds[package] = seconds.get(package, 0.0) + found.own
        return dict(sorted(seconds.items(), key=lambda item: item[1], reverse=True))


def build(directory: Path) -> Path:
    """What `sam build` makes of the function behind the API, in `directory`."""
    sam = [sys.executable, "-m", "samcli", "build", "DeliverFunction", "--build-dir", str(directory)]
    subprocess.run(sam, cwd=ROOT, check=True, capture_output=True)
    return directory / "DeliverFunction"


def cold_start(artifact: Path, scratch: Path, rounds: int) -> ColdStart:
    """Starts the artifact and the minimal handler in turns. `scratch` is a directory."""
    packages, floor = scratch / "lambdas_own", scratch / "floor"
    packages.mkdir()
    link_lambdas_own(packages)
    _package_minimal(artifact, floor)
    event = proxied([identify(0)], is_batch=False)
    ours, minimal = interleaved(
        rounds,
        lambda: _first_answer("handler.app.lambda_handler", artifact, packages, event),
        lambda: _first_answer("minimal_handler.lambda_handler", floor, packages, event),
    )
    return ColdStart(ours, minimal, tuple(_imports(artifact, packages, rounds)))


def _package_minimal(artifact: Path, directory: Path) -> None:
    """Put the minimal handler and the artifact's other packages into a new directory, with byte code as there."""
    shutil.copytree(artifact, directory, ignore=lambda parent, _: _OUR_PACKAGES if Path(parent) == artifact else ())
    module = shutil.copy(minimal_handler.__file__, directory)
    py_compile.compile(str(module), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def _first_answer(handler: str, task: Path, packages: Path, event: Json) -> float:
    """Seconds."""
    started = time.perf_counter()
    with emulator(handler, task, _environment(task, packages)) as running:
        answer = urllib3.request("POST", running.url, json=event, retries=False).json()
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


def _imports(artifact: Path, packages: Path, times: int) -> Iterable[Import]:
    """What the handler's module and all that it imports cost, the medians of several runs."""
    command = [sys.executable, "-S", "-B", "-X", "importtime", "-c", "import handler.app"]
    environment = _environment(artifact, packages)
    runs = [
        read_importtime(subprocess.run(command, cwd=artifact, env=environment, check=True, capture_output=True).stderr)
        for _ in range(times)
    ]
    for name in runs[0]:
        of_module = [run[name] for run in runs if name in run]
        yield Import(name, median(own for own, _ in of_module), median(cumulative for _, cumulative in of_module))


def read_importtime(output: bytes) -> Mapping[str, tuple[float, float]]:
    """Seconds by module, own and cumulative, from what `-X importtime` writes."""
    return {
        name: (int(own) / 1e6, int(cumulative) / 1e6) for own, cumulative, name in _IMPORTTIME.findall(output.decode())
    }
