"""One request from API Gateway, from its route to its reply.

authenticate, decode, then each event: normalise, map, deduplicate, call Voucherify; what is not delivered is stored
before the reply goes out. A 2xx is the promise that nothing of the request is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handler.api.api_gateway import HttpRequest, Reply, read_request
from handler.api.authentication import Secrets, authenticate, check_token, given_token, wrong_credentials
from handler.api.body import Body, decode
from handler.api.reply import reply_to, reply_to_refused, reply_to_unavailable, tracking_reply
from handler.api.routes import Route, TrackingApi, Webhook, check_method, route_at
from handler.api.tracking_api import decode_call, disarmed, write_key_of
from handler.delivery.dispatcher import Job, Outcome
from handler.model.batch_summary import BatchSummary
from handler.model.deadline import Deadline
from handler.model.errors import BodyTooLarge, FaultySettings, NotFound, RequestRefused, Unavailable, UnknownSource
from handler.observability import UNKNOWN_SOURCE
from handler.runtime import Runtime
from handler.settings.settings import Settings
from handler.storage.queues import MAX_EVENT_BYTES, FailureRecord, is_storable
from handler.voucherify.answers import DELETE_NOT_TAKEN, EVENT_TOO_LARGE

# Kept back of the budget for storing what could not be delivered and for the reply (a quarter of a short one), with a
# part for each event that may still have to be stored; and kept back of the function's own time-out, for a store that
# has to be tried again.
STORE_SECONDS = 0.4
STORE_SECONDS_PER_EVENT = 0.00025
TIME_OUT_RESERVE_SECONDS = 1.0

# For how long past the budget storing may go on, and how long before the function's own time-out it ends at the latest:
# better a late answer than none, but Segment waits 5 seconds, and then sends the request again. The answer leaves a
# little later, so that it is there 1.5 s after the budget and 0.2 s before the time-out.
STORE_GRACE_SECONDS = 1.3
ANSWER_SECONDS = 0.4

# JSON written again in ASCII grows sixfold at most, so that no event of a smaller body can be too large to store.
_SURELY_STORABLE_BYTES = MAX_EVENT_BYTES // 6


@dataclass(frozen=True)
class RoutedRequest:
    """A request with its route and its body's bytes; what the two kinds of routes do each in their way."""

    route: Route
    request: HttpRequest
    body: bytes

    @cached_property
    def write_key(self) -> bytes:
        """Segment's libraries send it as user name, and in the body. Raises MalformedBody."""
        return given_token(self.request.headers) or write_key_of(self.body).encode("utf-8", "replace")

    def authenticate(self, secrets: Secrets) -> dict[str, str]:
        """Which secret matched. The libraries cannot sign: theirs is the access token alone. Raises Unauthorised."""
        if isinstance(self.route, Webhook):
            return authenticate(self.request.headers, self.body, secrets)
        return {"accessToken": check_token(self.write_key, secrets.access_tokens)}

    def job_of(self, event: Any) -> Job:
        """A write key may lie in an app for all to read: whoever has it deletes nobody."""
        if isinstance(self.route, TrackingApi) and (deletion := disarmed(event)) is not None:
            return Job(deletion, refusal=DELETE_NOT_TAKEN)
        return Job(event)

    def decode(self) -> Body:
        """The events. Raises MalformedBody."""
        return decode(self.body) if isinstance(self.route, Webhook) else decode_call(self.body, self.route.call)


