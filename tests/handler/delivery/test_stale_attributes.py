"""Two execution environments of one project, and what each knows of the other's events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from handler.delivery.stale_attributes import BACKLOG_SECONDS, REFRESH_SECONDS, StaleAttributes
from handler.model.deadline import Deadline
from handler.storage.attribute_times import AttributeTimes, Backlog
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


class Environments:
    """Execution environments with one clock and one table."""

    def __init__(self, aws: LocalAws) -> None:
        self.now = 1_700_000_000.0
        self._aws = aws

    def start(self) -> StaleAttributes:
        client: Any = self._aws.dynamodb
        place = (lambda: client, self._aws.environment["DEDUPLICATION_TABLE"], "project")
        times, backlog = AttributeTimes(*place), Backlog(*place, clock=lambda: self.now)
        return StaleAttributes(times, backlog, Threads(4), clock=lambda: self.now)


@pytest.fixture
def environments(aws: LocalAws) -> Environments:
    return Environments(aws)


def soon() -> Deadline:
    return Deadline.after(60)


def is_stale(environment: StaleAttributes, request: Request = OLD, at: datetime = EARLY) -> bool:
    """Return whether nothing of a queued event is left."""
    return environment.fit(request, at, was_stored=True).request is None


def test_environment_that_learns_late_records_what_it_has_delivered_meanwhile(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    other.refresh(soon())
    one.queued({"u-1"}, soon())
    other.refresh(soon())  # too soon to read again
    assert other.fit(NEW, LATE, was_stored=False).request == NEW
    other.delivered(NEW, LATE)
    environments.now += REFRESH_SECONDS
    other.refresh(soon())
    assert is_stale(one)


def test_environment_that_stores_records_what_it_has_just_delivered_to_the_same_customer(
    environments: Environments,
) -> None:
    environment = environments.start()
    environment.delivered(NEW, LATE)
    environment.delivered(upsert("u-2", email="x"), LATE)
    environment.queued({"u-1"}, soon())
    assert is_stale(environment)
    assert not is_stale(environment, upsert("u-2", email="y"))


def test_what_was_delivered_long_before_is_not_recorded(environments: Environments) -> None:
    environment = environments.start()
    environment.delivered(NEW, LATE)
    environments.now += 60
    environment.queued({"u-1"}, soon())
    assert not is_stale(environment)


def test_events_no_longer_wait_when_nothing_says_so_any_more(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    one.queued({"u-1"}, soon())
    environments.now += BACKLOG_SECONDS + 1
    other.refresh(soon())
    assert other.fit(NEW, LATE, was_stored=False).request == NEW
    assert not is_stale(one), "nothing was recorded"


def test_events_that_are_stored_later_prolong_it(environments: Environments) -> None:
    one, other = environments.start(), environments.start()
    one.queued({"u-1"}, soon())
    environments.now += BACKLOG_SECONDS - 60
    one.queued({"u-2"}, soon())
    environments.now += 120
    other.refresh(soon())
    other.fit(NEW, LATE, was_stored=False)
    assert is_stale(one)


def test_projects_are_apart(aws: LocalAws) -> None:
    client: Any = aws.dynamodb
    table = aws.environment["DEDUPLICATION_TABLE"]
    one, other = (
        StaleAttributes(
            AttributeTimes(lambda: client, table, project), Backlog(lambda: client, table, project), Threads(4)
        )
        for project in ("one", "other")
    )
    one.queued({"u-1"}, soon())
    one.fit(NEW, LATE, was_stored=False)
    assert is_stale(one)
    assert not is_stale(other)


def test_where_the_table_cannot_be_reached_nobody_can_say(aws: LocalAws) -> None:
    client: Any = aws.dynamodb
    place = (lambda: client, "no-such-table", "project")
    environment = StaleAttributes(AttributeTimes(*place), Backlog(*place), Threads(4))
    environment.refresh(soon())
    for was_stored in (True, False):
        assert environment.fit(OLD, EARLY, was_stored=was_stored) == (OLD, False)
