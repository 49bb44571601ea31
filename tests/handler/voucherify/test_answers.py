"""What each answer of Voucherify means for an event, whatever the case: one table."""

from __future__ import annotations

from typing import Any

import pytest

from handler.voucherify.answers import (
    AmbiguousTrack,
    Failure,
    failure_of_answer,
    failure_of_bug,
    failure_of_no_answer,
    failure_while_halted,
)
from handler.voucherify.client import Answer, NoAnswer, VoucherifyError
from mapping import Operation, Request

IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {}, "c")
TRACK = Request(Operation.TRACK_EVENT, "POST", "/v1/events", {}, "c")

ERROR = VoucherifyError("some_key", "What happened", "more of it", "v-1")

RETRY: dict[str, Any] = {"permanent": False, "loud": False, "halts": False, "waits": False}
LOUD: dict[str, Any] = {**RETRY, "loud": True, "halts": True}
REJECTED: dict[str, Any] = {**RETRY, "permanent": True}


def failure_of(
    status: int, request: Request = TRACK, error: VoucherifyError | None = ERROR, limit_type: str = ""
) -> Failure:
    headers = {"x-rate-limit-type": limit_type} if limit_type else {}
    failure = failure_of_answer(Answer(status, headers, error), request)
    assert failure
    return failure


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize("error", [None, ERROR])
def test_any_2xx_is_delivered_whatever_the_body(status: int, error: VoucherifyError | None) -> None:
    assert failure_of_answer(Answer(status, {}, error), TRACK) is None


@pytest.mark.parametrize(
    ("status", "error", "code", "consequences"),
    [
        (408, ERROR, "voucherify_408", RETRY),
        (423, ERROR, "voucherify_423", RETRY),
        (425, None, "voucherify_425", RETRY),
        (429, ERROR, "rate_limited", {**RETRY, "waits": True}),
        (500, None, "voucherify_500", RETRY),
        (501, ERROR, "voucherify_501", RETRY),
        (503, ERROR, "voucherify_503", RETRY),
        (599, None, "voucherify_599", RETRY),
        (999, None, "voucherify_999", RETRY),
        (401, ERROR, "credentials_refused", LOUD),
        (401, None, "credentials_refused", LOUD),
        (403, ERROR, "credentials_refused", LOUD),
        (402, ERROR, "plan_used_up", {**RETRY, "loud": True, "waits": True}),
        (301, None, "wrong_api_url", LOUD),
        (302, ERROR, "wrong_api_url", LOUD),
        (308, None, "wrong_api_url", LOUD),
        (404, None, "wrong_api_url", LOUD),
        (405, None, "wrong_api_url", LOUD),
        (404, ERROR, "voucherify_404", REJECTED),
        (405, ERROR, "voucherify_405", REJECTED),
        (400, ERROR, "voucherify_400", REJECTED),
        (400, None, "voucherify_400", REJECTED),
        (409, ERROR, "voucherify_409", REJECTED),
        (413, None, "voucherify_413", REJECTED),
        (422, ERROR, "voucherify_422", REJECTED),
        (451, None, "voucherify_451", REJECTED),
    ],
)
def test_every_other_status_is_a_retry_a_loud_retry_or_a_rejection(
    status: int, error: VoucherifyError | None, code: str, consequences: dict[str, bool]
) -> None:
    failure = failure_of(status, error=error)
    assert (failure.stage, failure.code, failure.called) == ("deliver", code, not failure.waits)
    assert {name: getattr(failure, name) for name in consequences} == consequences


def test_409_on_a_customer_is_another_upsert_at_the_same_time() -> None:
    assert failure_of(409, IDENTIFY).permanent is False
    assert failure_of(409, TRACK).permanent is True


def test_429_of_the_billing_cycle_is_a_plan_that_is_used_up() -> None:
    assert failure_of(429, limit_type="api_calls_cycle").code == "plan_used_up"
    assert failure_of(429, limit_type="api_calls").code == "rate_limited"


def test_the_record_says_all_that_voucherify_said_and_the_answer_only_its_key() -> None:
    failure = failure_of(400)
    assert failure.message == "Voucherify answered 400 some_key: What happened more of it (request_id v-1)"
    assert failure.reason == "Voucherify answered 400 some_key"


@pytest.mark.parametrize("key", ["", "john.doe@example.com", "Some Key", "x" * 65, "ключ"])
def test_a_key_that_is_no_key_stays_out_of_the_answer(key: str) -> None:
    assert failure_of(400, error=ERROR._replace(key=key)).reason == "Voucherify answered 400"


@pytest.mark.parametrize("ambiguous_track", AmbiguousTrack)
@pytest.mark.parametrize(("request_", "sent"), [(IDENTIFY, True), (IDENTIFY, False), (TRACK, False)])
def test_no_answer_is_a_retry_where_nothing_can_have_been_applied_twice(
    request_: Request, sent: bool, ambiguous_track: AmbiguousTrack
) -> None:
    failure = failure_of_no_answer(NoAnswer("voucherify_timeout", "too late", sent=sent), request_, ambiguous_track)
    assert failure == Failure("deliver", "voucherify_timeout", "no answer from Voucherify: too late", called=True)


@pytest.mark.parametrize(
    ("ambiguous_track", "permanent"), [(AmbiguousTrack.RETRY, False), (AmbiguousTrack.DEAD_LETTER, True)]
)
def test_a_track_that_may_have_been_applied_is_what_the_shop_wants_and_says_so(
    ambiguous_track: AmbiguousTrack, permanent: bool
) -> None:
    failure = failure_of_no_answer(NoAnswer("voucherify_timeout", "too late", sent=True), TRACK, ambiguous_track)
    assert failure.permanent is permanent
    assert failure.reason == "no answer from Voucherify: too late; the event may have been applied"


def test_an_error_of_ours_is_a_loud_retry_that_names_its_place_and_not_its_text() -> None:
    with pytest.raises(KeyError) as raised:
        dict[str, str]()["john.doe@example.com"]
    failure = failure_of_bug(raised.value)
    assert (failure.permanent, failure.loud) == (False, True)
    assert failure.message.startswith("unexpected KeyError in test_an_error_of_ours")
    assert "john" not in failure.message


def test_an_event_that_was_not_tried_costs_no_attempt() -> None:
    failure = failure_while_halted(failure_of(429))
    assert (failure.code, failure.called, failure.permanent, failure.waits) == ("rate_limited", False, False, True)
    assert failure.reason == "not tried, since Voucherify answered 429 some_key"
