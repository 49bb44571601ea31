"""The rate limiter under a clock that stands still until it is moved."""

from __future__ import annotations

import copy
import math
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


class Caller:
    """A rate limiter, and the calls that are made under it."""

    def __init__(self, share: int = 100) -> None:
        self.clock = Clock()
        self.rate_limiter = RateLimiter(self.clock, share)

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
def caller() -> Caller:
    return Caller()


def limits(limit: object = 100, left: object = 50, end: object = NOW + 60, **others: str) -> dict[str, str]:
    headers = {"X-Rate-Limit-Limit": limit, "X-Rate-Limit-Remaining": left, "X-Rate-Limit-Retry": end}
    return {name: str(value) for name, value in headers.items() if value is not None} | {
        name.replace("_", "-"): value for name, value in others.items()
    }


def test_the_first_call_goes_alone_and_its_answer_says_how_many_may_follow(caller: Caller) -> None:
    assert caller.calls_at_once() == 1
    caller.answered(headers=limits(left=100))
    assert caller.calls_at_once() == 100 / CALLS_LEFT_PER_CALL


def test_where_nothing_is_said_of_limits_calls_are_not_limited(caller: Caller) -> None:
    caller.call()
    assert caller.calls_at_once(most=100) == 100


def test_a_call_that_is_not_answered_does_not_hold_up_the_others_for_long(caller: Caller) -> None:
    assert caller.calls_at_once() == 1
    caller.clock.now += PROBE_SECONDS
    assert caller.calls_at_once() == 1
    caller.rate_limiter.release(None, None)
    assert caller.ask() is not None, "that nobody answered says nothing of what is left"


def test_what_an_answer_says_is_soon_old_since_others_call_too(caller: Caller) -> None:
    caller.call(headers=limits(left=100))
    caller.clock.now += FRESH_SECONDS
    assert caller.calls_at_once() == 1


def test_the_last_calls_of_a_window_are_made_one_by_one(caller: Caller) -> None:
    caller.call(headers=limits(left=CALLS_LEFT_PER_CALL))
    assert caller.calls_at_once() == 1
    caller.answered(headers=limits(left=1))
    assert caller.calls_at_once() == 1


def test_a_window_that_is_used_up_is_closed_until_the_next(caller: Caller) -> None:
    caller.call(headers=limits(left=0))
    closed = caller.ask()
    assert closed
    assert (closed.code, closed.action, closed.attempted) == ("rate_limited", Action.WAIT_FOR_QUOTA, False)
    assert caller.opens_in == 60
    caller.clock.now += 60
    assert caller.calls_at_once() == 1, "the first of the new window goes alone too"


def test_answers_that_overtake_each_other_do_not_fill_a_window_again(caller: Caller) -> None:
    caller.call(headers=limits(left=60))
    for left, end in ((8, NOW + 60), (20, NOW + 60), (90, NOW + 30)):
        assert caller.ask() is None
        caller.answered(headers=limits(left=left, end=end))
    assert caller.calls_at_once() == 8 / CALLS_LEFT_PER_CALL


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
def test_a_429_closes_for_as_long_as_it_says(caller: Caller, headers: dict[str, str], seconds: float) -> None:
    caller.call(429, headers)
    assert caller.opens_in == pytest.approx(seconds)
    assert caller.ask() is not None
    caller.clock.now += seconds + 0.001
    assert caller.calls_at_once() == 1


def test_a_plan_that_is_used_up_closes_for_hours(caller: Caller) -> None:
    caller.call(402)
    assert caller.opens_in == PLAN_USED_UP_SECONDS
    closed = caller.ask(wait_for_quota=True, seconds=85)
    assert closed
    assert (closed.code, closed.severity) == ("plan_used_up", Severity.ERROR)


def test_a_shorter_wait_does_not_open_what_a_longer_one_closed(caller: Caller) -> None:
    caller.call(headers=limits(left=100))
    for _ in range(2):
        assert caller.ask() is None
    caller.answered(402)
    caller.answered(429, {"Retry-After": "1"})
    assert caller.opens_in == PLAN_USED_UP_SECONDS


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
def test_garbage_is_as_if_nothing_were_said_of_limits(caller: Caller, headers: dict[str, str]) -> None:
    caller.call(headers=headers)
    assert caller.calls_at_once(most=100) == 100
    assert caller.seconds_per_event == pytest.approx(DEFAULT_WINDOW_SECONDS / 100, rel=1e-4)


@pytest.mark.parametrize("end", [None, NOW - 600, NOW, NOW * 1000, "soon"])
def test_without_an_end_that_makes_sense_what_is_left_still_counts(caller: Caller, end: object) -> None:
    caller.call(headers=limits(left=40, end=end))
    assert caller.calls_at_once() == 10
    caller.clock.now += 0.1
    caller.answered(headers=limits(left=0, end=end))
    assert 0 < caller.opens_in <= 1, "soon one call asks again"


def test_an_end_that_makes_no_sense_is_forgotten_with_the_next_that_does(caller: Caller) -> None:
    caller.call(headers=limits(left=40, end=None))
    caller.call(headers=limits(left=0))
    assert caller.opens_in == 60


