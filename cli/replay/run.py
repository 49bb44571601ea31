"""One replay: sends window after window, step after step, until every event is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from operator import itemgetter

from cli.errors import CommandFailed, Exit
from cli.replay.bulk import BulkUpdate
from cli.replay.checkpoint import Checkpoint
from cli.replay.plan import Bulk, Planned, Row, leaves_customer_unchanged, map_entries, plan_steps
from cli.replay.project import Project
from cli.replay.retry_loop import RetryLoop
from cli.replay.source import Window
from handler.delivery.delivery import Delivery
from handler.model.errors import DeletionsUnknown
from handler.model.failure import DELETIONS_UNKNOWN, DELIVERIES_UNKNOWN, Failure
from handler.model.job import DeliveryStatus, Job
from mapping import Operation

# The outcome of an event whose every try failed.
FAILED = "failed"

# If the calls of more customers keep failing, the cause is an outage and not the events.
MOST_FAILING = 20

# The cause of these failures is never the event: the next ones would fail too.
_OUTAGES = frozenset({"voucherify_unreachable", "internal_error", DELETIONS_UNKNOWN.code, DELIVERIES_UNKNOWN.code})

Chain = deque[Planned]  # events of one customer, in their order


class Replay:
    """Sends windows of events to one project and records their outcomes. Not thread-safe."""

    def __init__(self, project: Project, checkpoint: Checkpoint, retry_loop: RetryLoop, *, in_bulk: bool) -> None:
        self._project = project
        self._checkpoint = checkpoint
        self._retry_loop = retry_loop
        self._in_bulk = in_bulk
        self._bulk = BulkUpdate(
            project.kept.client,
            retry_loop,
            project.threads,
            bulk_limiter=project.bulk_limiter,
            poll_limiter=project.rate_limiter,
        )

    def send(self, window: Window) -> None:
        """Settle every event of a window that is not settled yet.

        Raises CommandFailed where Voucherify or AWS keeps failing, and KeyboardInterrupt.
        """
        settled = self._checkpoint.settled
        left = [entry for entry in window.entries if entry.number not in settled]
        try:
            planned, unsent = map_entries(left, self._project.settings.policy.mapping)
            for entry, skip_reason, failure in unsent:
                if failure:
                    self._checkpoint.settle(entry, DeliveryStatus.REJECTED, failure.code, failure)
                else:
                    self._checkpoint.settle(entry, DeliveryStatus.SKIPPED, skip_reason)
            for step in plan_steps(planned, in_bulk=self._in_bulk):
                if isinstance(step, Bulk):
                    self._send_in_bulk(step)
                else:
                    self._send_one_by_one(step.planned)
                # Without this, the run after a crash could send old upserts again, but not the tracks that changed the
                # same customers since: they are duplicates by then.
                self._checkpoint.commit()
            self._checkpoint.advance(window.end)
        finally:
            self._checkpoint.commit()

    def _send_in_bulk(self, step: Bulk) -> None:
        """Send rows. Send the events of a refused row one by one, so that each gets its own reason."""
        refused = self._bulk.send(self._without_deleted(step.rows), self._settle_row)
        self._send_one_by_one([one for row in refused for one in row.upserts])

    def _settle_row(self, row: Row) -> None:
        for one in row.upserts:
            self._checkpoint.settle(one.entry, DeliveryStatus.DELIVERED)

    def _without_deleted(self, rows: Sequence[Row]) -> list[Row]:
        """Skip upserts that are older than their customer's deletion: they must not create the customer again."""
        if not self._project.deletions:
            return list(rows)
        remaining: dict[str, Row] = {}

        def attempt(left: Sequence[Row]) -> list[tuple[Row, Failure]]:
            unknown: list[tuple[Row, Failure]] = []
            for row, deleted in zip(left, self._project.threads.map(self._deleted_upserts, left), strict=True):
                if deleted is None:
                    unknown.append((row, DELETIONS_UNKNOWN))
                    continue
                for one in deleted:
                    self._checkpoint.settle(one.entry, DeliveryStatus.SKIPPED, "customer_deleted")
                remaining[row.customer] = Row(row.customer, [one for one in row.upserts if one not in deleted])
            return unknown

        if self._retry_loop.run(rows, attempt, self._project.rate_limiter):
            raise _keeps_failing(DELETIONS_UNKNOWN)
        return [row for row in remaining.values() if row.upserts]

    def _deleted_upserts(self, row: Row) -> list[Planned] | None:
        """Return the upserts that are older than the customer's deletion; None where that is not known now."""
        deletions = self._project.deletions
        dated = sorted(((one.at, one) for one in row.upserts if one.at), key=itemgetter(0))
        deleted: list[Planned] = []
        try:
            for at, one in dated:
                if not (deletions and deletions.is_deleted_since(row.customer, at)):
                    break  # and so are all later ones not
                deleted.append(one)
        except DeletionsUnknown:
            return None
        return deleted

    def _send_one_by_one(self, planned: Sequence[Planned]) -> None:
        """Send customers in parallel. Give up an event that keeps failing, unless the cause is an outage."""
        chains: dict[str, Chain] = {}
        for one in planned:
            chains.setdefault(one.request.customer, deque()).append(one)
        left = list(chains.values())
        while left:
            stuck = self._retry_loop.run(left, self._attempt, self._project.rate_limiter)
            for _, failure in stuck:
                if len(stuck) > MOST_FAILING or failure.code in _OUTAGES:
                    raise _keeps_failing(failure)
            for chain, failure in stuck:
                self._checkpoint.settle(chain.popleft().entry, FAILED, failure.code, failure)
            left = [chain for chain, _ in stuck if chain]

    def _attempt(self, chains: Sequence[Chain]) -> list[tuple[Chain, Failure]]:
        failures = self._project.threads.map(partial(self._send_chain, self._project.delivery()), chains)
        return [(chain, failure) for chain, failure in zip(chains, failures, strict=True) if failure]

    def _send_chain(self, delivery: Delivery, chain: Chain) -> Failure | None:
        """Deliver the events of one customer. Stop at the first that has to be tried again and return its failure."""
        has_uncommitted_upsert = False
        while chain:
            one = chain[0]
            if one.request.operation is Operation.UPSERT_CUSTOMER:
                has_uncommitted_upsert = True
            elif has_uncommitted_upsert and not leaves_customer_unchanged(one.request):
                self._checkpoint.commit()  # for the same reason as after each step
                has_uncommitted_upsert = False
            (outcome,) = delivery.deliver([Job(one.entry.event, one.at)], self._retry_loop.deadline())
            if outcome.status is DeliveryStatus.QUEUED:
                return outcome.failure
            chain.popleft()
            detail = outcome.failure.code if outcome.failure else outcome.skip_reason
            self._checkpoint.settle(one.entry, outcome.status, detail, outcome.failure)
        return None


def _keeps_failing(failure: Failure) -> CommandFailed:
    problem = f"every try failed: {failure.reason}"
    return CommandFailed(problem, "run the same command later: it continues", Exit.UNREACHABLE)
