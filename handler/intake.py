"""One request from API Gateway, from its route to its reply.

authenticate, decode, then each event: normalise, map, deduplicate, call Voucherify; what is not delivered is stored
before the reply goes out. A 2xx is the promise that nothing of the request is lost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from handler.api_gateway import HttpRequest, Reply, read_request
from handler.authentication import authenticate
from handler.body import Body, decode
from handler.delivery import Result
from handler.errors import BodyTooLarge, MethodNotAllowed, NotFound, RequestRefused, Unavailable
from handler.outcome import EVENT_TOO_LARGE
from handler.pace import Pace
from handler.queues import MAX_EVENT_BYTES, FailureRecord, is_storable
from handler.reply import reply_to, reply_to_refused, reply_to_unavailable
from handler.sandbox import SOURCE, Sandbox
from handler.telemetry import facts_of

# Kept back of the budget for storing what could not be delivered and for the reply (a quarter of a short one), with a
# part for each event that may still have to be stored; and kept back of the function's own time-out, for a store that
# has to be tried again.
STORE_SECONDS = 0.4
STORE_SECONDS_PER_EVENT = 0.00025
TIME_OUT_RESERVE_SECONDS = 1.0

# For how long past the budget storing may go on: better a late answer than none. But Segment waits 5 seconds, and then
# sends the request again. And what is kept back for the answer that not all could be stored.
STORE_GRACE_SECONDS = 1.5
ANSWER_SECONDS = 0.2

# JSON written again in ASCII grows sixfold at most, so that no event of a smaller body can be too large to store.
_SURELY_STORABLE_BYTES = MAX_EVENT_BYTES // 6

TimeLeft = Callable[[int], float]


class Intake:
    """Handles requests with the collaborators of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._telemetry = sandbox.telemetry

    def handle(self, event: Mapping[str, Any], seconds_until_time_out: float) -> Reply:
        """The reply to API Gateway's proxy event, before the budget and the function's own time-out are used up."""
        started = time.monotonic()
        self._telemetry.begin(event["requestContext"].get("requestId", ""))
        budget = min(
            self._sandbox.environment.response_budget_seconds, seconds_until_time_out - TIME_OUT_RESERVE_SECONDS
        )

        def time_left(unsettled: int) -> float:
            reserve = min(STORE_SECONDS, budget / 4) + unsettled * STORE_SECONDS_PER_EVENT
            return started + budget - reserve - time.monotonic()

        def store_time_left() -> float:
            store_until = min(budget + STORE_GRACE_SECONDS, seconds_until_time_out - ANSWER_SECONDS)
            return started + store_until - time.monotonic()

        try:
            reply, facts = self._answer(read_request(event), time_left, store_time_left)
        except RequestRefused as error:
            reply, facts = reply_to_refused(error), {"cause": error.cause, "problem": error.message}
        except Unavailable as error:
            reply, facts = reply_to_unavailable(), {"cause": error.cause, "problem": str(error)}
        self._telemetry.request(reply, time.monotonic() - started, facts)
        return reply

    def _answer(
        self, request: HttpRequest, time_left: TimeLeft, store_time_left: Callable[[], float]
    ) -> tuple[Reply, dict[str, Any]]:
        _check_route(request)
        settings = self._sandbox.settings.get()
        raw_body = request.body()
        matched = authenticate(request.headers, raw_body, settings.secrets)
        body = decode(raw_body)
        too_large = _too_large(body, len(raw_body))
        results = self._sandbox.delivery(settings, patient=False).deliver(body.events, time_left, too_large)
        self._store(results, self._sandbox.project(settings).pace, store_time_left)
        self._telemetry.results(results)
        return reply_to(results, is_batch=body.is_batch), {"matched": matched, **facts_of(results)}

    def _store(self, results: Sequence[Result], pace: Pace, time_left: Callable[[], float]) -> None:
        """Store what was not delivered. Raises NotStored."""
        now = datetime.now(UTC)
        records: list[FailureRecord] = []
        for index, result in enumerate(results):
            if failure := result.failure:
                self._telemetry.not_delivered(result, index=index)
                # What waits for the plan is hidden until its turn, so that the worker does not find it in vain.
                delay = round(pace.seconds_until_next_turn()) if failure.waits else 0
                records.append(FailureRecord(result.event, SOURCE, int(failure.called), now, failure, delay))
        if records:
            self._sandbox.queues.store(records, time_left)


def _check_route(request: HttpRequest) -> None:
    if request.path != "/events":
        raise NotFound("unknown_path", "the one path is /events")
    if request.method != "POST":
        raise MethodNotAllowed("wrong_method", "the one method is POST")


def _too_large(body: Body, size: int) -> frozenset[int]:
    """The places of the events that no SQS message can hold. Raises BodyTooLarge where that is the only event."""
    if size <= _SURELY_STORABLE_BYTES:
        return frozenset()
    too_large = frozenset(index for index, event in enumerate(body.events) if not is_storable(event))
    if too_large and not body.is_batch:
        raise BodyTooLarge("event_too_large", EVENT_TOO_LARGE.reason)
    return too_large
