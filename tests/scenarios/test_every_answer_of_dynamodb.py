"""Every way in which DynamoDB and Voucherify can answer, or not, while one track is on its way.

The real delivery and the real idempotency store run against a scripted table and an injected clock. In each invocation
of a function each call can meet each trouble, with LONG=1 up to two of them an invocation; between any two steps the
function can be killed, or Segment can send the event again. What an invocation leaves behind (the record, writes that
are still to take effect, the queue) is a state, and from each new state all invocations are tried: a resend by Segment,
a run of the worker, at once or after an hour. So the search ends when nothing new can happen, however many invocations
that takes.

- The track is applied again only after an application that nobody could know of: Voucherify's answer was lost, the
  function was killed before it could note the application, or the note failed and the function said so (`unguarded`).
- It is applied without a claim only by the function that answers Segment, and only where the shop chose `deliver`.
- A track that was answered 2xx has been applied or is in the queue.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import cache
from types import CodeType
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from handler.delivery.delivery import Delivery
from handler.delivery.project import Project
from handler.model.deadline import Deadline
from handler.model.job import DeliveryStatus, Job
from handler.model.policy import AmbiguousTrack, DeliveryPolicy, UnguardedTrack
from handler.model.reason_codes import ReasonCode
from handler.storage.idempotency import IdempotencyStore
from handler.threads import Started
from handler.voucherify.client import Answer, Call, NoAnswer
from mapping import EventMapping, Request

pytestmark = pytest.mark.slow

TRACK = {"type": "track", "messageId": "m-1", "userId": "u-1", "event": "Order Completed"}

DELIVER_SECONDS, WORKER_SECONDS = 2.6, 4.6
TRY_SECONDS = 1.0
HOUR = 3600.0

# An invocation; an outage is one. Where tracks may be delivered without an answer, each more takes minutes.
MOST_TROUBLES = {UnguardedTrack.QUEUE: 2 if "LONG" in os.environ else 1, UnguardedTrack.DELIVER: 1}
MOST_QUEUED = 1  # more of them do nothing that one does not


class Trouble(Enum):
    """What a call of DynamoDB meets."""

    LOST = auto()  # it takes effect before the next call, and is not answered
    NOT_APPLIED = auto()  # it is not answered
    LATE = auto()  # it is not answered, and takes effect after the next call
    LATEST = auto()  # it is not answered, and takes effect after the next invocation
    RESENT = auto()  # Segment sends the event again, and that is delivered, before it takes effect
    OUTAGE = auto()  # this call and all that follow are NOT_APPLIED
    SILENCE = auto()  # this call and all that follow are LOST
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


class Voucherifys(Enum):
    """What a call of Voucherify meets."""

    REFUSED = auto()  # 503
    LOST = auto()  # applied, and not answered
    DROPPED = auto()  # neither
    UNREACHABLE = auto()  # not sent
    RESENT = auto()  # as of DynamoDB, in the last moment of the time that the call has
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


DYNAMODBS_ANSWERS: list[Trouble | None] = [None, *Trouble]
VOUCHERIFYS_ANSWERS: list[Voucherifys | None] = [None, *Voucherifys]


class Killed(BaseException):
    """The function is no more."""


class Choices:
    """One path through the choices of an invocation, and then the next one, until there is none."""

    def __init__(self) -> None:
        self._path: list[tuple[int, int]] = []  # what was chosen, of how many
        self._at = 0

    def choose(self, options: list[Any]) -> Any:
        if self._at == len(self._path):
            self._path.append((0, len(options)))
        chosen, _ = self._path[self._at]
        self._at += 1
        return options[chosen]

    def next_path(self) -> bool:
        """Go on to the next path; false where all have been taken."""
        self._at = 0
        while self._path:
            chosen, count = self._path.pop()
            if chosen + 1 < count:
                self._path.append((chosen + 1, count))
                return True
        return False


class Table:
    """One table of DynamoDB that does what the expressions of a write say."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def put_item(self, **write: Any) -> None:
        self._check(write["Item"]["id"]["S"], write)
        self.items[write["Item"]["id"]["S"]] = dict(write["Item"])

    def update_item(self, **write: Any) -> None:
        key = write["Key"]["id"]["S"]
        self._check(key, write)
        item = self.items.setdefault(key, {"id": {"S": key}})
        sets, _, removes = write["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
        for name, value in (part.split(" = ") for part in sets.split(", ")):
            item[self._name(name, write)] = write["ExpressionAttributeValues"][value]
        for name in filter(None, removes.split(", ")):
            item.pop(self._name(name, write), None)

    def delete_item(self, **write: Any) -> None:
        self._check(write["Key"]["id"]["S"], write)
        self.items.pop(write["Key"]["id"]["S"], None)

    def _name(self, name: str, write: Any) -> str:
        return str(write["ExpressionAttributeNames"].get(name, name))

    def _check(self, key: str, write: Any) -> None:
        item = self.items.get(key, {})
        names, values = write["ExpressionAttributeNames"], write["ExpressionAttributeValues"]
        condition = compiled(write.get("ConditionExpression", "True"))
        if not eval(condition, {"item": item, "names": names, "values": values, "is_less": is_less}):
            raise refused_by_condition(item if write.get("ReturnValuesOnConditionCheckFailure") else {})


def is_less(given: Any, value: Any) -> bool:
    return given is not None and float(given["N"]) < float(value["N"])


@cache
def compiled(condition: str) -> CodeType:
    """Return a DynamoDB condition as Python code."""
    condition = re.sub(r"attribute_not_exists\((\w+)\)", r"'\1' not in item", condition)
    attribute = r"item.get(names.get('\1', '\1'))"
    condition = re.sub(r"(#?\w+) < (:\w+)", rf"is_less({attribute}, values['\2'])", condition)
    condition = re.sub(r"(#?\w+) = (:\w+)", rf"{attribute} == values['\2']", condition)
    return compile(condition.replace(" OR ", " or ").replace(" AND ", " and "), "condition", "eval")


def refused_by_condition(item: Any) -> ClientError:
    answer: Any = {
        "Error": {"Code": "ConditionalCheckFailedException"},
        "ResponseMetadata": {"HTTPStatusCode": 400},
        **({"Item": dict(item)} if item else {}),
    }
    return ClientError(answer, "Write")


@dataclass
class World:
    """Everything that one invocation leaves to the next."""

    now: float = 1_000_000.0
    table: Table = field(default_factory=Table)
    pending: list[tuple[Trouble, str, Any]] = field(default_factory=list)  # writes still to take effect
    queued: int = 0
    is_promised: bool = False
    is_applied: bool = False
    is_known: bool = False  # an application of which other deliveries must know
    wrong: list[str] = field(default_factory=list)

    def copy(self) -> World:
        table = Table()
        table.items = {key: dict(item) for key, item in self.table.items.items()}
        return replace(self, table=table, pending=list(self.pending), wrong=[])

    def fingerprint(self) -> Any:
        """Return what tells this state from others: which tokens are the same, which claims have run out."""
        tokens: list[Any] = []

        def told(item: Any) -> Any:
            token = item.get("token", item.get(":token"))
            tokens.extend([] if token in tokens else [token])
            until = item.get("in_progress_expiration")
            has_run_out = until and float(until["N"]) < self.now * 1000
            return tokens.index(token), str(item.get("status")), has_run_out

        records = [told(item) for item in self.table.items.values()]
        pending = [
            (trouble, operation, told(write.get("Item") or write["ExpressionAttributeValues"]))
            for trouble, operation, write in self.pending
        ]
        is_owed = self.is_promised and not self.is_applied  # once it is applied, the promise is kept
        return str((records, pending, self.queued, is_owed, self.is_applied, self.is_known))


class Run:
    """One invocation in a world, along one path of choices. Calls of DynamoDB and Voucherify end here."""

    def __init__(self, world: World, choices: Choices) -> None:
        self.world = world
        self._choices = choices
        self._troubles = 0
        self._outage: Trouble | None = None
        self.holds_claim = False
        self.has_applied = False  # and was told so
        self.has_noted = False
        self.is_disturbed = False  # in noting it
        self.trace: list[str] = []

    def clock(self) -> float:
        return self.world.now

    def sleep(self, seconds: float) -> None:
        self.world.now += seconds

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in ("put_item", "update_item", "delete_item"):
            raise AttributeError(operation)
        return lambda **write: self._dynamodb(operation, write)

    def _choose(self, options: list[Any]) -> Any:
        if self._troubles == MOST_TROUBLES[self.policy.unguarded_track] or self._outage:
            return None
        chosen = self._choices.choose(options)
        self._troubles += chosen is not None
        return chosen

    def _dynamodb(self, operation: str, write: Any) -> None:
        trouble = self._outage or self._choose(DYNAMODBS_ANSWERS)
        self.trace.append(f"{operation} {trouble and trouble.name}")
        if trouble in (Trouble.OUTAGE, Trouble.SILENCE):
            self._outage = trouble = Trouble.NOT_APPLIED if trouble is Trouble.OUTAGE else Trouble.LOST
        self.is_disturbed |= operation == "update_item" and trouble is not None
        if trouble is Trouble.KILLED_BEFORE:
            raise Killed
        if trouble is Trouble.RESENT:
            self._resend()
            trouble = None
        try:
            if trouble in (None, Trouble.LOST, Trouble.KILLED_AFTER):
                self._apply(operation, write)
                self._note_answer(operation)
        except ClientError as refusal:
            if trouble is None:
                found: Any = refusal.response.get("Item", {})
                self.holds_claim |= operation == "put_item" and found.get("token") == write["Item"]["token"]
                raise
        finally:
            self._take_effect(Trouble.LATE)
        if trouble in (Trouble.LATE, Trouble.LATEST):
            self.world.pending.append((trouble, operation, write))
        if trouble is Trouble.KILLED_AFTER:
            raise Killed
        if trouble:
            self.world.now += TRY_SECONDS
            raise ReadTimeoutError(endpoint_url="scripted")

    def _note_answer(self, operation: str) -> None:
        """What the function is told, or what it could not be told but holds all the same."""
        self.holds_claim |= operation == "put_item"
        if operation == "update_item":
            self.has_noted = True
            self.world.is_known |= self.has_applied

    def _resend(self) -> None:
        invoke(self.world, "segment", self.policy, Fair())

    def _apply(self, operation: str, write: Any) -> None:
        getattr(self.world.table, operation)(**write)

    def _take_effect(self, when: Trouble) -> None:
        due = [entry for entry in self.world.pending if entry[0] is when]
        self.world.pending = [entry for entry in self.world.pending if entry[0] is not when]
        for _, operation, write in due:
            try:
                self._apply(operation, write)
            except ClientError:
                continue

    # The project.

    policy: Any = None
    is_worker = False
    rate_limiter: Any = None
    threads: Any = None

    def send(self, request: Request, deadline: Deadline, call: Call) -> Answer:
        call.begin("scripted")
        trouble = self._choose(VOUCHERIFYS_ANSWERS)
        self.trace.append(f"voucherify {trouble and trouble.name}")
        if trouble is Voucherifys.KILLED_BEFORE:
            raise Killed
        if trouble is Voucherifys.RESENT:
            self.world.now = deadline.at
            self._resend()
            trouble = None
        if trouble in (None, Voucherifys.LOST, Voucherifys.KILLED_AFTER):
            may_be_unguarded = self.policy.unguarded_track is UnguardedTrack.DELIVER and not self.is_worker
            if not self.holds_claim and not may_be_unguarded:
                self.world.wrong.append(f"applied without a claim: {self.trace}")
            if self.holds_claim and self.world.is_known:
                self.world.wrong.append(f"applied again: {self.trace}")
            self.world.is_applied = True
            self.has_applied = trouble is None
            # As long as it holds its claim others know that they must not deliver.
            self.world.is_known = self.holds_claim and trouble is None
        if trouble is Voucherifys.KILLED_AFTER:
            raise Killed
        if trouble is Voucherifys.REFUSED:
            return Answer(503, {}, None)
        if trouble:
            self.world.now = deadline.at
            raise NoAnswer(ReasonCode.VOUCHERIFY_TIMEOUT, "scripted", sent=trouble is not Voucherifys.UNREACHABLE)
        return Answer(200, {}, None)

    def deliver(self, policy: DeliveryPolicy, seconds: float, *, wait_for_quota: bool) -> tuple[DeliveryStatus, bool]:
        """Return what became of the track, and whether that was said to be unguarded. Raise Killed."""
        client: Any = self
        store = IdempotencyStore(
            lambda: client, "table", "default", try_seconds=TRY_SECONDS, clock=self.clock, sleep=self.sleep
        )
        limiter: Any = OpenRateLimiter()
        threads: Any = OneThread()
        project = Project(client, limiter, threads)
        delivery = Delivery(policy, project, lambda: None, store, None, wait_for_quota=wait_for_quota)
        (result,) = delivery.deliver([Job(TRACK)], Deadline(self.clock() + seconds, self.clock))
        return result.status, result.without_deduplication


class OpenRateLimiter:
    """A plan without limits."""

    def acquire(self, deadline: Deadline, *, wait_for_quota: bool) -> None:
        return None

    def closed(self, deadline: Deadline, *, wait_for_quota: bool) -> None:
        return None

    def release(self, answer: Any, failure: Any) -> None:
        return None


class OneThread:
    """Makes calls at once, in the thread that starts them: no time passes but the scripted."""

    def start(self, calls: list[Callable[[], Any]]) -> Started[Any]:
        futures: list[Future[Any]] = []
        for call in calls:
            futures.append(Future())
            try:
                futures[-1].set_result(call())
            except Killed as killed:
                futures[-1].set_exception(killed)
        return Started(futures, lambda: None)


def invocations(world: World) -> Iterator[tuple[str, float]]:
    """What can happen next: Segment sends the event (again), or the worker receives it; at once or in an hour."""
    in_an_hour = world.copy()
    in_an_hour.now += HOUR
    for gap in (0.0, HOUR) if in_an_hour.fingerprint() != world.fingerprint() else (0.0,):
        yield "segment", gap
        if world.queued:
            yield "worker", gap


def invoke(world: World, kind: str, policy: DeliveryPolicy, choices: Choices) -> list[str]:
    """Change the world by one invocation."""
    earlier = [entry for entry in world.pending if entry[0] is Trouble.LATEST]
    run = Run(world, choices)
    is_worker = kind == "worker"
    run.policy, run.is_worker = policy, is_worker
    was_known = world.is_known
    try:
        status, unguarded = run.deliver(
            policy, WORKER_SECONDS if is_worker else DELIVER_SECONDS, wait_for_quota=is_worker
        )
    except Killed:
        world.is_known = was_known or run.has_noted
    else:
        world.is_known = was_known or run.has_noted or (run.has_applied and not unguarded)
        if is_worker:
            world.queued -= status is not DeliveryStatus.QUEUED
        else:
            world.queued = min(world.queued + (status is DeliveryStatus.QUEUED), MOST_QUEUED)
            world.is_promised = True
        if run.has_applied and not (run.has_noted or run.is_disturbed):
            world.wrong.append(f"applied and not noted: {run.trace}")
        if status is DeliveryStatus.DUPLICATE and not world.is_applied:
            world.wrong.append(f"a duplicate of nothing: {run.trace}")
    world.pending = [entry for entry in world.pending if entry not in earlier]
    for _, operation, write in earlier:
        try:
            getattr(world.table, operation)(**write)
        except ClientError:
            continue
    return [kind, *run.trace]


def drain(world: World, policy: DeliveryPolicy) -> None:
    """Without trouble all that is queued is delivered in the end."""
    for _ in range(2 * MOST_QUEUED + 2):
        if not world.queued:
            break
        world.now += HOUR
        invoke(world, "worker", policy, Fair())
    assert not world.queued


class Fair(Choices):
    def choose(self, options: list[Any]) -> Any:
        return options[0]


@pytest.mark.scenario(row=34)
@pytest.mark.parametrize("unguarded_track", UnguardedTrack)
def test_no_track_is_lost_or_applied_twice(
    unguarded_track: UnguardedTrack,
) -> None:
    policy = DeliveryPolicy(EventMapping.compile({"trackMapping": {}}), AmbiguousTrack.RETRY, unguarded_track)
    start = World()
    seen = {start.fingerprint()}
    frontier: deque[tuple[World, tuple[str, ...]]] = deque([(start, ("start",))])
    while frontier:
        before, history = frontier.popleft()
        for kind, gap in invocations(before):
            choices = Choices()
            while True:
                world = before.copy()
                world.now += gap
                trace = invoke(world, kind, policy, choices)
                now = (*history, f"+{gap:.0f} s", *trace)
                assert world.wrong == [], f"{world.wrong} after {now}"
                mark = world.fingerprint()
                if mark not in seen:
                    seen.add(mark)
                    frontier.append((world.copy(), now))
                    drain(world, policy)
                    assert world.wrong == [], f"{world.wrong} after {now}, and the worker without trouble"
                    assert world.is_applied or not world.is_promised, f"lost after {now}"
                if not choices.next_path():
                    break
    assert len(seen) > 10, "few states: is anything tried?"
