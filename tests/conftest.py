"""The whole system on this machine, once for all tests, as new for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from local.aws import LocalAws
from local.cold import start_cold
from local.system import LocalSystem, Ports, local_system
from local.voucherify import VoucherifyStandIn
from tests import worker
from tests.contract import assert_published

# A test does not time: what is slow is for the bench to say.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def running_system() -> Iterator[LocalSystem]:
    with local_system(Ports()) as system:
        worker.running_aws = system.aws
        system.aws.moto.freeze()
        yield system


@pytest.fixture
def system(running_system: LocalSystem) -> Iterator[LocalSystem]:
    """moto, the stand-in and the HTTP front, as `make run` starts them, before a cold function.

    Whatever reached Voucherify in the end must be what its published API takes.
    """
    start_cold()
    running_system.voucherify.reset()
    running_system.aws.empty_queues()
    running_system.aws.empty_table()
    running_system.aws.delete_settings()
    running_system.aws.put_settings(running_system.settings)
    yield running_system
    for call in running_system.voucherify.calls:
        assert_published(call.path, call.json)


@pytest.fixture
def aws(system: LocalSystem) -> LocalAws:
    return system.aws


@pytest.fixture
def voucherify(system: LocalSystem) -> VoucherifyStandIn:
    return system.voucherify
