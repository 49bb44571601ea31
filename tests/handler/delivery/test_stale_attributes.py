"""Two execution environments of one project, and what each knows of the other's events."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handler.delivery.shared_state import REFRESH_SECONDS, SharedState
from handler.delivery.stale_attributes import WAITING_SECONDS, Fitted, StaleAttributes
from handler.model.deadline import Deadline
from handler.storage.attribute_times import AttributeTimes
from handler.storage.project_state import ProjectState
from handler.threads import Threads
from local.stack.aws import LocalAws
from mapping import Operation, Request

pytestmark = pytest.mark.scenario(row=20)

EARLY = datetime(2026, 3, 1, 10, tzinfo=UTC)
LATE = EARLY + timedelta(hours=1)


def upsert(customer: str = "u-1", **attributes: object) -> Request:
    body = {"source_id": customer, **attributes}
    return Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", body, customer)


OLD, NEW = upsert(email="old@example.com"), upsert(email="new@example.com")


class Environment:
    """One execution environment."""

    def __init__(
        self, client: Any, table: str, project: str = "project", clock: Callable[[], float] = time.time
    ) -> None:
        state = ProjectState(lambda: client, table, project, clock)
        self.state = SharedState(state, Threads(4), clock)
        self.stale = StaleAttributes(AttributeTimes(lambda: client, table, project), self.state, Threads(4), clock)

    def refresh(self) -> None:
        """Learn what others have written, as with each batch."""
        self.state.refresh(soon())
        self.stale.refresh(soon())

    def queued(self, customer: str, seconds_closed: float = 0.0) -> None:
        self.stale.queued({customer}, seconds_closed, soon())

    def fit(self, request: Request, at: datetime, *, was_stored: bool) -> Fitted:
        return self.stale.fit(request, at, was_stored=was_stored)

    def delivered(self, request: Request, at: datetime) -> None:
        self.stale.delivered(request, at)


class Environments:
    """Execution environments with one clock and one table."""

    def __init__(self, aws: LocalAws) -> None:
        self.now = 1_700_000_000.0
        self._aws = aws

    def start(self) -> Environment:
        return Environment(self._aws.dynamodb, self._aws.environment["DEDUPLICATION_TABLE"], clock=lambda: self.now)


@pytest.fixture
def environments(aws: LocalAws) -> Environments:
    return Environments(aws)


def soon() -> Deadline:
    return Deadline.after(60)


def is_stale(environment: Environment, request: Request = OLD, at: datetime = EARLY) -> bool:
    """Return whether nothing of a queued event is left."""
    return environment.fit(request, at, was_stored=True).request is None


def test_environment_that_learns_late_records_what_it_has_delivered_meanwhile(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    other.refresh()
    one.queued("u-1")
    other.refresh()  # too soon to read again
    assert other.fit(NEW, LATE, was_stored=False).request == NEW
    other.delivered(NEW, LATE)
    environments.now += REFRESH_SECONDS
    other.refresh()
    assert is_stale(one)


def test_environment_that_stores_records_what_it_has_just_delivered_to_the_same_customer(
    environments: Environments,
) -> None:
    environment = environments.start()
    environment.delivered(NEW, LATE)
    environment.delivered(upsert("u-2", email="x"), LATE)
    environment.queued("u-1")
    assert is_stale(environment)
    assert not is_stale(environment, upsert("u-2", email="y"))


def test_what_was_delivered_long_before_is_not_recorded(environments: Environments) -> None:
    environment = environments.start()
    environment.delivered(NEW, LATE)
    environments.now += 60
    environment.queued("u-1")
    assert not is_stale(environment)


def test_events_no_longer_wait_when_nothing_says_so_any_more(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    one.queued("u-1")
    environments.now += WAITING_SECONDS + 1
    other.refresh()
    assert other.fit(NEW, LATE, was_stored=False).request == NEW
    assert not is_stale(one), "nothing was recorded"


def test_events_that_are_stored_later_prolong_it(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    one.queued("u-1")
    environments.now += WAITING_SECONDS - 60
    one.queued("u-2")
    environments.now += 120
    other.refresh()
    other.fit(NEW, LATE, was_stored=False)
    assert is_stale(one)


def test_events_wait_for_as_long_as_no_call_is_allowed(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    one.queued("u-1")
    one.queued("u-1", seconds_closed=12 * 60 * 60)
    environments.start().queued("u-2")  # it has not learned that no call is allowed
    environments.now += 12 * 60 * 60
    other.refresh()
    other.fit(NEW, LATE, was_stored=False)
    assert is_stale(one)


def test_projects_are_apart(aws: LocalAws) -> None:
    table = aws.environment["DEDUPLICATION_TABLE"]
    one, other = (Environment(aws.dynamodb, table, project) for project in ("one", "other"))
    one.queued("u-1")
    one.fit(NEW, LATE, was_stored=False)
    assert is_stale(one)
    assert not is_stale(other)


def test_where_the_table_cannot_be_reached_nobody_can_say(aws: LocalAws) -> None:
    environment = Environment(aws.dynamodb, "no-such-table")
    environment.refresh()
    for was_stored in (True, False):
        assert environment.fit(OLD, EARLY, was_stored=was_stored) == (OLD, False)
