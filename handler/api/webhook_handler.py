"""One request from API Gateway, from its route to its reply.

Authenticate, decode, deliver each event, store each event that was not delivered, reply. A 2xx promises that no event
of the request is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from handler.api.api_gateway import HttpRequest, Reply, read_request, request_id_of
from handler.api.authentication import Proof, authenticate, check_token, token_in, unauthorised
from handler.api.body import Body, decode
from handler.api.reply import reply_to, reply_to_refused, reply_to_unavailable, tracking_reply
from handler.api.routes import Route, TrackingApi, Webhook, check_method, route_at
from handler.api.row_check import RowCheck
from handler.api.tracking_api import check_size, decode_call, write_key_of
from handler.delivery.delivery import NewDelivery
from handler.delivery.project import Projects
from handler.model.batch_summary import BatchSummary
from handler.model.deadline import Deadline
from handler.model.errors import BodyTooLarge, FaultySettings, NotFound, RequestRefused, Unavailable, UnknownSource
from handler.model.failure import DELETE_NOT_SIGNED, DELETE_NOT_TAKEN, EVENT_TOO_LARGE, Failure
from handler.model.failure_record import MAX_EVENT_BYTES, FailureRecord, RecordedFailure, is_storable
from handler.model.job import Job, Outcome
from handler.model.reason_codes import RefusalCause
from handler.model.strict_json import is_too_deep
from handler.observability import UNKNOWN_SOURCE, Telemetry
from handler.settings.settings import Secrets, Settings
from handler.settings.sources import Sources
from handler.storage.queues import NewMessage, Queues
from mapping import InvalidEvent, normalise

# Reserved within the budget for storing events and for the reply (a quarter of a short budget), with a part for each
# event; and reserved before Lambda's time-out, for storing events once more.
STORE_SECONDS = 0.4
STORE_SECONDS_PER_EVENT = 0.00025
TIME_OUT_RESERVE_SECONDS = 1.0

# Storing may go on for so long after the budget, and must end so long before Lambda's time-out: a late answer is better
# than none, but Segment waits 5 seconds and then sends the request again. The answer itself leaves a little later: at
# most 1.5 s after the budget, and 0.2 s before the time-out.
STORE_GRACE_SECONDS = 1.3
ANSWER_SECONDS = 0.4

# More than Segment's libraries and webhooks send at once, and as many as can be stored within the budget.
MAX_EVENTS = 4000

# JSON that is written again in ASCII grows sixfold at most: each event of a smaller body can be stored.
_SURELY_STORABLE_BYTES = MAX_EVENT_BYTES // 6


class _Deadlines(NamedTuple):
    """The deadlines of one request: to read the settings, to deliver, and to store events."""

    read_by: Deadline
    deliver_by: Deadline
    store_by: Deadline

    @classmethod
    def of(cls, started: Deadline, budget_seconds: float, seconds_until_time_out: float) -> _Deadlines:
        budget = min(budget_seconds, seconds_until_time_out - TIME_OUT_RESERVE_SECONDS)
        store_by = started.later(min(budget + STORE_GRACE_SECONDS, seconds_until_time_out - ANSWER_SECONDS))
        return cls(
            # No event can be stored without settings, but an event that comes too late to be delivered can be.
            read_by=store_by.later(-min(STORE_SECONDS, max(store_by.seconds_left, 0.0) / 4)),
            deliver_by=started.later(budget - min(STORE_SECONDS, max(budget, 0.0) / 4)),
            store_by=store_by,
        )


@dataclass(frozen=True)
class RoutedRequest:
    """A request with its route and its body, and the differences between the two kinds of routes."""

    route: Route
    request: HttpRequest
    body: bytes

    @cached_property
    def write_key(self) -> bytes:
        """The write key, which Segment's libraries send as user name or in the body. Raises MalformedBody."""
        return token_in(self.request.headers) or write_key_of(self.body).encode("utf-8", "replace")

    def authenticate(self, secrets: Secrets) -> Proof:
        """Return which secret matched. Segment's libraries cannot sign. Raises Unauthorised."""
        if isinstance(self.route, Webhook):
            return authenticate(self.request.headers, self.body, secrets)
        return Proof({"accessToken": check_token(self.write_key, secrets.access_tokens)}, covers_all=True)

    def decode(self) -> Body:
        """Return the events. Raises MalformedBody."""
        return decode(self.body) if isinstance(self.route, Webhook) else decode_call(self.body, self.route.call)

    def jobs_of(self, body: Body, proof: Proof) -> list[Job]:
        """Return the job of each event.

        A write key may be public, and a signature covers the first event of an array only: neither deletes a customer
        beyond that.
        """
        if isinstance(self.route, TrackingApi):
            return [_job(event, DELETE_NOT_TAKEN)._replace(is_routed=False) for event in body.events]
        covered = len(body.events) if proof.covers_all else 1
        return [
            Job(event) if place < covered else _job(event, DELETE_NOT_SIGNED) for place, event in enumerate(body.events)
        ]


