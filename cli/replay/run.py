"""One replay: window by window, step by step, until every event is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from operator import itemgetter

from cli.errors import CommandFailed, Exit
from cli.replay.bulk import BulkUpdate
from cli.replay.checkpoint import Checkpoint
from cli.replay.plan import Bulk, Planned, Row, mapped, only_names_its_customer, steps
from cli.replay.project import Project
from cli.replay.retry_loop import RetryLoop
from cli.replay.source import Window
from handler.delivery.dispatcher import Delivery, DeliveryStatus, Job
from handler.storage.deletions import DeletionsUnknown
from handler.voucherify.answers import DELETIONS_UNKNOWN, DELIVERIES_UNKNOWN, Failure
from mapping import Operation

# What becomes of an event that Voucherify took none of the tries of, in the summary.
FAILED = "failed"

# So many customers whose calls keep failing are no fault of theirs.
MOST_FAILING = 20

# Failures that are nothing of one event's: whoever comes next would have them too.
_OUTAGES = frozenset({"voucherify_unreachable", "internal_error", DELETIONS_UNKNOWN.code, DELIVERIES_UNKNOWN.code})

Chain = deque[Planned]


class Replay:
    """Sends windows of events to one project, and keeps the books of it. Not to be shared by threads."""

    def __init__(self, project: Project, books: Checkpoint, patience: RetryLoop, *, in_bulk: bool) -> None:
        self._project = project
        self._books = books
        self._patience = patience
        self._in_bulk = in_bulk
        self._threads = project.threads
        self._bulk = BulkUpdate(
            project.bulk_client,
            patience,
            self._threads,
            rate_limiter=project.bulk_pace,
            polling_pace=project.rate_limiter,
        )

    def work_off(self, window: Window) -> None:
        """Settle what is not settled yet. Raises CommandFailed where that cannot go on, and KeyboardInterrupt."""
        left = [entry for entry in window.entries if entry.number not in self._books.settled]
        try:
            planned, unsent = mapped(left, self._project.settings.policy.mapping)
            for entry, skip_reason, failure in unsent:
                if failure:
                    self._books.settle(entry, DeliveryStatus.REJECTED, failure.code, failure)
                else:
                    self._books.settle(entry, DeliveryStatus.SKIPPED, skip_reason)
            for step in steps(planned, in_bulk=self._in_bulk):
                if isinstance(step, Bulk):
                    self._send_in_bulk(step)
                else:
                    self._send_singly(step.planned)
                # Else a crash could have customers sent again without the tracks that have changed them since, which
                # are duplicates by then.
                self._books.write()
            self._books.advance(window.end)
        finally:
            self._books.write()

    def _send_in_bulk(self, step: Bulk) -> None:
        """Rows that are refused are sent event by event, so that each says for itself what is wrong with it."""
        rows = self._without_deleted(step.rows)
        refused = self._bulk.send(rows, self._settle_row)
        self._send_singly([one for row in refused for one in row.upserts])

    def _settle_row(self, row: Row) -> None:
        for one in row.upserts:
            self._books.settle(one.entry, DeliveryStatus.DELIVERED)

    def _without_deleted(self, rows: Sequence[Row]) -> list[Row]:
        """The rows without what is older than their customer's deletion, which brings nobody back."""
        if not self._project.deletions:
            return list(rows)
        alive: dict[str, Row] = {}

        def attempt(left: Sequence[Row]) -> list[tuple[Row, Failure]]:
            answers = self._threads.map(self._deleted_in, left)
            unknown: list[tuple[Row, Failure]] = []
            for row, deleted in zip(left, answers, strict=True):
                if deleted is None:
                    unknown.append((row, DELETIONS_UNKNOWN))
                    continue
                for one in deleted:
                    self._books.settle(one.entry, DeliveryStatus.SKIPPED, "customer_deleted")
                alive[row.customer] = Row(row.customer, [one for one in row.upserts if one not in deleted])
            return unknown

        if self._patience.settle(rows, attempt, self._project.rate_limiter):
            raise _unreachable(DELETIONS_UNKNOWN)
        return [row for row in alive.values() if row.upserts]

    def _deleted_in(self, row: Row) -> list[Planned] | None:
        """What of a row is older than the customer's deletion; None where that cannot be known now."""
        deletions = self._project.deletions
        dated = sorted(((one.at, one) for one in row.upserts if one.at), key=itemgetter(0))
        deleted: list[Planned] = []
        try:
            for at, one in dated:
                if not (deletions and deletions.is_deleted_since(row.customer, at)):
                    break  # nor is what came later
                deleted.append(one)
        except DeletionsUnknown:
            return None
        return deleted

    def _send_singly(self, planned: Sequence[Planned]) -> None:
        """Customers in parallel; what keeps failing is given up, unless that is an outage."""
        chains: dict[str, Chain] = {}
        for one in planned:
            chains.setdefault(one.request.customer, deque()).append(one)
        left = list(chains.values())
        while left:
            stuck = self._patience.settle(left, self._attempt, self._project.rate_limiter)
            for _, failure in stuck:
                if len(stuck) > MOST_FAILING or failure.code in _OUTAGES:
                    raise _unreachable(failure)
            for chain, failure in stuck:
                self._books.settle(chain.popleft().entry, FAILED, failure.code, failure)
            left = [chain for chain, _ in stuck if chain]

    def _attempt(self, chains: Sequence[Chain]) -> list[tuple[Chain, Failure]]:
        failures = self._threads.map(partial(self._work_off_chain, self._project.delivery()), chains)
        return [(chain, failure) for chain, failure in zip(chains, failures, strict=True) if failure]

    def _work_off_chain(self, delivery: Delivery, chain: Chain) -> Failure | None:
        """Deliver one customer's events until one has to wait, and the ones behind it with it."""
        has_unwritten_upsert = False
        while chain:
            one = chain[0]
            if one.request.operation is Operation.UPSERT_CUSTOMER:
                has_unwritten_upsert = True
            elif has_unwritten_upsert and not only_names_its_customer(one.request):
                self._books.write()  # for the same reason as after each step
                has_unwritten_upsert = False
            (result,) = delivery.deliver([Job(one.entry.event, one.at)], self._patience.deadline())
            if result.status is DeliveryStatus.QUEUED:
                return result.failure
            chain.popleft()
            detail = result.failure.code if result.failure else result.skip_reason
            self._books.settle(one.entry, result.status, detail, result.failure)
        return None


def _unreachable(failure: Failure) -> CommandFailed:
    return CommandFailed(
        f"it keeps failing: {failure.reason}", "the same command goes on where it was", Exit.UNREACHABLE
    )
