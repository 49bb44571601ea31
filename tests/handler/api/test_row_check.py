"""A row that finds nothing: it is no fault of the mapping, and nobody would notice it."""

from __future__ import annotations

from typing import Any

import pytest

from handler.api import row_check
from handler.api.row_check import RowCheck
from handler.settings.setting_types import Parameter
from handler.settings.settings import Settings, check_settings
from tests.function import Function


def settings_with(**mappings: str) -> Settings:
    secrets = {"apiKey": "k", "apiToken": "t", "sharedSecret": "s"}
    return check_settings("shop", {name: Parameter(value) for name, value in {**secrets, **mappings}.items()})


def order(number: int, **properties: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": f"u-{number}", "properties": properties}


class Reports(list[tuple[str, int, list[str], int]]):
    def __call__(self, source: str, events: int, rows: Any, unread: int) -> None:
        self.append((source, events, rows, unread))


@pytest.fixture
def reports() -> Reports:
    return Reports()


MISSPELT = '{"totl": "metadata.total", "coupon": "metadata.coupon", "currency": "metadata.currency"}'


def test_a_misspelt_row_is_named_and_a_row_that_is_seldom_used_is_not(reports: Reports) -> None:
    check, settings = RowCheck(reports), settings_with(trackMapping=MISSPELT)
    for number in range(row_check.EVENTS):
        optional = {"coupon": "TEN"} if number == 7 else {}
        check.look_at([order(number, total=5, currency="EUR", **optional)], settings)
    assert reports == [("shop", 100, ["trackMapping: totl → metadata.total"], 0)]


def test_events_of_which_no_row_reads_a_property_are_counted(reports: Reports) -> None:
    check, settings = RowCheck(reports), settings_with(trackMapping='{"totl": "metadata.total"}')
    for number in range(row_check.EVENTS):
        check.look_at([order(number, total=5) if number < 60 else order(number)], settings)
    assert reports == [("shop", 100, ["trackMapping: totl → metadata.total"], 60)]


def test_the_default_rows_and_mappings_with_few_events_are_not_judged(reports: Reports) -> None:
    check = RowCheck(reports)
    settings = settings_with(**{"trackMapping.orders": '{"Order Completed": {"totl": "metadata.total"}}'})
    for number in range(row_check.EVENTS):
        event = order(number) if number < 9 else {"type": "identify", "userId": "u-1", "traits": {"email": "a@b.de"}}
        check.look_at([event], settings)
    assert reports == [("shop", 100, [], 0)]


def test_a_changed_mapping_is_judged_from_its_first_event_on(reports: Reports) -> None:
    check, wrong, right = (
        RowCheck(reports),
        settings_with(trackMapping=MISSPELT),
        settings_with(trackMapping='{"total": "metadata.total"}'),
    )
    for settings, events in ((wrong, 99), (right, 99), (right, 1)):
        assert reports == []
        for number in range(events):
            check.look_at([order(number, total=5)], settings)
    assert reports == [("shop", 100, [], 0)]


def test_one_event_of_a_request_is_looked_at_another_each_time(
    reports: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_check, "EVENTS", 3)
    monkeypatch.setattr(row_check, "LEAST_EVENTS", 3)
    check, settings = RowCheck(reports), settings_with(trackMapping='{"total": "metadata.total"}')
    events = [order(1), order(2), order(3, total=5)]
    for _ in range(3):
        check.look_at(events, settings)
    check.look_at([], settings)
    assert reports == [("shop", 3, [], 0)]


def test_the_line_and_the_metrics(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_check, "EVENTS", 1)
    monkeypatch.setattr(row_check, "LEAST_EVENTS", 1)
    function.put(trackMapping='{"totl": "metadata.total"}')
    function.post({**order(1, total=5), "messageId": "t-1"})
    (line,) = [line for line in function.logs if line["message"] == "mapping checked"]
    assert (line["events"], line["empty_rows"], line["unread_events"]) == (
        1,
        ["trackMapping: totl → metadata.total"],
        1,
    )
    metrics = {name: value for line in function.logs.metrics for name, value in line.items()}
    assert (metrics["EmptyRows"], metrics["UnreadEvents"]) == (1, 1)


def test_the_next_count_begins_after_a_pause_or_with_another_mapping(reports: Reports) -> None:
    now = 0.0
    check, settings = RowCheck(reports, lambda: now), settings_with(trackMapping=MISSPELT)

    def look(settings: Settings) -> None:
        for number in range(2 * row_check.EVENTS):
            check.look_at([order(number, total=5)], settings)

    look(settings)
    assert len(reports) == 1
    other = settings_with(trackMapping=MISSPELT)
    look(other)
    assert len(reports) == 2
    now = row_check.PAUSE_SECONDS
    look(other)
    assert len(reports) == 3
