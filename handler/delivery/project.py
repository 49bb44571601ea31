"""One Voucherify project: its connections, its rate limit, and the threads that call it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Generic, NamedTuple, TypeVar

from handler.delivery.rate_limiter import RateLimiter
from handler.delivery.shared_calls import SharedCalls
from handler.delivery.shared_state import SharedState
from handler.model.deadline import Deadline
from handler.model.failure import OUT_OF_TIME, Action, Failure
from handler.model.policy import AmbiguousTrack
from handler.model.reason_codes import ReasonCode
from handler.settings.settings import Settings
from handler.threads import Threads
from handler.voucherify.answers import failure_of_answer, failure_of_no_answer, may_concern_metadata
from handler.voucherify.client import Answer, Call, NoAnswer, VoucherifyClient
from handler.voucherify.metadata_schemas import READ_SCHEMAS, KnownSchemas, SchemaCache, may_pass, read_schemas
from mapping import MetadataSchemas, Request

# A call is not begun with less time left: its answer would hardly come in time, and nobody would know whether a track
# event was applied.
MIN_CALL_SECONDS = 0.3

T = TypeVar("T")


class Attempt(NamedTuple):
    """One try to deliver a request: the failure, None where it was delivered, and the duration of the last call.

    `request` is the request as it was sent, with what was left out of it. `concerns_metadata`: Voucherify may have
    refused it because of the project's metadata schemas.
    """

    failure: Failure | None
    request: Request
    seconds: float | None = None
    concerns_metadata: bool = False


class Exchange(NamedTuple, Generic[T]):
    """One call: its answer, if one came, its failure, if it failed, and what was read from the answer."""

    answer: Answer | None
    failure: Failure | None
    content: T | None = None


@dataclass(frozen=True, slots=True)
class Project:
    """A project with its kept connections, and with the knowledge of its limits and schemas. Thread-safe."""

    client: VoucherifyClient
    rate_limiter: RateLimiter
    threads: Threads
    schemas: SchemaCache = field(default_factory=lambda: SchemaCache(time.time))

    def attempt(
        self, request: Request, call: Call, deadline: Deadline, ambiguous_track: AmbiguousTrack, *, wait_for_quota: bool
    ) -> Attempt:
        """Send a request, and once more where its metadata was refused and can be made to fit. Raises GivenUp."""
        send = partial(
            self._send,
            call=call,
            deadline=deadline,
            ambiguous_track=ambiguous_track,
            wait_for_quota=wait_for_quota,
        )
        read = partial(self._read_schemas, call, deadline, wait_for_quota=wait_for_quota)
        attempt = send(self.schemas.fit(request))
        if not attempt.failure or not attempt.concerns_metadata:
            return attempt
        call.reopen()  # the refusal has changed nothing, so the event can still be queued
        known = self.schemas.after_refusal(read, deadline)
        if isinstance(known, Failure):
            return attempt._replace(failure=known)
        fitted = known.schemas.fit(request)
        if fitted.to_json() != attempt.request.to_json():
            attempt = send(fitted)
        return _explained(attempt, known)

    def _send(
        self, request: Request, call: Call, deadline: Deadline, ambiguous_track: AmbiguousTrack, *, wait_for_quota: bool
    ) -> Attempt:
        """Make one call as soon as the rate limit allows it. Raises GivenUp."""

        def send() -> Exchange[float]:
            started = time.monotonic()
            answer: Answer | None = None
            try:
                answer = self.client.send(request, deadline, call)
                failure = failure_of_answer(answer, request)
            except NoAnswer as error:
                failure = failure_of_no_answer(error, request, ambiguous_track)
            return Exchange(answer, failure, time.monotonic() - started)

        sent = self.limited(send, deadline, wait_for_quota=wait_for_quota)
        concerns_metadata = bool(sent.answer and may_concern_metadata(sent.answer, request))
        return Attempt(sent.failure, request, sent.content, concerns_metadata)

    def _read_schemas(self, call: Call, deadline: Deadline, *, wait_for_quota: bool) -> KnownSchemas | Failure:
        """Read the project's metadata schemas, as soon as the rate limit allows it. Raises GivenUp.

        Without the permission to read them, for instance, the project counts as one that has none.
        """

        def read() -> Exchange[MetadataSchemas]:
            try:
                answer, schemas = read_schemas(self.client, deadline, call)
            except NoAnswer as error:
                return Exchange(None, failure_of_no_answer(error, READ_SCHEMAS, AmbiguousTrack.RETRY))
            return Exchange(answer, failure_of_answer(answer, READ_SCHEMAS), schemas)

        found = self.limited(read, deadline, wait_for_quota=wait_for_quota)
        if found.failure and (found.answer is None or may_pass(found.answer)):
            return found.failure
        return KnownSchemas(found.content or MetadataSchemas({}), found.failure.reason if found.failure else "")

    def limited(self, call: Callable[[], Exchange[T]], deadline: Deadline, *, wait_for_quota: bool) -> Exchange[T]:
        """Make one call as soon as the rate limit allows it, and learn from its answer. Raises what the call raises."""
        if closed := self.rate_limiter.acquire(deadline, wait_for_quota=wait_for_quota):
            return Exchange(None, closed)
        exchange: Exchange[T] = Exchange(None, OUT_OF_TIME)
        try:
            if deadline.seconds_left >= MIN_CALL_SECONDS:  # waiting for the rate limit may have taken the rest
                exchange = call()
            return exchange
        finally:
            self.rate_limiter.release(exchange.answer, exchange.failure)


def _explained(attempt: Attempt, known: KnownSchemas) -> Attempt:
    """Return an attempt whose failure names the required metadata that is missing, or why no schema was read."""
    failure = attempt.failure
    if not failure or not attempt.concerns_metadata:
        return attempt
    if known.problem:
        why = f"its metadata schemas could not be read: {known.problem}"
    elif missing := known.schemas.missing(attempt.request):
        why = f"required metadata is missing: {', '.join(missing)}; map it, or make it optional in Voucherify's schema"
    else:
        return attempt
    return attempt._replace(failure=replace(failure, reason=f"{failure.reason}; {why}"))


class Projects:
    """The projects of this execution environment, each made with the first need and then kept. Thread-safe.

    `state_of` returns a project's state by its id; None where there is no table.
    """

    def __init__(self, concurrency: int, state_of: Callable[[str], SharedState | None]) -> None:
        self._concurrency = concurrency
        self._state_of = state_of
        self._making = threading.Lock()
        self._kept = cache(self._new)

    def of(self, settings: Settings) -> Project:
        """Return the project of these settings. New credentials make a new project, without the limits of the old.

        Two sources of one project with different shares of its calls count as two: each learns what is left.
        """
        with self._making:  # a project that is made twice would have two rate limiters
            return self._kept(
                settings.api_url,
                settings.api_key,
                settings.api_token,
                settings.project_id,
                settings.call_share,
                settings.calls_per_day,
            )

    def _new(self, url: str, key: str, token: str, project_id: str, call_share: int, calls_per_day: int) -> Project:
        client = VoucherifyClient(url, key, token, connections=self._concurrency)
        state = self._state_of(project_id)
        shared = SharedCalls(state, call_share, calls_per_day) if state else None
        # Threads of its own: while one project waits for its rate limit, another goes on.
        return Project(client, RateLimiter(time.time, call_share, shared), Threads(self._concurrency))


class ProjectCaller:
    """Calls the project of one batch of events, and reads the settings again where its credentials are refused.

    `reload` returns the project under the newest settings, None where that is still the same. `stopped_by` is the
    failure after which no call of this batch can succeed.
    """

    def __init__(
        self,
        project: Project,
        reload: Callable[[], Project | None],
        ambiguous_track: AmbiguousTrack,
        *,
        wait_for_quota: bool,
    ) -> None:
        self.stopped_by: Failure | None = None
        self._project = project
        self._reload = reload
        self._ambiguous_track = ambiguous_track
        self._wait_for_quota = wait_for_quota
        self._reloading = threading.Lock()
        self._reloaded = False

    def closed(self, deadline: Deadline) -> Failure | None:
        """Return the failure that forbids every call until the deadline, or None."""
        if self.stopped_by:
            return self.stopped_by.for_events_not_tried()
        return self._project.rate_limiter.closed(deadline, wait_for_quota=self._wait_for_quota)

    def fitted(self, request: Request) -> Request:
        """Return a request with metadata that fits the project's schemas, as far as they are known."""
        return self._project.schemas.fit(request)

    def call(self, request: Request, call: Call, deadline: Deadline) -> Attempt:
        """Deliver a request, and once more under new credentials. Raises GivenUp."""
        attempt_at = partial(
            Project.attempt,
            request=request,
            call=call,
            deadline=deadline,
            ambiguous_track=self._ambiguous_track,
            wait_for_quota=self._wait_for_quota,
        )
        project = self._project
        attempt = attempt_at(project)
        is_refused = attempt.failure and attempt.failure.code == ReasonCode.CREDENTIALS_REFUSED
        if is_refused and (other := self._other_than(project)):
            attempt = attempt_at(other)
        if attempt.failure and attempt.failure.action is Action.STOP_BATCH:
            self.stopped_by = attempt.failure
        return attempt

    def _other_than(self, refused: Project) -> Project | None:
        """Return the project under settings that are read again, once, where its credentials are others now."""
        with self._reloading:
            if self._project is refused and not self._reloaded:
                self._reloaded = True
                self._project = self._reload() or refused
            return self._project if self._project is not refused else None
