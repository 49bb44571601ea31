"""The destination of a replay: the source's settings, the client of its Voucherify project, and its DynamoDB table."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

from cli.replay.checkpoint import digest_of
from cli.replay.retry_loop import CALL_SECONDS, CappedRateLimiter, Throttle
from cli.settings.store import settings_of_source
from cli.target import Target
from handler.delivery.delivery import Delivery
from handler.delivery.project import Project as VoucherifyProject
from handler.delivery.shared_calls import SharedCalls
from handler.delivery.shared_state import SharedState
from handler.delivery.stale_attributes import StaleAttributes
from handler.model.policy import DeliveryPolicy, StaleAttributesAction
from handler.settings.settings import Settings
from handler.storage.attribute_times import AttributeTimes
from handler.storage.deletions import Deletions
from handler.storage.idempotency import IdempotencyStore
from handler.storage.project_state import ProjectState
from handler.threads import Threads
from handler.voucherify.client import VoucherifyClient
from mapping import MAPPING_SETTINGS, EventMapping, setting_of

# As the function has it.
CONCURRENCY = 16

_VERSIONED_SETTINGS = ("apiUrl", "apiKey", *MAPPING_SETTINGS)


@dataclass(frozen=True)
class Project:
    """Everything that a replay calls. `stale` is None where stale attributes are sent all the same."""

    settings: Settings
    kept: VoucherifyProject
    rate_limiter: CappedRateLimiter
    bulk_limiter: CappedRateLimiter
    store: IdempotencyStore
    threads: Executor
    deletions: Deletions | None
    state: SharedState
    stale: StaleAttributes | None

    def delivery(self, policy: DeliveryPolicy) -> Delivery:
        """Return a delivery that sends one event at a time; many threads may share it."""
        return Delivery(
            policy, self.kept, lambda: None, self.store, self.deletions, wait_for_quota=True, stale=self.stale
        )


def without_orders(policy: DeliveryPolicy) -> DeliveryPolicy:
    """Return the policy under which an event becomes no order."""
    no_orders = EventMapping.compile({}).order_events
    return replace(policy, mapping=replace(policy.mapping, order_events=no_orders))


def versioned_settings(target: Target, source: str) -> tuple[Settings, str]:
    """Return the settings of a source, and the version of its mapping and project. Raises CommandFailed."""
    settings, parameters = settings_of_source(target, source)
    values = {name: one.value for name, one in parameters.items() if setting_of(name) in _VERSIONED_SETTINGS}
    return settings, digest_of([source, values])


def project_of(target: Target, settings: Settings, throttle: Throttle, clock: Callable[[], float]) -> Project:
    """Return the project that these settings name."""
    client = VoucherifyClient(settings.api_url, settings.api_key, settings.api_token, connections=CONCURRENCY)
    table = target.value("DeduplicationTableName")
    dynamodb = partial(getattr, target, "dynamodb")
    threads = Threads(CONCURRENCY)  # none of a delivery's own, which wait for these
    state = SharedState(ProjectState(dynamodb, table, settings.project_id, clock), threads, clock)
    times = AttributeTimes(dynamodb, table, settings.project_id)
    # Who starts a replay may just have upgraded the plan.
    shared = SharedCalls(state, settings.call_share, settings.calls_per_day, clock, believes_plan=False)
    rate_limiter, bulk_limiter = (CappedRateLimiter(clock, throttle, settings.call_share, shared) for _ in range(2))
    drops_stale = settings.policy.stale_attributes is StaleAttributesAction.DROP
    return Project(
        settings=settings,
        kept=VoucherifyProject(client, rate_limiter, Threads(CONCURRENCY)),
        rate_limiter=rate_limiter,
        bulk_limiter=bulk_limiter,
        store=IdempotencyStore(dynamodb, table, settings.source, try_seconds=CALL_SECONDS),
        threads=ThreadPoolExecutor(CONCURRENCY),
        # Where deletions are switched off, no customer is deleted: there is nothing to look up.
        deletions=None
        if "delete" in settings.policy.mapping.disabled
        else Deletions(dynamodb, table, settings.project_id),
        state=state,
        stale=StaleAttributes(times, state, threads, clock) if drops_stale else None,
    )
