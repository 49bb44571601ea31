"""One replay: sends window after window, step after step, until every event is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter

from cli.errors import CommandFailed, Exit
from cli.replay.bulk import BulkUpdate
from cli.replay.checkpoint import Checkpoint
from cli.replay.plan import Bulk, Import, Planned, Row, Singles, Step, map_entries, plan_steps
from cli.replay.project import Project, without_orders
from cli.replay.retry_loop import CALL_SECONDS, RetryLoop
from cli.replay.settlement import FAILED, Result, Settlement
from cli.replay.source import Window
from handler.delivery.delivery import Delivery
from handler.delivery.shared_state import REFRESH_SECONDS
from handler.delivery.stale_attributes import StaleAttributes
from handler.model.deadline import Deadline
from handler.model.errors import DeletionsUnknown
from handler.model.failure import DELETIONS_UNKNOWN, DELIVERIES_UNKNOWN, Failure
from handler.model.job import DeliveryStatus
from handler.model.reason_codes import SkipReason
from handler.voucherify.bulk import CUSTOMERS, ORDERS
from mapping import Operation

IMPORT_FIRES_NOTHING = (
    "orders go through Voucherify's import, which fires no earning rules or distributions for them; --as-live sends "
    "them one by one and fires both"
)

UNORDERED = (
    "DynamoDB could not say what newer events had set; some attributes may be older than before, until a newer event "
    "sets them"
)

# If the calls of more customers keep failing, the cause is an outage and not the events.
MOST_FAILING = 20

# The cause of these failures is never the event: the next ones would fail too.
_OUTAGES = frozenset({"voucherify_unreachable", "internal_error", DELETIONS_UNKNOWN.code, DELIVERIES_UNKNOWN.code})

Chain = deque[Planned]  # events of one customer, in their order


class Replay:
    """Sends windows of events to one project and records their outcomes. Not thread-safe.

    `in_bulk`: customers may be sent in bulk. `as_live`: orders are sent as those of new events are, and not imported.
    """

    def __init__(
        self,
        project: Project,
        checkpoint: Checkpoint,
        retry_loop: RetryLoop,
        note: Callable[[str], None],
        *,
        in_bulk: bool,
        as_live: bool,
    ) -> None:
        self._project = project
        self._checkpoint = checkpoint
        self._retry_loop = retry_loop
        self._note = note
        self._in_bulk = in_bulk
        self._as_live = as_live
        policy = project.settings.policy
        self._new_delivery = partial(project.delivery, policy if as_live else without_orders(policy))
        bulk_update = partial(
            BulkUpdate,
            project.kept.client,
            retry_loop,
            project.threads,
            bulk_limiter=project.bulk_limiter,
            poll_limiter=project.rate_limiter,
        )
        self._bulk_update = bulk_update(CUSTOMERS)
        self._order_import = bulk_update(ORDERS)
        self._settlement = Settlement(checkpoint, ())
        self._noted: set[str] = set()
        self._is_unordered = False  # set by threads

    def begin(self) -> None:
        """Let the functions note, from now on, which attributes each live event sets. Raises CommandFailed.

        Until all of them know, nothing is sent.
        """
        state = self._project.state
        if not self._project.stale:
            return
        state.refresh(Deadline.after(CALL_SECONDS))
        is_noted_already = state.waiting_since is not None
        self._keep_noted()
        if not state.is_known:
            problem = "DynamoDB cannot be reached, and newer events would be overwritten"
            raise CommandFailed(problem, "run the same command later: it continues", Exit.UNREACHABLE)
        if not is_noted_already:
            self._retry_loop.wait(REFRESH_SECONDS)

    def _keep_noted(self) -> None:
        if self._project.stale:
            seconds_closed = self._project.rate_limiter.seconds_closed
            self._project.stale.queued((), seconds_closed, Deadline.after(CALL_SECONDS))

    def send(self, window: Window) -> None:
        """Settle every event of a window that is not settled yet.

        Raises CommandFailed where Voucherify or AWS keeps failing, and KeyboardInterrupt.
        """
        settled = self._checkpoint.settled
        left = [entry for entry in window.entries if entry.number not in settled]
        try:
            mapping = self._project.settings.policy.mapping
            planned, unsent = map_entries(left, mapping, as_live=self._as_live)
            entries = [*(one.entry for one in planned), *(one.entry for one in unsent)]
            self._settlement = Settlement(self._checkpoint, entries)
            for entry, skip_reason, failure in unsent:
                result = Result.of(failure) if failure else Result(DeliveryStatus.SKIPPED, skip_reason)
                self._settlement.record(entry, result)
            for step in plan_steps(self._without_imported(planned), in_bulk=self._in_bulk, as_live=self._as_live):
                self._take(step)
                # Without this, the run after a crash could send old upserts again, but not the tracks that changed the
                # same customers since: they are duplicates by then.
                self._checkpoint.commit()
            self._checkpoint.advance(window.end)
        finally:
            self._checkpoint.commit()
            if self._is_unordered:
                self._note_once(UNORDERED)

    def _without_imported(self, planned: Sequence[Planned]) -> list[Planned]:
        """Leave out the orders that the run before this one has imported."""
        if self._as_live:
            return list(planned)
        imported = self._checkpoint.imported
        remaining: list[Planned] = []
        for one in planned:
            if one.request.operation is Operation.UPSERT_ORDER and one.entry.number in imported:
                self._settlement.record(one.entry, Result.of(imported[one.entry.number]))
            else:
                remaining.append(one)
        return remaining

    def _take(self, step: Step) -> None:
        self._keep_noted()
        match step:
            case Bulk(rows):
                self._send_in_bulk(rows)
            case Import(rows):
                self._import_orders(rows)
            case Singles(planned):
                self._send_one_by_one(planned)

    def _send_in_bulk(self, rows: Sequence[Row]) -> None:
        """Send rows. Send the events of a refused row one by one, so that each gets its own reason."""
        refused = self._bulk_update.send(self._to_send(rows), self._record_delivered)
        self._send_one_by_one([one for row, _ in refused for one in row.upserts])

    def _record_delivered(self, row: Row) -> None:
        for one in row.upserts:
            self._settlement.record(one.entry, Result.of(None))

    def _import_orders(self, rows: Sequence[Row]) -> None:
        """Import orders. A refused one is rejected: sent alone, it would fire the rules that an import does not."""
        self._note_once(IMPORT_FIRES_NOTHING)
        refused = self._order_import.send(self._to_send(rows), self._record_imported)
        for row, failure in refused:
            self._record_imported(row, failure)

    def _record_imported(self, row: Row, failure: Failure | None = None) -> None:
        for one in row.upserts:
            self._settlement.record_import(one.entry, failure)

    def _note_once(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _to_send(self, rows: Sequence[Row]) -> list[Row]:
        """Return what of these rows has neither been deleted nor set anew since. The rest is skipped."""
        remaining = self._without_deleted(rows)
        if self._project.stale:
            fit = partial(self._without_stale, self._project.stale)
            remaining = [row for row in self._project.threads.map(fit, remaining) if row.upserts]
        return remaining

    def _without_stale(self, stale: StaleAttributes, row: Row) -> Row:
        upserts: list[Planned] = []
        for one in row.upserts:
            fitted = stale.fit(one.request, one.job.happened_at, was_stored=True)
            if not fitted.is_known:
                self._is_unordered = True
            if fitted.request:
                upserts.append(one._replace(request=fitted.request))
            else:
                self._settlement.record(one.entry, Result(DeliveryStatus.SKIPPED, SkipReason.SUPERSEDED))
        return Row(row.key, upserts)

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
                    self._settlement.record(one.entry, Result(DeliveryStatus.SKIPPED, SkipReason.CUSTOMER_DELETED))
                remaining[row.key] = Row(row.key, [one for one in row.upserts if one not in deleted])
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
                self._settlement.record(chain.popleft().entry, Result(FAILED, failure.code, failure))
            left = [chain for chain, _ in stuck if chain]

    def _attempt(self, chains: Sequence[Chain]) -> list[tuple[Chain, Failure]]:
        failures = self._project.threads.map(partial(self._send_chain, self._new_delivery()), chains)
        return [(chain, failure) for chain, failure in zip(chains, failures, strict=True) if failure]

    def _send_chain(self, delivery: Delivery, chain: Chain) -> Failure | None:
        """Deliver the events of one customer. Stop at the first that has to be tried again and return its failure."""
        has_uncommitted_upsert = False
        while chain:
            one = chain[0]
            if one.request.operation in (Operation.UPSERT_CUSTOMER, Operation.UPSERT_ORDER):
                has_uncommitted_upsert = True
            elif not one.leaves_customer_unchanged:
                if has_uncommitted_upsert:
                    self._checkpoint.commit()  # for the same reason as after each step
                has_uncommitted_upsert = bool(one.request.also)  # its order
            self._keep_noted()
            (outcome,) = delivery.deliver([one.job], self._retry_loop.deadline())
            if outcome.status is DeliveryStatus.QUEUED:
                return outcome.failure
            if outcome.unordered:
                self._is_unordered = True
            chain.popleft()
            detail = outcome.failure.code if outcome.failure else outcome.skip_reason
            self._settlement.record(one.entry, Result(outcome.status, detail, outcome.failure))
        return None


def _keeps_failing(failure: Failure) -> CommandFailed:
    problem = f"every try failed: {failure.reason}"
    return CommandFailed(problem, "run the same command later: it continues", Exit.UNREACHABLE)
