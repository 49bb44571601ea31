"""The rate_limiter under a clock that stands still until it is moved."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from handler.delivery.rate_limiter import (
    CALLS_LEFT_PER_CALL,
    DEFAULT_WINDOW_SECONDS,
    FRESH_SECONDS,
    MAX_WINDOW_SECONDS,
    PLAN_USED_UP_SECONDS,
    PROBE_SECONDS,
    RateLimiter,
)
from handler.model.deadline import Deadline
from handler.model.failure import Action, Failure, Severity
from handler.voucherify.answers import failure_of_answer
from handler.voucherify.client import Answer
from mapping import Operation, Request

pytestmark = pytest.mark.scenario(row=12)

NOW = 1_700_000_000.0
IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {"source_id": "user-1"}, "user-1")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Runtime:
    """A rate_limiter, and what its sandbox does with it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.rate_limiter = RateLimiter(self.clock)

    def ask(self, *, wait_for_quota: bool = False, seconds: float = 0.0) -> Failure | None:
        """Ask for one call, with `seconds` left."""
        return self.rate_limiter.acquire(Deadline.after(seconds, self.clock), wait_for_quota=wait_for_quota)

    def answered(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        answer = Answer(status, {name.lower(): value for name, value in (headers or {}).items()}, None)
        self.rate_limiter.release(answer, failure_of_answer(answer, IDENTIFY))

    def call(self, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """One call, from the right to it to its answer."""
        assert self.ask() is None
        self.answered(status, headers)

    def calls_at_once(self, most: int = 100) -> int:
        """How many calls may be in flight together; none of them is answered."""
        return next((count for count in range(most) if self.ask() is not None), most)

    @property
    def opens_in(self) -> float:
        return copy.copy(self.rate_limiter).reserve_wait_seconds()  # of a copy, whose turn is nobody's

    def turns(self, count: int) -> list[float]:
        """In how many seconds it is the turn of each of so many more events."""
        return [self.rate_limiter.reserve_wait_seconds() for _ in range(count)]

    @property
    def seconds_per_event(self) -> float:
        first, second = self.turns(2)
        return second - first


@pytest.fixture
def sandbox() -> Runtime:
    return Runtime()


def limits(limit: object = 100, left: object = 50, end: object = NOW + 60, **others: str) -> dict[str, str]:
    headers = {"X-Rate-Limit-Limit": limit, "X-Rate-Limit-Remaining": left, "X-Rate-Limit-Retry": end}
    return {name: str(value) for name, value in headers.items() if value is not None} | {
        name.replace("_", "-"): value for name, value in others.items()
    }


def test_the_first_call_goes_alone_and_its_answer_says_how_many_may_follow(sandbox: Runtime) -> None:
    assert sandbox.calls_at_once() == 1
    sandbox.answered(headers=limits(left=100))
    assert sandbox.calls_at_once() == 100 / CALLS_LEFT_PER_CALL


def test_where_nothing_is_said_of_limits_calls_are_not_limited(sandbox: Runtime) -> None:
    sandbox.call()
    assert sandbox.calls_at_once(most=100) == 100


def test_a_call_that_is_not_answered_does_not_hold_up_the_others_for_long(sandbox: Runtime) -> None:
    assert sandbox.calls_at_once() == 1
    sandbox.clock.now += PROBE_SECONDS
    assert sandbox.calls_at_once() == 1
    sandbox.rate_limiter.release(None, None)
    assert sandbox.ask() is not None, "that nobody answered says nothing of what is left"


def test_what_an_answer_says_is_soon_old_since_others_call_too(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=100))
    sandbox.clock.now += FRESH_SECONDS
    assert sandbox.calls_at_once() == 1


def test_the_last_calls_of_a_window_are_made_one_by_one(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=CALLS_LEFT_PER_CALL))
    assert sandbox.calls_at_once() == 1
    sandbox.answered(headers=limits(left=1))
    assert sandbox.calls_at_once() == 1


def test_a_window_that_is_used_up_is_closed_until_the_next(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=0))
    closed = sandbox.ask()
    assert closed
    assert (closed.code, closed.action, closed.attempted) == ("rate_limited", Action.WAIT_FOR_QUOTA, False)
    assert sandbox.opens_in == 60
    sandbox.clock.now += 60
    assert sandbox.calls_at_once() == 1, "the first of the new window goes alone too"


