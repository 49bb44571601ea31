"""The delivery of events to Voucherify: one customer's events in their order, and each track event once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from handler.delivery.bulk_update import BulkUpdate, Row
from handler.delivery.dispatcher import SETTLE_SECONDS, Dispatcher
from handler.delivery.event_task import EventTask, TaskContext
from handler.delivery.project import MIN_CALL_SECONDS, Project, ProjectCaller
from handler.delivery.shared_state import SharedState
from handler.delivery.stale_attributes import StaleAttributes
from handler.model.deadline import Deadline
from handler.model.failure import OUT_OF_TIME, Action, failure_of_bug
from handler.model.job import DeliveryStatus, Job, Outcome, utc_now
from handler.model.policy import DeliveryPolicy, StaleAttributesAction, UnguardedTrack
from handler.settings.settings import Settings
from handler.storage.deletions import Deletions
from handler.storage.idempotency import IdempotencyStore
from handler.voucherify.answers import failure_of_invalid_event
from handler.voucherify.bulk import FEWEST_ROWS
from mapping import InvalidEvent, Request, Skip, map_event


class Delivery:
    """Delivers raw events to one project.

    `reload` is that of ProjectCaller. `store`, `deletions` and `state` are None where there is no table.
    `wait_for_quota` is for the retry worker, which has no sender that waits: it waits for the next window of calls, and
    delivers no track event without deduplication, whatever the policy says. `stale` leaves out what newer events have
    set.
    """

    def __init__(
        self,
        policy: DeliveryPolicy,
        project: Project,
        reload: Callable[[], Project | None],
        store: IdempotencyStore | None,
        deletions: Deletions | None,
        *,
        wait_for_quota: bool,
        state: SharedState | None = None,
        stale: StaleAttributes | None = None,
    ) -> None:
        self._policy = policy
        self._project = project
        self._state = state
        self._stale = stale if policy.stale_attributes is StaleAttributesAction.DROP else None
        self._context = TaskContext(
            caller=ProjectCaller(project, reload, policy.ambiguous_track, wait_for_quota=wait_for_quota),
            ambiguous_track=policy.ambiguous_track,
            needs_deduplication=wait_for_quota or policy.unguarded_track is UnguardedTrack.QUEUE,
            store=store,
            # While delete events are dropped, no customer is deleted, and DynamoDB need not be asked.
            deletions=None if "delete" in policy.mapping.disabled else deletions,
            stale=self._stale,
        )
        self._dispatcher = Dispatcher(project.threads)
        # The retry worker can wait for the end of an asynchronous action. A sender who waits for an answer cannot.
        self._bulk_update = BulkUpdate(project) if wait_for_quota else None

    def deliver(self, jobs: Sequence[Job], deadline: Deadline) -> list[Outcome]:
        """Return the outcome of each job, in their order, at most SETTLE_SECONDS after the deadline.

        No call begins after the deadline, and a call that is in progress then is given up: its connection is closed.
        """
        planned = [self._plan(job, deadline) for job in jobs]
        tasks = [one for one in planned if isinstance(one, EventTask)]
        if tasks:
            self._refresh(deadline)
        by_task = self._deliver_in_bulk(tasks, deadline) if self._bulk_update else {}
        singly = [task for task in tasks if task not in by_task]
        by_task |= zip(singly, self._dispatcher.dispatch(singly, deadline), strict=True)
        outcomes = [by_task[one] if isinstance(one, EventTask) else one for one in planned]
        if self._stale and any(map(_is_queued, outcomes)):
            customers = {task.key for task, outcome in by_task.items() if _is_queued(outcome)}
            seconds_closed = self._project.rate_limiter.seconds_closed
            if not self._stale.queued(customers, seconds_closed, deadline.later(SETTLE_SECONDS)):
                return [outcome._replace(unordered=_is_queued(outcome) or outcome.unordered) for outcome in outcomes]
        return outcomes

    def _refresh(self, deadline: Deadline) -> None:
        """Learn what other execution environments have found out."""
        if self._state:
            self._state.refresh(deadline)
        if self._stale:
            self._stale.refresh(deadline)

    def _deliver_in_bulk(self, tasks: Sequence[EventTask], deadline: Deadline) -> dict[EventTask, Outcome]:
        """Return the outcomes of the upserts that were sent in bulk. All other events are delivered after them.

        These are the upserts before the first other event of each customer, so that the order of its events stays. A
        customer whose row has not been applied yet waits with all events, and one who is to be deleted has no row:
        Voucherify applies a row later, and would undo what came in between.
        """
        upserts: list[EventTask] = []
        others = {task.key for task in tasks if not task.sets_attributes}
        for task in tasks:
            if task.is_plain_upsert and task.key not in others:
                upserts.append(task)
            else:
                others.add(task.key)
        if not self._bulk_update or len({task.key for task in upserts}) < FEWEST_ROWS:
            return {}
        outcomes: dict[EventTask, Outcome] = {}
        rows: dict[str, Row[EventTask]] = {}
        for task, prepared in zip(upserts, self._prepared(upserts, deadline), strict=True):
            if isinstance(prepared, Outcome):
                outcomes[task] = prepared
            elif prepared:
                row, body = rows.setdefault(task.key, Row(task.key)), prepared.body or {}
                if row.takes(body):
                    row.add(body, task)
        # Half of the time in which calls are allowed: the rest is for the other events.
        in_time = deadline.later(-max(0.0, deadline.seconds_left - self._project.rate_limiter.seconds_closed) / 2)
        for updated in self._bulk_update.send(list(rows.values()), in_time):
            failure = updated.failure
            if updated.is_refused or (failure and failure.action is Action.STOP_BATCH):
                continue  # each of them finds out why by itself
            waiting = [task for task in tasks if failure and task.key == updated.row.customer and task not in outcomes]
            outcomes |= {task: task.concluded(failure) for task in waiting or updated.row.owners}
        return outcomes

    def _prepared(self, tasks: Sequence[EventTask], deadline: Deadline) -> list[Request | Outcome | None]:
        """Return the request of each task as it is to be sent, or its outcome; None where there was no time for it.

        The events of one customer are prepared in their order: a later one may have made an earlier one stale.
        """
        chains: dict[str, list[EventTask]] = {}
        for task in tasks:
            chains.setdefault(task.key, []).append(task)
        prepared: dict[EventTask, Request | Outcome] = {}

        def prepare(chain: Sequence[EventTask]) -> None:
            for task in chain:
                try:
                    prepared[task] = task.prepare()
                except Exception as error:
                    prepared[task] = task.failed(error)

        self._project.threads.run([partial(prepare, chain) for chain in chains.values()], deadline)
        return [prepared.get(task) for task in tasks]

    def _plan(self, job: Job, deadline: Deadline) -> EventTask | Outcome:
        """Return the task for an event, or its outcome where it becomes no request."""
        if job.rejection:
            return Outcome(job.event, DeliveryStatus.REJECTED, utc_now(), job.rejection)
        if deadline.seconds_left < MIN_CALL_SECONDS:  # mapping thousands of large events takes seconds too
            return Outcome(job.event, DeliveryStatus.QUEUED, utc_now(), OUT_OF_TIME)
        try:
            mapped = map_event(job.event, self._policy.mapping, is_routed=job.is_routed)
        except InvalidEvent as error:
            return Outcome(job.event, DeliveryStatus.REJECTED, utc_now(), failure_of_invalid_event(error))
        except Exception as error:
            return Outcome(job.event, DeliveryStatus.QUEUED, utc_now(), failure_of_bug(error))
        if isinstance(mapped, Skip):
            return Outcome(job.event, DeliveryStatus.SKIPPED, utc_now(), skip_reason=mapped.reason)
        return EventTask(self._context, job, mapped)


class NewDelivery(Protocol):
    """Makes the delivery of one batch under the settings of its source."""

    def __call__(self, settings: Settings, deadline: Deadline) -> Delivery: ...


def _is_queued(outcome: Outcome) -> bool:
    return outcome.status is DeliveryStatus.QUEUED