def test_an_answer_without_limits_does_not_unlearn_them(caller: Caller) -> None:
    caller.call(headers=limits(left=8))
    caller.call(502)
    assert caller.calls_at_once() == 2
    caller.clock.now += 60
    caller.rate_limiter.release(Answer(502, {}, None), None)
    assert caller.calls_at_once() <= 1, "the new window is unknown until an answer speaks of it"


def test_waiting_events_are_spread_at_the_rate_of_the_plan(caller: Caller) -> None:
    caller.call(headers=limits(limit=2000, left=0, end=NOW + 60))
    assert caller.turns(3) == pytest.approx([60, 60.03, 60.06])


def test_a_waiting_event_comes_after_those_that_waited_before(caller: Caller) -> None:
    caller.call(headers=limits(limit=60, left=0, end=NOW + 60))
    assert caller.turns(2) == pytest.approx([60, 61])
    assert caller.turns(2) == pytest.approx([62, 63])
    caller.clock.now += 1000
    assert caller.turns(2) == pytest.approx([0, 1]), "turns that have passed are no queue any more"


@pytest.mark.parametrize(("seconds", "rate_limiter"), [(60, 0.6), (3600, 36), (1, 0.01)])
def test_the_rate_is_learned_from_the_longest_wait_for_a_window(
    caller: Caller, seconds: float, rate_limiter: float
) -> None:
    caller.call(headers=limits(end=NOW + seconds / 2))
    assert caller.seconds_per_event == pytest.approx(rate_limiter / 2, rel=1e-4)
    caller.clock.now += seconds / 2
    caller.call(headers=limits(end=NOW + seconds * 1.5))
    caller.clock.now += seconds * 0.9
    caller.call(headers=limits(end=NOW + seconds * 1.5))
    assert caller.seconds_per_event == pytest.approx(rate_limiter, rel=1e-4)


def test_turns_lie_within_a_quarter_of_an_hour_however_many_events_wait(caller: Caller) -> None:
    caller.call(headers=limits(limit=100, left=0, end=NOW + 60))
    turns = caller.turns(5_000)
    assert turns[0] == pytest.approx(60)
    assert max(turns) <= 60 + 15 * 60


def test_another_plan_is_learned_anew(caller: Caller) -> None:
    caller.call(headers=limits(limit=1000, end=NOW + 3600))
    caller.call(headers=limits(limit=2000, left=1999, end=NOW + 60))
    assert caller.seconds_per_event == pytest.approx(0.03, rel=1e-4)
    assert caller.calls_at_once() == 100


def test_without_waiting_for_quota_the_next_window_is_not_waited_for(caller: Caller) -> None:
    caller.call(429, {"Retry-After": "1"})
    assert caller.ask(wait_for_quota=False, seconds=85)


def test_a_window_that_opens_too_late_is_not_waited_for(caller: Caller) -> None:
    caller.call(429, {"Retry-After": "60"})
    assert caller.ask(wait_for_quota=True, seconds=59)


def test_a_waiting_call_is_made_once_the_window_opens(caller: Caller) -> None:
    caller.call(headers=limits(left=100))
    assert caller.calls_at_once(most=2) == 2
    caller.answered(429, {"Retry-After": "30"})
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(caller.ask, wait_for_quota=True, seconds=60)
        caller.clock.now += 31
        caller.answered()  # whatever happens makes who waits look at the clock again
        assert waiting.result(timeout=60) is None


def test_a_call_that_waits_for_answers_goes_on_with_the_first(caller: Caller) -> None:
    assert caller.ask() is None
    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return caller.clock()

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(caller.rate_limiter.acquire, Deadline(clock() + 60.0, clock), wait_for_quota=False)
        assert asked.wait(60)
        caller.answered(headers=limits(left=90))
        assert waiting.result(timeout=60) is None


def test_without_time_left_no_answer_is_waited_for(caller: Caller) -> None:
    assert caller.ask() is None
    out_of_time = caller.ask(seconds=0)
    assert out_of_time
    assert (out_of_time.code, out_of_time.action) == ("out_of_time", Action.RETRY)


def test_a_share_of_each_window_is_left_to_the_shop() -> None:
    caller = Caller(share=80)
    caller.call(headers=limits(100, 21))
    assert caller.ask() is None
    caller.answered(headers=limits(100, 20))
    failure = caller.ask()
    assert failure
    assert failure.waits_for_quota
    assert caller.opens_in == pytest.approx(60)
    caller.clock.now += 60
    assert caller.ask() is None


def test_no_more_calls_are_in_progress_than_the_share_allows() -> None:
    caller = Caller(share=80)
    caller.call(headers=limits(100, 40))
    assert caller.calls_at_once() == math.ceil(20 / CALLS_LEFT_PER_CALL)


def test_the_smallest_share_of_a_small_plan_is_one_call() -> None:
    caller = Caller(share=1)
    caller.call(headers=limits(10, 10))
    assert caller.calls_at_once() == 1
    caller.answered(headers=limits(10, 9))
    assert caller.ask() is not None


def test_waiting_events_are_spread_at_the_rate_of_the_share() -> None:
    caller = Caller(share=50)
    caller.call(headers=limits(100, 50, NOW + 60))
    assert caller.turns(3) == pytest.approx([60, 61.2, 62.4])
