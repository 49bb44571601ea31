"""Where a replay sends to: the settings in force, Voucherify's project, and the books of what it was sent already."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from cli.errors import CommandFailed
from cli.replay.bulk import BulkClient
from cli.replay.checkpoint import digest_of
from cli.replay.retry_loop import CALL_SECONDS, CappedRateLimiter, Turns
from cli.settings.store import parameters_of, settings_of, sources_in
from cli.target import Target
from handler.delivery.dispatcher import Delivery
from handler.model.errors import FaultySettings
from handler.runtime import KeptProject
from handler.settings.settings import Settings
from handler.settings.sources import DEFAULT_SOURCE
from handler.storage.deletions import Deletions
from handler.storage.idempotency import IdempotencyStore
from handler.threads import Threads
from handler.voucherify.client import VoucherifyClient
from mapping import CALLS, TRACK_EVENTS_FILTER

# As the function has it.
CONCURRENCY = 16

_WHAT_MATTERS = (
    "apiUrl",
    "apiKey",
    TRACK_EVENTS_FILTER,
    *(call.disabled_setting for call in CALLS.values()),
    *(call.mapping_setting for call in CALLS.values()),
)


@dataclass(frozen=True)
class Project:
    """Everything that a replay calls. `version` is that of the mapping and of the project together."""

    settings: Settings
    version: str
    kept: KeptProject
    rate_limiter: CappedRateLimiter
    bulk_client: BulkClient
    bulk_pace: CappedRateLimiter
    store: IdempotencyStore
    threads: Executor
    deletions: Deletions | None

    def delivery(self) -> Delivery:
        """A delivery of one event at a time, by many threads."""
        return Delivery(self.settings.policy, self.kept, lambda: None, self.store, self.deletions, wait_for_quota=True)


def settings_in_force(target: Target, source: str) -> tuple[Settings, str]:
    """The settings of a source as the function reads them, and their version. Raises CommandFailed."""
    by_source = parameters_of(target)
    sources = sources_in(by_source)
    if source not in sources:
        raise CommandFailed(f"there are no settings for the source {source}", f"there are: {', '.join(sources)}")
    try:
        settings = settings_of(source, by_source)
    except FaultySettings as faulty:
        advice = "\n  ".join(map(str, faulty.faults))
        raise CommandFailed(f"the settings of the source {source} have faults", advice) from faulty
    in_force = {**by_source[DEFAULT_SOURCE], **by_source[source]}
    return settings, digest_of([source, {name: in_force[name].value for name in _WHAT_MATTERS if name in in_force}])


def project_of(
    target: Target, settings: Settings, version: str, turns: Turns, clock: Callable[[], float] = time.time
) -> Project:
    """How to call the project of these settings."""
    rate_limiter = CappedRateLimiter(clock, turns)
    client = VoucherifyClient(settings.api_url, settings.api_key, settings.api_token, connections=CONCURRENCY)
    table = target.value("DeduplicationTableName")
    dynamodb = partial(getattr, target, "dynamodb")
    return Project(
        settings=settings,
        version=version,
        kept=KeptProject(client, rate_limiter, Threads(CONCURRENCY)),
        rate_limiter=rate_limiter,
        bulk_client=BulkClient(client),
        bulk_pace=CappedRateLimiter(clock, turns),
        store=IdempotencyStore(dynamodb, table, settings.source, try_seconds=CALL_SECONDS),
        threads=ThreadPoolExecutor(CONCURRENCY),
        # Where no delete is taken nobody is deleted, and nothing need be asked.
        deletions=None if "delete" in settings.policy.mapping.disabled else Deletions(dynamodb, table, settings.source),
    )