def test_answers_that_overtake_each_other_do_not_fill_a_window_again(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=60))
    for left, end in ((8, NOW + 60), (20, NOW + 60), (90, NOW + 30)):
        assert sandbox.ask() is None
        sandbox.answered(headers=limits(left=left, end=end))
    assert sandbox.calls_at_once() == 8 / CALLS_LEFT_PER_CALL


@pytest.mark.parametrize(
    ("headers", "seconds"),
    {
        "Retry-After": ({"Retry-After": "30"}, 30),
        "the window's end alone": ({"X-Rate-Limit-Retry": str(NOW + 40)}, 40),
        "neither": ({}, DEFAULT_WINDOW_SECONDS),
        "both: the end, which is not rounded up": (limits(None, None, NOW + 12.4, Retry_After="13"), 12.4),
        "an end that is already past": (limits(None, None, NOW - 600, Retry_After="30"), 30),
        "an end that is now, as the moment to retry": (limits(None, None, NOW, Retry_After="30"), 30),
        "a clock that is slow": (limits(None, None, NOW + 330, Retry_After="30"), 30),
        "a clock that is fast": (limits(None, None, NOW + 3, Retry_After="30"), 30),
        "an end that is past, and nothing else": (limits(None, None, NOW - 600), DEFAULT_WINDOW_SECONDS),
        "an end in milliseconds": (limits(None, None, NOW * 1000), DEFAULT_WINDOW_SECONDS),
        "an hour": ({"Retry-After": "3600"}, 3600),
        "a day": ({"Retry-After": "86400"}, MAX_WINDOW_SECONDS),
        "at once": ({"Retry-After": "0"}, 1),
        "a date": ({"Retry-After": format_datetime(datetime.fromtimestamp(NOW + 90, UTC), usegmt=True)}, 90),
        "no date": ({"Retry-After": "Someday, 21 Oct"}, DEFAULT_WINDOW_SECONDS),
        "garbage": ({"Retry-After": "-5", "X-Rate-Limit-Retry": "NaN"}, DEFAULT_WINDOW_SECONDS),
        "more than a number holds": ({"Retry-After": "1e999"}, DEFAULT_WINDOW_SECONDS),
    }.values(),
)
def test_a_429_closes_for_as_long_as_it_says(sandbox: Runtime, headers: dict[str, str], seconds: float) -> None:
    sandbox.call(429, headers)
    assert sandbox.opens_in == pytest.approx(seconds)
    assert sandbox.ask() is not None
    sandbox.clock.now += seconds + 0.001
    assert sandbox.calls_at_once() == 1


def test_a_plan_that_is_used_up_closes_for_hours(sandbox: Runtime) -> None:
    sandbox.call(402)
    assert sandbox.opens_in == PLAN_USED_UP_SECONDS
    closed = sandbox.ask(wait_for_quota=True, seconds=85)
    assert closed
    assert (closed.code, closed.severity) == ("plan_used_up", Severity.ERROR)


def test_a_shorter_wait_does_not_open_what_a_longer_one_closed(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=100))
    for _ in range(2):
        assert sandbox.ask() is None
    sandbox.answered(402)
    sandbox.answered(429, {"Retry-After": "1"})
    assert sandbox.opens_in == PLAN_USED_UP_SECONDS


@pytest.mark.parametrize(
    "headers",
    [
        limits(limit="many"),
        limits(limit=0),
        limits(limit="1e-320"),
        limits(limit="inf"),
        limits(left="-1"),
        limits(left=None),
        limits(limit=None),
    ],
)
def test_garbage_is_as_if_nothing_were_said_of_limits(sandbox: Runtime, headers: dict[str, str]) -> None:
    sandbox.call(headers=headers)
    assert sandbox.calls_at_once(most=100) == 100
    assert sandbox.seconds_per_event == pytest.approx(DEFAULT_WINDOW_SECONDS / 100, rel=1e-4)


@pytest.mark.parametrize("end", [None, NOW - 600, NOW, NOW * 1000, "soon"])
def test_without_an_end_that_makes_sense_what_is_left_still_counts(sandbox: Runtime, end: object) -> None:
    sandbox.call(headers=limits(left=40, end=end))
    assert sandbox.calls_at_once() == 10
    sandbox.clock.now += 0.1
    sandbox.answered(headers=limits(left=0, end=end))
    assert 0 < sandbox.opens_in <= 1, "soon one call asks again"