class WebhookHandler:
    """Handles requests with the collaborators of one sandbox."""

    def __init__(self, sandbox: Runtime) -> None:
        self._sandbox = sandbox
        self._telemetry = sandbox.telemetry

    def handle(self, event: Mapping[str, Any], seconds_until_time_out: float) -> Reply:
        """The reply to API Gateway's proxy event, before the budget and the function's own time-out are used up."""
        started = Deadline.after(0.0)
        self._telemetry.begin(event["requestContext"].get("requestId", ""))
        budget = min(
            self._sandbox.environment.response_budget_seconds, seconds_until_time_out - TIME_OUT_RESERVE_SECONDS
        )
        deliver_by = started.later(budget - min(STORE_SECONDS, max(budget, 0.0) / 4))
        store_by = started.later(min(budget + STORE_GRACE_SECONDS, seconds_until_time_out - ANSWER_SECONDS))
        # Without settings nothing can be accepted: what comes too late to be called can still be stored.
        read_by = store_by.later(-min(STORE_SECONDS, max(store_by.seconds_left, 0.0) / 4))
        source, route, summary = UNKNOWN_SOURCE, None, None
        try:
            request = read_request(event)
            route = route_at(request.path)
            check_method(request)
            visit = RoutedRequest(route, request, request.body())
            settings = self._settings_of(visit, read_by)
            source = settings.source
            reply, facts, summary = self._answer(visit, settings, deliver_by, store_by)
        except RequestRefused as error:
            reply, facts = reply_to_refused(error), {"cause": error.cause, "problem": error.message}
        except Unavailable as error:
            source = error.source if isinstance(error, FaultySettings) else source
            reply, facts = reply_to_unavailable(), {"cause": error.cause, "problem": str(error)}
        if isinstance(route, TrackingApi):
            reply = tracking_reply(reply, facts.get("cause", ""))
        self._telemetry.request(reply, -started.seconds_left, source, facts, summary)
        return reply

    def _settings_of(self, visit: RoutedRequest, deadline: Deadline) -> Settings:
        """The settings of the source that the path names, or whose access token the write key is."""
        sources = self._sandbox.sources
        if isinstance(visit.route, Webhook):
            try:
                return sources.settings(visit.route.source, deadline)
            except UnknownSource as unknown:
                raise NotFound("unknown_source", "there is no such source") from unknown
        settings = sources.of_access_token(visit.write_key, deadline) if visit.write_key else None
        if settings is None:
            raise wrong_credentials("wrong_token" if visit.write_key else "missing_token")
        if not settings.is_tracking_api_open:
            raise NotFound("tracking_api_disabled", "there is no such path")
        return settings

    def _answer(
        self, visit: RoutedRequest, settings: Settings, deliver_by: Deadline, store_by: Deadline
    ) -> tuple[Reply, dict[str, Any], BatchSummary]:
        matched = visit.authenticate(settings.secrets)
        body = visit.decode()
        too_large = _too_large(body, len(visit.body))
        jobs = [
            Job(event, refusal=EVENT_TOO_LARGE) if place in too_large else visit.job_of(event)
            for place, event in enumerate(body.events)
        ]
        # All of them may have to be stored.
        deadline = deliver_by.later(-len(jobs) * STORE_SECONDS_PER_EVENT)
        results = self._sandbox.delivery(settings, deadline, wait_for_quota=False).deliver(jobs, deadline)
        self._store(results, settings, store_by)
        summary = BatchSummary(results)
        return reply_to(results, summary, is_batch=body.is_batch), {"matched": matched}, summary

    def _store(self, results: Sequence[Outcome], settings: Settings, deadline: Deadline) -> None:
        """Store what was not delivered. Raises NotStored."""
        records: list[FailureRecord] = []
        for index, result in enumerate(results):
            if failure := result.failure:
                self._telemetry.not_delivered(result, settings.source, index=index)
                # What waits for the plan is hidden until its turn, so that the worker does not find it in vain.
                delay = 0
                if failure.waits:
                    delay = round(self._sandbox.project(settings).rate_limiter.seconds_until_next_turn())
                records.append(
                    FailureRecord(result.event, settings.source, int(failure.called), result.at, failure, delay)
                )
        if records:
            self._sandbox.queues.store(records, deadline)


def _too_large(body: Body, size: int) -> frozenset[int]:
    """The places of the events that no SQS message can hold. Raises BodyTooLarge where that is the only event."""
    if size <= _SURELY_STORABLE_BYTES:
        return frozenset()
    too_large = frozenset(index for index, event in enumerate(body.events) if not is_storable(event))
    if too_large and not body.is_batch:
        raise BodyTooLarge("event_too_large", EVENT_TOO_LARGE.reason)
    return too_large
