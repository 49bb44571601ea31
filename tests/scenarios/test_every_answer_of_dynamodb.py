"""Every way in which DynamoDB and Voucherify can answer, or not, while one track is on its way.

The real delivery and the real idempotency store run against a scripted table and an injected clock. In each invocation
of a function each call can meet each trouble, up to two of them an invocation; between any two steps the function can
be killed. What an invocation leaves behind (the record, writes that are still to take effect, the queue) is a state, and
from each state that is new all invocations are tried again: a resend by Segment, a run of the worker, at once or after
an hour. So the search ends when nothing new can happen, however many invocations that takes.

- The track is applied again only after an application that nobody could know of: Voucherify's answer was lost, the
  function was killed before it could note the application, or the note failed and the function said so (`unguarded`).
- A track that was answered 2xx has been applied or is in the queue.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from handler.deadline import Deadline
from handler.delivery import Arrival, Delivery, Fate, Policy
from handler.idempotency import IdempotencyStore, record_key
from handler.outcome import AmbiguousTrack, UnguardedTrack
from handler.threads import Threads
from handler.voucherify import Answer, Call, NoAnswer
from local.aws import LocalAws
from mapping import EventMapping, Request

TRACK = {"type": "track", "messageId": "m-1", "userId": "u-1", "event": "Order Completed"}

INTAKE_SECONDS, WORKER_SECONDS = 2.6, 55.0
TRY_SECONDS = 1.0
HOUR = 3600.0

MOST_TROUBLES = 2  # an invocation; an outage is one
MOST_QUEUED = 2


class Trouble(Enum):
    """What a call of DynamoDB meets."""

    LOST = auto()  # it takes effect, and is not answered
    NOT_APPLIED = auto()  # it is not answered
    LATE = auto()  # it is not answered, and takes effect before the next call
    LATER = auto()  # it is not answered, and takes effect after the next call
    LATEST = auto()  # it is not answered, and takes effect after the next invocation
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
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


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

        def compare(match: re.Match[str]) -> str:
            name, operator, value = match.groups()
            given, wanted = item.get(self._name(name, write)), write["ExpressionAttributeValues"][value]
            if given is None:
                return "False"
            ((kind, left),), ((_, right),) = given.items(), wanted.items()
            left, right = (float(left), float(right)) if kind == "N" else (left, right)
            return str(left < right if operator == "<" else left == right)

        condition = write.get("ConditionExpression", "True")
        condition = re.sub(r"attribute_not_exists\((\w+)\)", lambda match: str(match[1] not in item), condition)
        condition = re.sub(r"(#?\w+) ([<=]) (:\w+)", compare, condition)
        if not eval(condition.replace("OR", "or").replace("AND", "and")):
            raise refused_by_condition(item if write.get("ReturnValuesOnConditionCheckFailure") else {})


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
    is_known: bool = False  # an application of which later deliveries must know

    def fingerprint(self) -> Any:
        """Return what distinguishes this state from others: tokens by whether they are the same, times by what is left."""
        names: dict[str, int] = {}

        def part(value: Any) -> Any:
            if isinstance(value, dict):
                return tuple((name, part(item)) for name, item in sorted(value.items()))
            return str(value)

        def told(write: Any) -> str:
            text = re.sub(r"[0-9a-f]{32}\b", lambda match: f"t{names.setdefault(match[0], len(names))}", repr(part(write)))
            return re.sub(r"\b\d{7,}\b", self._left, text)

        items = told(self.table.items)
        pending = tuple((trouble.name, operation, told(write)) for trouble, operation, write in self.pending)
        return items, pending, self.queued, self.is_promised, self.is_applied, self.is_known

    def _left(self, match: re.Match[str]) -> str:
        number = float(match[0])
        left = (number / 1000 if number > 1e8 else number) - self.now
        return "passed" if left < 0 else f"in {left:.0f}"


class Run:
    """One invocation in a world, along one path of choices. Calls of DynamoDB and Voucherify end here."""

    def __init__(self, world: World, choices: Choices) -> None:
        self.world = world
        self._choices = choices
        self._troubles = 0
        self._outage: Trouble | None = None
        self.application_is_open = False  # applied, and the function may still note it
        self.trace: list[str] = []

    def clock(self) -> float:
        return self.world.now

    def sleep(self, seconds: float) -> None:
        self.world.now += seconds

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        if operation not in ("put_item", "update_item", "delete_item"):
            raise AttributeError(operation)
        return lambda **write: self._dynamodb(operation, write)

    def _choose(self, options: type[Enum]) -> Any:
        if self._troubles == MOST_TROUBLES:
            return None
        chosen = self._choices.choose([None, *options])
        self._troubles += chosen is not None
        return chosen

    def _dynamodb(self, operation: str, write: Any) -> None:
        self._take_effect(Trouble.LATE)
        trouble = self._outage or self._choose(Trouble)
        self.trace.append(f"{operation} {trouble and trouble.name}")
        if trouble in (Trouble.OUTAGE, Trouble.SILENCE):
            self._outage = trouble = Trouble.NOT_APPLIED if trouble is Trouble.OUTAGE else Trouble.LOST
        if trouble is Trouble.KILLED_BEFORE:
            raise Killed
        try:
            if trouble in (None, Trouble.LOST, Trouble.KILLED_AFTER):
                self._apply(operation, write)
        except ClientError:
            if trouble is None:
                raise
        finally:
            self._take_effect(Trouble.LATER)
        if trouble in (Trouble.LATE, Trouble.LATER, Trouble.LATEST):
            self.world.pending.append((trouble, operation, write))
        if trouble is Trouble.KILLED_AFTER:
            raise Killed
        if trouble:
            self.world.now += TRY_SECONDS
            raise ReadTimeoutError(endpoint_url="scripted")

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

    pace: Any = None
    threads = Threads(1)

    def send(self, request: Request, deadline: Deadline, call: Call) -> Answer:
        call.begin("scripted")
        trouble = self._choose(Voucherifys)
        self.trace.append(f"voucherify {trouble and trouble.name}")
        if trouble is Voucherifys.KILLED_BEFORE:
            raise Killed
        if trouble in (None, Voucherifys.LOST, Voucherifys.KILLED_AFTER):
            assert not self.world.is_known, f"applied again: {self.trace}"
            self.world.is_applied = True
            self.application_is_open = trouble is None
        if trouble is Voucherifys.KILLED_AFTER:
            raise Killed
        if trouble is Voucherifys.REFUSED:
            return Answer(503, {}, None)
        if trouble:
            raise NoAnswer("scripted", "scripted", sent=trouble is not Voucherifys.UNREACHABLE)
        return Answer(200, {}, None)

    def deliver(self, policy: Policy, seconds: float, *, patient: bool) -> tuple[Fate, bool]:
        """Return what became of the track, and whether that was said to be unguarded. Raise Killed."""
        client: Any = self
        store = IdempotencyStore(
            lambda: client, "table", "default", try_seconds=TRY_SECONDS, clock=self.clock, sleep=self.sleep
        )
        delivery = Delivery(policy, client, lambda: None, store, None, patient=patient)
        (result,) = delivery.deliver([Arrival(TRACK)], Deadline(self.clock() + seconds, self.clock))
        return result.fate, result.unguarded


class OpenPace:
    """A plan without limits."""

    def acquire(self, deadline: Deadline, *, patient: bool) -> None:
        return None

    def release(self, answer: Any, failure: Any) -> None:
        return None


def invocations(world: World) -> Iterator[tuple[str, float]]:
    """What can happen next: Segment sends the event (again), or the worker receives it; at once or in an hour."""
    for gap in (0.0, HOUR):
        if world.queued < MOST_QUEUED:
            yield "segment", gap
        if world.queued:
            yield "worker", gap


def invoke(world: World, kind: str, policy: Policy, choices: Choices) -> list[str]:
    """Change the world by one invocation."""
    earlier = [entry for entry in world.pending if entry[0] is Trouble.LATEST]
    run = Run(world, choices)
    run.pace = OpenPace()
    is_worker = kind == "worker"
    is_known = False
    try:
        fate, unguarded = run.deliver(policy, WORKER_SECONDS if is_worker else INTAKE_SECONDS, patient=is_worker)
    except Killed:
        pass
    else:
        is_known = run.application_is_open and not unguarded
        if is_worker:
            world.queued -= fate is not Fate.QUEUED
        else:
            world.queued += fate is Fate.QUEUED
            world.is_promised = True
        assert fate is not Fate.DUPLICATE or world.is_applied, f"a duplicate of nothing: {run.trace}"
        assert not (is_worker and unguarded and fate is Fate.DELIVERED and not run.application_is_open)
    world.is_known |= is_known
    world.pending = [entry for entry in world.pending if entry not in earlier]
    for _, operation, write in earlier:
        try:
            getattr(world.table, operation)(**write)
        except ClientError:
            continue
    return [kind, *run.trace]


def drain(world: World, policy: Policy) -> None:
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


@pytest.mark.parametrize("unguarded_track", UnguardedTrack)
def test_whatever_dynamodb_answers_no_track_is_applied_twice_unknowingly_and_none_is_lost(
    unguarded_track: UnguardedTrack,
) -> None:
    policy = Policy(EventMapping.compile({}), AmbiguousTrack.RETRY, unguarded_track)
    start = World()
    seen = {start.fingerprint()}
    frontier = deque([(start, ("start",))])
    runs = 0
    while frontier:
        before, history = frontier.popleft()
        for kind, gap in invocations(before):
            choices = Choices()
            while True:
                world = deepcopy(before)
                world.now += gap
                runs += 1
                try:
                    trace = invoke(world, kind, policy, choices)
                    mark = world.fingerprint()
                    if mark not in seen:
                        seen.add(mark)
                        frontier.append((world, (*history, f"+{gap:.0f} s", *trace)))
                        healed = deepcopy(world)
                        drain(healed, policy)
                        assert healed.is_applied or not healed.is_promised, "lost"
                except AssertionError as error:
                    raise AssertionError(f"{error}\nafter {history}, +{gap:.0f} s, {kind}") from None
                if not choices.next_path():
                    break
    print(f"{runs:,} invocations, {len(seen):,} states")
    assert len(seen) > 10
