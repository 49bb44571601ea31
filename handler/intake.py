"""One request from API Gateway, from its route to its reply.

authenticate, decode, then each event: normalise, map, call Voucherify; what is not delivered is stored before the reply
goes out. A 2xx is the promise that nothing of the request is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from handler.api_gateway import HttpRequest, Reply, read_request
from handler.authentication import authenticate
from handler.body import Body, decode
from handler.delivery import Delivery, Result, Send
from handler.errors import BodyTooLarge, MethodNotAllowed, NotFound, RequestRefused, Unavailable
from handler.outcome import EVENT_TOO_LARGE
from handler.queues import MAX_EVENT_BYTES, FailureRecord, Queues, is_storable
from handler.reply import reply_to, reply_to_refused, reply_to_unavailable
from handler.settings import Settings
from handler.telemetry import Telemetry, facts_of

SOURCE = "default"

# Kept back of the budget for storing what could not be delivered and for the reply, and before the function's own
# time-out for a store that has to be tried again.
STORE_SECONDS = 0.5
TIME_OUT_RESERVE_SECONDS = 1.0

# JSON written again in ASCII grows sixfold at most, so that no event of a smaller body can be too large to store.
_SURELY_STORABLE_BYTES = MAX_EVENT_BYTES // 6


class Intake:
    """Handles requests with the collaborators of one sandbox."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        send: Callable[[Settings], Send],
        queues: Queues,
        telemetry: Telemetry,
        budget_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._send = send
        self._queues = queues
        self._telemetry = telemetry
        self._budget_seconds = budget_seconds
        self._clock = clock

    def handle(self, event: Mapping[str, Any], seconds_until_time_out: float) -> Reply:
        """The reply to API Gateway's proxy event, before the budget and the function's own time-out are used up."""
        started = self._clock()
        self._telemetry.begin(event["requestContext"].get("requestId", ""))
        budget = min(self._budget_seconds, seconds_until_time_out - TIME_OUT_RESERVE_SECONDS) - STORE_SECONDS
        try:
            reply, facts = self._answer(read_request(event), lambda: started + budget - self._clock())
        except RequestRefused as error:
            reply, facts = reply_to_refused(error), {"cause": error.cause, "problem": error.message}
        except Unavailable as error:
            reply, facts = reply_to_unavailable(), {"cause": error.cause, "problem": str(error)}
        self._telemetry.request(reply, self._clock() - started, facts)
        return reply

    def _answer(self, request: HttpRequest, time_left: Callable[[], float]) -> tuple[Reply, dict[str, Any]]:
        _check_route(request)
        settings = self._settings()
        raw_body = request.body()
        matched = authenticate(request.headers, raw_body, settings.secrets)
        body = decode(raw_body)
        too_large = _too_large(body, len(raw_body))
        results = Delivery(settings.mapping, self._send(settings), time_left).deliver(body.events, too_large)
        self._store(results)
        return reply_to(results, is_batch=body.is_batch), {"matched": matched, **facts_of(results)}

    def _store(self, results: Sequence[Result]) -> None:
        """Store what was not delivered. Raises NotStored."""
        now = datetime.now(UTC)
        records = []
        for index, result in enumerate(results):
            if result.failure:
                self._telemetry.not_delivered(result, index)
                records.append(FailureRecord(result.event, SOURCE, int(result.failure.called), now, result.failure))
        if records:
            self._queues.store(records)


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