class WebhookHandler:
    """Handles the requests of one execution environment."""

    def __init__(
        self,
        budget_seconds: float,
        sources: Sources,
        projects: Projects,
        new_delivery: NewDelivery,
        queues: Queues,
        telemetry: Telemetry,
    ) -> None:
        self._budget_seconds = budget_seconds
        self._sources = sources
        self._projects = projects
        self._new_delivery = new_delivery
        self._queues = queues
        self._telemetry = telemetry
        self._row_check = RowCheck(telemetry.mapping_checked)

    def handle(self, event: Mapping[str, Any], seconds_until_time_out: float) -> Reply:
        """Return the reply to API Gateway's proxy event, in time for the budget and for Lambda's time-out."""
        started = Deadline.after(0.0)
        deadlines = _Deadlines.of(started, self._budget_seconds, seconds_until_time_out)
        self._telemetry.begin(request_id_of(event))
        source, route, summary = UNKNOWN_SOURCE, None, None
        try:
            request = read_request(event)
            route = route_at(request.path)
            check_method(request, route)
            routed = RoutedRequest(route, request, request.body())
            if isinstance(route, TrackingApi):
                check_size(routed.body, route.call)
            settings = self._settings_of(routed, deadlines.read_by)
            source = settings.source
            reply, facts, summary = self._answer(routed, settings, deadlines)
        except RequestRefused as error:
            reply, facts = reply_to_refused(error), {"cause": error.cause, "problem": error.message}
        except Unavailable as error:
            source = error.source if isinstance(error, FaultySettings) else source
            reply, facts = reply_to_unavailable(), {"cause": error.cause, "problem": str(error)}
        if isinstance(route, TrackingApi):
            reply = tracking_reply(reply, facts.get("cause", ""))
        self._telemetry.request(reply.status, -started.seconds_left, source, facts, summary)
        return reply

    def _settings_of(self, routed: RoutedRequest, deadline: Deadline) -> Settings:
        """Return the settings of the source that the path names, or whose access token the write key is."""
        if isinstance(routed.route, Webhook):
            try:
                return self._sources.settings(routed.route.source, deadline)
            except UnknownSource as unknown:
                raise NotFound(RefusalCause.UNKNOWN_SOURCE, "there is no such source") from unknown
        if not routed.write_key:
            raise unauthorised(RefusalCause.MISSING_TOKEN)
        settings = self._sources.of_access_token(routed.write_key, deadline)
        if settings is None:
            raise unauthorised(RefusalCause.WRONG_TOKEN)
        if not settings.is_tracking_api_open:
            raise NotFound(RefusalCause.TRACKING_API_DISABLED, "there is no such path")
        return settings

    def _answer(
        self, routed: RoutedRequest, settings: Settings, deadlines: _Deadlines
    ) -> tuple[Reply, dict[str, Any], BatchSummary]:
        proof = routed.authenticate(settings.secrets)
        body = routed.decode()
        if len(body.events) > MAX_EVENTS:
            raise BodyTooLarge(RefusalCause.TOO_MANY_EVENTS, f"the body has more than {MAX_EVENTS} events")
        jobs = routed.jobs_of(body, proof)
        for place in _not_storable(body, len(routed.body)):
            jobs[place] = Job(jobs[place].event, rejection=EVENT_TOO_LARGE)
        # All of them may have to be stored.
        deliver_by = deadlines.deliver_by.later(-len(jobs) * STORE_SECONDS_PER_EVENT)
        outcomes = self._new_delivery(settings, deliver_by).deliver(jobs, deliver_by)
        self._store(outcomes, settings, deadlines.store_by)
        self._row_check.look_at(body.events, settings)
        summary = BatchSummary(outcomes)
        return reply_to(outcomes, summary, is_batch=body.is_batch), {"matched": proof.matched}, summary

    def _store(self, outcomes: Sequence[Outcome], settings: Settings, deadline: Deadline) -> None:
        """Store each event that was not delivered. Raises NotStored."""
        retries: list[NewMessage] = []
        dead_letters: list[NewMessage] = []
        for index, outcome in enumerate(outcomes):
            if failure := outcome.failure:
                self._telemetry.not_delivered(outcome, settings.source, index=index)
                attempts, recorded = int(failure.attempted), RecordedFailure.of(failure)
                record = FailureRecord(outcome.event, settings.source, attempts, outcome.at, recorded)
                queue = dead_letters if failure.is_permanent else retries
                queue.append(NewMessage(record, self._delay_seconds(failure, settings)))
        if retries or dead_letters:
            self._queues.store(retries, dead_letters, deadline)

    def _delay_seconds(self, failure: Failure, settings: Settings) -> int:
        """Return the delay of a new message: the worker must not find an event while no call is allowed."""
        if failure.is_permanent:
            return 0
        rate_limiter = self._projects.of(settings).rate_limiter
        return round(rate_limiter.reserve_wait_seconds() if failure.waits_for_quota else rate_limiter.seconds_closed)


def _job(event: Any, rejection_of_delete: Failure) -> Job:
    """Return the job of an event. A delete is rejected, and loses its type, so that no redrive deletes the customer."""
    try:
        fields = normalise(event).fields
    except InvalidEvent:
        return Job(event)
    if fields["type"].strip().lower() != "delete":
        return Job(event)
    return Job({name: value for name, value in fields.items() if name != "type"}, rejection=rejection_of_delete)


def _not_storable(body: Body, size: int) -> list[int]:
    """Return the places of the events that no SQS message can hold. Raises BodyTooLarge where it is the only event."""
    if size <= _SURELY_STORABLE_BYTES and not body.may_be_too_deep:
        return []
    places = [
        place
        for place, event in enumerate(body.events)
        if (body.may_be_too_deep and is_too_deep(event)) or not is_storable(event)
    ]
    if places and not body.is_batch:
        raise BodyTooLarge(RefusalCause.EVENT_TOO_LARGE, EVENT_TOO_LARGE.reason)
    return places