def test_an_end_that_makes_no_sense_is_forgotten_with_the_next_that_does(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=40, end=None))
    sandbox.call(headers=limits(left=0))
    assert sandbox.opens_in == 60


def test_an_answer_without_limits_does_not_unlearn_them(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=8))
    sandbox.call(502)
    assert sandbox.calls_at_once() == 2
    sandbox.clock.now += 60
    sandbox.rate_limiter.release(Answer(502, {}, None), None)
    assert sandbox.calls_at_once() <= 1, "the new window is unknown until an answer speaks of it"


def test_what_waits_gets_turns_at_the_pace_of_the_plan(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(limit=2000, left=0, end=NOW + 60))
    assert sandbox.turns(3) == pytest.approx([60, 60.03, 60.06])


def test_what_waits_gets_its_turn_behind_what_waited_before(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(limit=60, left=0, end=NOW + 60))
    assert sandbox.turns(2) == pytest.approx([60, 61])
    assert sandbox.turns(2) == pytest.approx([62, 63])
    sandbox.clock.now += 1000
    assert sandbox.turns(2) == pytest.approx([0, 1]), "turns that have passed are no queue any more"


@pytest.mark.parametrize(("seconds", "rate_limiter"), [(60, 0.6), (3600, 36), (1, 0.01)])
def test_the_pace_is_learned_from_the_longest_wait_for_a_window(
    sandbox: Runtime, seconds: float, rate_limiter: float
) -> None:
    sandbox.call(headers=limits(end=NOW + seconds / 2))
    assert sandbox.seconds_per_event == pytest.approx(rate_limiter / 2, rel=1e-4)
    sandbox.clock.now += seconds / 2
    sandbox.call(headers=limits(end=NOW + seconds * 1.5))
    sandbox.clock.now += seconds * 0.9
    sandbox.call(headers=limits(end=NOW + seconds * 1.5))
    assert sandbox.seconds_per_event == pytest.approx(rate_limiter, rel=1e-4)


def test_another_plan_is_learned_anew(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(limit=1000, end=NOW + 3600))
    sandbox.call(headers=limits(limit=2000, left=1999, end=NOW + 60))
    assert sandbox.seconds_per_event == pytest.approx(0.03, rel=1e-4)
    assert sandbox.calls_at_once() == 100


def test_who_is_not_patient_does_not_wait_for_the_next_window(sandbox: Runtime) -> None:
    sandbox.call(429, {"Retry-After": "1"})
    assert sandbox.ask(wait_for_quota=False, seconds=85)


def test_who_is_patient_does_not_wait_for_a_window_that_opens_too_late(sandbox: Runtime) -> None:
    sandbox.call(429, {"Retry-After": "60"})
    assert sandbox.ask(wait_for_quota=True, seconds=59)


def test_who_is_patient_gets_the_call_once_the_window_opens(sandbox: Runtime) -> None:
    sandbox.call(headers=limits(left=100))
    assert sandbox.calls_at_once(most=2) == 2
    sandbox.answered(429, {"Retry-After": "30"})
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(sandbox.ask, wait_for_quota=True, seconds=60)
        sandbox.clock.now += 31
        sandbox.answered()  # whatever happens makes who waits look at the clock again
        assert waiting.result(timeout=60) is None


def test_who_waits_for_the_answers_in_flight_goes_on_with_the_first(sandbox: Runtime) -> None:
    assert sandbox.ask() is None
    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return sandbox.clock()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(sandbox.rate_limiter.acquire, Deadline(clock() + 60.0, clock), wait_for_quota=False)
        assert asked.wait(60)
        sandbox.answered(headers=limits(left=90))
        assert waiting.result(timeout=60) is None


def test_who_has_no_time_left_does_not_wait_for_the_answers_in_flight(sandbox: Runtime) -> None:
    assert sandbox.ask() is None
    out_of_time = sandbox.ask(seconds=0)
    assert out_of_time
    assert (out_of_time.code, out_of_time.action) == ("out_of_time", Action.RETRY)
