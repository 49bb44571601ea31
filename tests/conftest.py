"""The whole system on this machine, started once and reset for each test, and checks that hold for every test."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Generator, Iterator
from functools import cache

import botocore.session
import pytest
from hypothesis import HealthCheck, settings

from local.stack.aws import LocalAws
from local.stack.cold import start_cold
from local.stack.system import LocalSystem, Ports, local_system
from local.voucherify_stub.stub import VoucherifyStub
from tests import worker
from tests.contract.published import assert_published
from tests.function import function, logs
from tests.limits import GENEROUS, INVOCATION_SECONDS
from tests.outputs import show, shown

__all__ = ["function", "logs"]

# No test fails for being slow: the bench measures time.
EXAMPLES = 100 if "LONG" in os.environ else 40
settings.register_profile("untimed", deadline=None, max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


# Each session of boto3 reads the descriptions of the services from files. Here all sessions share what one has read.
botocore.session.create_loader = cache(botocore.session.create_loader)


@pytest.fixture(scope="session")
def running_system() -> Iterator[LocalSystem]:
    with local_system(Ports(), function_seconds=INVOCATION_SECONDS) as system:
        worker.running_aws = system.aws
        system.aws.moto.keep_parameters()
        system.aws.moto.freeze()
        freeze()
        yield system


@pytest.fixture
def system(running_system: LocalSystem, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSystem]:
    """Return moto, the stub and the HTTP front, as `make run` starts them, with a function that starts cold.

    Every call that reached Voucherify must fit its published API.
    """
    for name, value in GENEROUS.items():
        monkeypatch.setenv(name, value)
    show("moto", running_system.aws.moto.output)
    start_cold()
    running_system.voucherify.reset()
    running_system.aws.empty_queues()
    running_system.aws.empty_table()
    running_system.aws.moto.restore_parameters()
    yield running_system
    for call in running_system.voucherify.calls:
        assert_published(call.path, call.json)


@pytest.fixture
def aws(system: LocalSystem) -> LocalAws:
    return system.aws


@pytest.fixture
def voucherify(system: LocalSystem) -> VoucherifyStub:
    return system.voucherify


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Under pytest-xdist start with the files of slow tests, so that none is left for the end. Leave out long tests."""
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
    if "LONG" not in os.environ and not config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


# A full garbage collection can take seconds, in which the function under test would run out of time. So none runs
# within a test: objects from before the tests are exempt, the others are collected between two tests.

ENOUGH_TO_COLLECT = 50_000  # objects
YOUNG_COLLECTIONS = 20  # then a full one


def freeze() -> None:
    """Exempt all objects that exist by now from garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    gc.disable()
    freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Collect garbage after a test."""
    result = yield
    young, _, since_full = gc.get_count()
    if young > ENOUGH_TO_COLLECT:
        gc.collect(2 if since_full >= YOUNG_COLLECTIONS else 1)
    return result


# A delivery without deduplication may repeat an event. No test may cause one without saying so.

UNGUARDED = re.compile(r'"Unguarded": ?\[?0*\.?0*[1-9]')  # the metric, in a line that the function wrote
HAS_PASSED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the output of processes to the report. Fail a test whose `unguarded` marker is missing or wrong."""
    for name, output in shown:
        if text := output.new_text():
            item.add_report_section(call.when, name, text)
    report = yield
    if report.when == "call":
        item.stash[HAS_PASSED] = report.passed
    if report.when == "teardown":
        shown.clear()
    if report.when == "teardown" and report.passed and item.stash.get(HAS_PASSED, False):
        delivers = any(UNGUARDED.search(text) for _, text in report.sections)
        is_marked = item.get_closest_marker("unguarded") is not None
        if delivers and not is_marked:
            report.outcome, report.longrepr = (
                "failed",
                "an event was delivered without deduplication: see pytest.mark.unguarded",
            )
        if is_marked and not delivers:
            report.outcome, report.longrepr = "failed", "marked as unguarded, but every delivery was deduplicated"
    return report
