"""What each answer of Voucherify means for an event, whatever the case: one table."""

from __future__ import annotations

import pytest

from handler.model.failure import Action, Failure, Severity, failure_of_bug
from handler.model.policy import AmbiguousTrack
from handler.model.reason_codes import ReasonCode
from handler.voucherify.answers import failure_of_answer, failure_of_no_answer
from handler.voucherify.client import Answer, NoAnswer, VoucherifyError
from mapping import Operation, Request

IDENTIFY = Request(Operation.UPSERT_CUSTOMER, "POST", "/v1/customers", {}, "c")
TRACK = Request(Operation.TRACK_EVENT, "POST", "/v1/events", {}, "c")

ERROR = VoucherifyError("some_key", "What happened", "more of it", "v-1")

RETRY = (Action.RETRY, Severity.WARNING)
STOP = (Action.STOP_BATCH, Severity.ERROR)
REJECTED = (Action.DEAD_LETTER, Severity.WARNING)
REJECTED_LOUDLY = (Action.DEAD_LETTER, Severity.ERROR)


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
    ("status", "error", "code", "consequence"),
    [
        (408, ERROR, "voucherify_408", RETRY),
        (423, ERROR, "voucherify_423", RETRY),
        (425, None, "voucherify_425", RETRY),
        (429, ERROR, "rate_limited", (Action.WAIT_FOR_QUOTA, Severity.WARNING)),
        (500, None, "voucherify_500", RETRY),
        (501, ERROR, "voucherify_501", RETRY),
        (503, ERROR, "voucherify_503", RETRY),
        (599, None, "voucherify_599", RETRY),
        (999, None, "voucherify_999", RETRY),
        (401, ERROR, "credentials_refused", STOP),
        (401, None, "voucherify_401", RETRY),
        (401, ERROR._replace(key=""), "credentials_refused", STOP),
        (403, ERROR._replace(key="unauthorized"), "credentials_refused", STOP),
        (403, ERROR, "voucherify_403", RETRY),
        (403, None, "voucherify_403", RETRY),
        (403, ERROR._replace(key="missing_required_permission"), "missing_permission", REJECTED_LOUDLY),
        (402, ERROR._replace(key="missing_required_feature"), "missing_feature", REJECTED_LOUDLY),
        (402, ERROR, "plan_used_up", (Action.WAIT_FOR_QUOTA, Severity.ERROR)),
        (301, None, "wrong_api_url", STOP),
        (302, ERROR, "wrong_api_url", STOP),
        (308, None, "wrong_api_url", STOP),
        (404, None, "wrong_api_url", STOP),
        (405, None, "wrong_api_url", STOP),
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
def test_each_other_status_has_its_action(
    status: int, error: VoucherifyError | None, code: str, consequence: tuple[Action, Severity]
) -> None:
    failure = failure_of(status, error=error)
    assert (failure.stage, failure.code, failure.attempted) == ("deliver", code, not failure.waits_for_quota)
    assert (failure.action, failure.severity) == consequence


def test_409_on_a_customer_is_another_upsert_at_the_same_time() -> None:
    assert failure_of(409, IDENTIFY).is_permanent is False
    assert failure_of(409, TRACK).is_permanent is True


@pytest.mark.parametrize(
    ("request_", "advice"), [(IDENTIFY, "create and update customers"), (TRACK, "create custom events")]
)
def test_a_missing_permission_is_named(request_: Request, advice: str) -> None:
    failure = failure_of(403, request_, ERROR._replace(key="missing_required_permission"))
    assert failure.reason == (
        "Voucherify answered 403 missing_required_permission; "
        f"the credentials lack the permission to {advice}: add it to the API key"
    )


def test_the_text_of_a_server_in_front_of_voucherify_is_in_the_record() -> None:
    failure = failure_of_answer(Answer(413, {}, None, "Payload Too Large request entity too large"), TRACK)
    assert failure
    assert failure.message == "Voucherify answered 413: Payload Too Large request entity too large"


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


def no_answer(*, sent: bool) -> NoAnswer:
    return NoAnswer(ReasonCode.VOUCHERIFY_TIMEOUT, "too late", sent=sent)


@pytest.mark.parametrize("ambiguous_track", AmbiguousTrack)
@pytest.mark.parametrize(("request_", "sent"), [(IDENTIFY, True), (IDENTIFY, False), (TRACK, False)])
def test_no_answer_is_a_retry_where_nothing_can_have_been_applied_twice(
    request_: Request, sent: bool, ambiguous_track: AmbiguousTrack
) -> None:
    failure = failure_of_no_answer(no_answer(sent=sent), request_, ambiguous_track)
    assert failure == Failure("deliver", "voucherify_timeout", "no answer from Voucherify: too late", attempted=True)


@pytest.mark.parametrize(
    ("ambiguous_track", "permanent"), [(AmbiguousTrack.RETRY, False), (AmbiguousTrack.DEAD_LETTER, True)]
)
def test_a_track_that_may_have_been_applied_is_what_the_shop_wants_and_says_so(
    ambiguous_track: AmbiguousTrack, permanent: bool
) -> None:
    failure = failure_of_no_answer(no_answer(sent=True), TRACK, ambiguous_track)
    assert failure.is_permanent is permanent
    assert failure.reason == "no answer from Voucherify: too late; the event may have been applied"


def test_a_bug_is_a_retry_that_names_its_place_and_not_its_text() -> None:
    with pytest.raises(KeyError) as raised:
        dict[str, str]()["john.doe@example.com"]
    failure = failure_of_bug(raised.value)
    assert (failure.action, failure.severity) == (Action.RETRY, Severity.ERROR)
    assert failure.message.startswith("unexpected KeyError in test_a_bug_is_a_retry")
    assert "john" not in failure.message


def test_an_event_that_was_not_tried_costs_no_attempt() -> None:
    failure = failure_of(429).for_events_not_tried()
    assert (failure.code, failure.attempted, failure.action) == ("rate_limited", False, Action.WAIT_FOR_QUOTA)
    assert failure.reason == "not tried, since Voucherify answered 429 some_key"
