"""The other promise under generated faults: every attribute ends at the value of its newest event.

A state machine of hypothesis posts events with times in any order, through two execution environments, sends them
again, runs two workers on any messages of the queue, lets time pass and redrives dead letters. Meanwhile Voucherify and
AWS fail, and functions are killed, at any of their calls. The environments run in this process, so that the test has
their clock: a killed one lives on without any effect, and its answer is lost.

After each invocation, no event may have replaced what a newer one has set, and in the end each attribute has the value
of its newest event. The exceptions are those of docs/failures.md, in `is_excused`, and no others.

A few examples run by default, always the same; `INVARIANT_EXAMPLES=1000` draws as many new ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import pytest
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSEvent
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from handler import retry_worker
from handler.delivery import bulk_update
from handler.delivery.shared_state import REFRESH_SECONDS
from handler.delivery.stale_attributes import WAITING_SECONDS
from handler.model.reason_codes import ReasonCode
from handler.runtime import Runtime
from handler.settings.environment import Environment
from local.stack.front import proxy_event
from local.stack.http_server import Reply
from local.stack.samples import sign
from local.voucherify_stub.stub import Fault, Request
from tests.function import Function
from tests.limits import INVOCATION_SECONDS
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, refusal, take_some
from tests.scenarios.execution_environment import Killed
from tests.scenarios.test_invariant import FAIR, HOUR, KILLS, Trouble, Weather, clean
from tests.worker import Worker, hidden_seconds, stored

pytestmark = [pytest.mark.slow, pytest.mark.scenario(row=20)]

DYNAMODB = frozenset({"GetItem", "PutItem", "UpdateItem", "DeleteItem"})

VOUCHERIFYS = {
    Trouble.REFUSED: Fault(503),
    Trouble.REJECTED: Fault(400),
    Trouble.LOCKED_OUT: Fault(401),
    Trouble.DROPPED: Fault(drop="before", reset=True),
    Trouble.LOST: Fault(drop="after", reset=True),
    Trouble.LATE: Fault(drop="after", reset=True),
    Trouble.LIMITED: Fault(503),
    Trouble.KILLED_BEFORE: Fault(drop="before", reset=True),
    Trouble.KILLED_AFTER: Fault(drop="after", reset=True),
}

OUTAGES = (
    *("/v1/customers", "/v1/events", "/v1/orders", "/v1/customers/bulk/async"),
    *("GetItem", "UpdateItem", "SendMessageBatch", "ChangeMessageVisibilityBatch"),
)

outages = st.dictionaries(
    st.sampled_from(OUTAGES), st.sampled_from([one for one in VOUCHERIFYS if one not in KILLS]), min_size=1, max_size=2
)
single_troubles = st.lists(st.sampled_from([None, None, *VOUCHERIFYS]), min_size=1, max_size=10).map(tuple)
down = st.sampled_from(OUTAGES[:3]).map(lambda path: Weather({path: Trouble.REFUSED}))
weather = st.one_of(
    st.just(FAIR), st.just(FAIR), down, st.builds(Weather, outages), st.builds(Weather, troubles=single_troubles)
)

# One call after the other, so that the same troubles meet the same calls.
VARIABLES = {"VOUCHERIFY_CONCURRENCY": "1", "SETTINGS_TTL_SECONDS": "3600"}

REJECTED = ReasonCode.of_status(400)

STATUSES = {"Created": "CREATED", "Paid": "PAID"}


class Attribute(NamedTuple):
    """One attribute of a customer or an order."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True)
class Sent:
    """An event: the second at which it happened, and the value of each attribute that it sets."""

    number: int
    second: int
    attributes: frozenset[Attribute]
    event: dict[str, Any] = field(compare=False)

    @property
    def message_id(self) -> str:
        return str(self.event["messageId"])


class Draft(NamedTuple):
    """What is drawn of an event."""

    kind: str
    customer: str
    second: int
    names: frozenset[str]


drafts = st.builds(
    Draft,
    st.sampled_from(["identify", "identify", "track", "group", "Created", "Paid"]),
    st.sampled_from(["u-1", "u-1", "u-2"]),
    st.integers(0, 20),
    st.frozensets(st.sampled_from(["description", "phone", "metadata.a"]), min_size=1),
)


def sent(number: int, draft: Draft) -> Sent:
    """Return the event of a draft. Its values are its `messageId`, that of an order's amount its number."""
    message_id = f"{draft.kind}-{number}"
    event: dict[str, Any] = {
        "messageId": message_id,
        "userId": draft.customer,
        "timestamp": f"2020-01-01T00:00:{draft.second:02}Z",
    }
    traits: dict[str, Any] = {name: message_id for name in draft.names if "." not in name}
    if "metadata.a" in draft.names:
        traits["metadata"] = {"a": message_id}
    attributes = {Attribute("customer", draft.customer, name) for name in draft.names}
    match draft.kind:
        case "identify":
            event |= {"type": "identify", "traits": traits}
        case "track":
            event |= {"type": "track", "event": "Signed Up", "properties": traits}
        case "group":
            event |= {"type": "group", "groupId": message_id}
            attributes = {Attribute("customer", draft.customer, "metadata.group_id")}
        case _:
            order_id = f"o-{draft.customer}"
            properties = {**traits, "order_id": order_id, "total": number}
            event |= {"type": "track", "event": draft.kind, "properties": properties}
            attributes.add(Attribute("order", order_id, "amount"))
    return Sent(number, draft.second, frozenset(attributes), event)


def values_in(kind: str, id_: str, body: dict[str, Any]) -> Iterator[tuple[Attribute, str]]:
    """Yield the attributes of a customer or an order, each with its value."""
    flat = {**body, **{f"metadata.{name}": value for name, value in body.get("metadata", {}).items()}}
    for name in ("description", "phone", "metadata.a", "metadata.group_id", "amount"):
        if flat.get(name) is not None:
            yield Attribute(kind, id_, name), str(flat[name])


class LocalEnvironment:
    """An execution environment in this process. After it was killed, it answers nobody and starts anew."""

    def __init__(self, function: Literal["deliver", "redeliver"], clock: Callable[[], float]) -> None:
        self.life = 0
        self._function = function
        self._clock = clock
        self._handle: Callable[[dict[str, Any], float], dict[str, Any]] | None = None

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        self._handle = self._handle or self._start()
        return self._handle(event, INVOCATION_SECONDS)

    def stop(self) -> None:
        self._handle = None
        self.life += 1

    def _start(self) -> Callable[[dict[str, Any], float], dict[str, Any]]:
        runtime = Runtime(Environment.read({**os.environ, **VARIABLES}), self._clock)
        if self._function == "deliver":
            webhook_handler = runtime.webhook_handler()
            return lambda event, seconds: webhook_handler.handle(event, seconds).to_proxy()
        worker = runtime.retry_worker()
        return lambda event, seconds: {
            "batchItemFailures": [{"itemIdentifier": one} for one in worker.handle(SQSEvent(event).records, seconds)]
        }


@dataclass
class Invocation:
    """One run of a function, and what the test saw of it.

    `waits_since`: when events began to wait, None where none did. `is_recorded`: DynamoDB has the record of that.
    """

    environment: LocalEnvironment
    weather: Weather
    at: float
    is_worker: bool
    waits_since: float | None
    is_recorded: bool
    calls: int = 0
    killed: bool = False
    table_failed: bool = False
    rejects: bool = False
    keeps: bool = False  # in the retry queue
    unordered: bool = False
    late: list[Callable[[], object]] = field(default_factory=list)
    applied: set[tuple[Attribute, Sent]] = field(default_factory=set)
    message_ids: frozenset[str] = frozenset()
    waiting_after: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.life = (id(self.environment), self.environment.life)

    def next_trouble(self, operation: str) -> Trouble | None:
        """Count the next call, and return its fault."""
        self.calls += 1
        troubles = self.weather.troubles
        single = troubles[self.calls - 1] if self.calls <= len(troubles) else None
        return single or self.weather.outages.get(operation)

    @property
    def is_unordered(self) -> bool:
        """DynamoDB could not be reached, and the metric says so, unless the function died before it could."""
        return self.unordered or (self.killed and self.table_failed)


class NewestWins(RuleBasedStateMachine):
    """The model: which event has set what, in which invocation, and what that function could know."""

    def __init__(self, function: Function, proxy: AwsProxy) -> None:
        super().__init__()
        self.function = function
        clean(function.system)
        function.put(groupDisabled="false", orderEvents=json.dumps(STATUSES))
        self.clock = 1_900_000_000.0
        self.deliver = [LocalEnvironment("deliver", lambda: self.clock) for _ in range(2)]
        self.redeliver = [LocalEnvironment("redeliver", lambda: self.clock) for _ in range(2)]
        self.worker = Worker(function.aws, lambda event, seconds: self.invoke_worker(event))
        self.places: list[int] = []
        self.forgets = False
        proxy.rule, function.voucherify.rule = self.on_aws, self.on_voucherify
        self.now = Invocation(self.deliver[0], FAIR, 0.0, is_worker=False, waits_since=None, is_recorded=False)
        self.invocations: list[Invocation] = []
        self.sent: dict[str, Sent] = {}  # by each of its values
        self.requests: list[list[Sent]] = []
        self.unanswered: list[list[Sent]] = []
        self.redriven: set[str] = set()  # and not tried since; or dead letters that only the retry queue took
        self.waits_since: float | None = None
        self.tried_at = 0.0
        self.has_failed_to_record = False
        self.excused: set[tuple[Attribute, Sent, Sent]] = set()
        self.wrong: list[str] = []

    # What happens.

    @rule(environment=st.integers(0, 1), drafts=st.lists(drafts, min_size=1, max_size=3), weather=weather)
    def post(self, environment: int, drafts: list[Draft], weather: Weather) -> None:
        """Send new events in one request."""
        events = [self.new(draft) for draft in drafts]
        self.requests.append(events)
        self.send(environment, events, weather)

    @rule(environment=st.integers(0, 1), second=st.integers(0, 20), weather=weather)
    def post_of_many_customers(self, environment: int, second: int, weather: Weather) -> None:
        """As many as go in bulk."""
        names = frozenset({"description"})
        self.post(environment, [Draft("identify", f"u-{one}", second, names) for one in range(1, 7)], weather)

    @precondition(lambda self: bool(self.requests))
    @rule(environment=st.integers(0, 1), back=st.integers(1, 3), weather=weather)
    def send_again(self, environment: int, back: int, weather: Weather) -> None:
        """Send one of the last requests again, whatever its answer was."""
        self.send(environment, self.requests[-min(back, len(self.requests))], weather)

    @precondition(lambda self: min(hidden_seconds("RETRY_QUEUE_URL"), default=1.0) < 0)
    @rule(
        environment=st.integers(0, 1),
        places=st.lists(st.integers(0, 9), unique=True, max_size=10),
        weather=weather,
        forgets=st.sampled_from([False, False, False, True]),
    )
    def worker_runs(self, environment: int, places: list[int], weather: Weather, forgets: bool) -> None:
        """Run a worker on the messages at these places; on all of them where there are none.

        `forgets`: it is killed after its last line, so the poller deletes nothing.
        """
        self.places, self.forgets = places, forgets
        self.begin(self.redeliver[environment], weather, is_worker=True)
        with suppress(Killed):
            self.worker.run()
        self.end()

    @rule(seconds=st.sampled_from([1.0, 4.0, 6.0, 30.0, 700.0, HOUR]))
    def time_passes(self, seconds: float) -> None:
        self.clock += seconds
        states = self.states()
        self.worker.time_passes(seconds)
        for item in states:  # their times are those of this clock, which has moved already
            self.function.aws.dynamodb.put_item(TableName=os.environ["DEDUPLICATION_TABLE"], Item=item)

    @rule(environment=st.integers(0, 3))
    def lambda_ends(self, environment: int) -> None:
        """Let an execution environment end."""
        [*self.deliver, *self.redeliver][environment].stop()

    @precondition(lambda self: bool(stored("DEAD_LETTER_QUEUE_URL")))
    @rule()
    def operator_redrives(self) -> None:
        self.redriven |= {record["event"]["messageId"] for record in stored("DEAD_LETTER_QUEUE_URL")}
        self.worker.redrive()

    # What must hold.

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.wrong == []

    def teardown(self) -> None:
        if not self.wrong:
            self.heal_and_drain()

    def heal_and_drain(self) -> None:
        """End all faults, deliver what waits, and check each attribute."""
        while self.unanswered:
            self.send(0, self.unanswered[0], FAIR)
        for _ in range(3):
            self.operator_redrives()
            self.time_passes(12 * HOUR)
            while min(hidden_seconds("RETRY_QUEUE_URL"), default=1.0) < 0:
                self.worker_runs(0, [], FAIR, False)
        assert stored("RETRY_QUEUE_URL") == stored("DEAD_LETTER_QUEUE_URL") == []
        self.nothing_is_wrong()
        values = self.values()
        for attribute in {one for event in self.sent.values() for one in event.attributes}:
            newest = max(
                (event for event in self.sent.values() if attribute in event.attributes), key=lambda one: one.second
            )
            found = values[attribute]
            is_newest = found.second == newest.second or (attribute, found, newest) in self.excused
            assert is_newest, f"{attribute} is that of {found.message_id}, not of {newest.message_id}"

    def is_excused(self, older: Sent, newer: Sent, attribute: Attribute) -> bool:
        """Return whether an event that was applied just now may have replaced what a newer one has set."""
        now = self.now
        if now.is_unordered or (attribute.kind == "customer" and may_not_know(now)):
            return True
        setting = [one for one in self.invocations if (attribute, newer) in one.applied]
        return all(self.is_unrecorded(one, older, attribute) for one in setting)

    def is_unrecorded(self, one: Invocation, older: Sent, attribute: Attribute) -> bool:
        """Return whether nobody may know when an event that was applied then happened."""
        if one.is_unordered:
            return True
        if attribute.kind == "order" or one.is_worker:
            return False
        if one.waits_since is None:  # while no event waits; but one that fails in the same request does
            return older.message_id not in one.waiting_after or one.table_failed
        if not one.is_recorded:
            return True
        if one.at - one.waits_since >= REFRESH_SECONDS:
            return False
        further = [
            other for other in self.invocations if other.life == one.life and other.at >= one.at + REFRESH_SECONDS
        ]
        return all(other.table_failed for other in further)

    # How it is done.

    def new(self, draft: Draft) -> Sent:
        number = len(self.sent) + 1
        event = sent(number, draft)
        self.sent[event.message_id] = event
        if any(one.kind == "order" for one in event.attributes):
            self.sent[str(100 * number)] = event
        return event

    def send(self, environment: int, events: list[Sent], weather: Weather) -> None:
        self.begin(self.deliver[environment], weather, is_worker=False)
        self.now.message_ids = frozenset(one.message_id for one in events)
        first, *others = [json.dumps(one.event).encode() for one in events]
        body = b"[" + b",".join([first, *others]) + b"]"
        is_answered = False
        try:
            answer = self.invoke(proxy_event("POST", "/events", {"X-Signature": sign(first)}, body))
        except Killed:
            pass
        else:
            is_answered = answer["statusCode"] != 503
            self.now.keeps = json.loads(answer["body"]).get("queued", 0) > 0
        if is_answered:
            self.unanswered = [one for one in self.unanswered if one is not events]
        elif not any(one is events for one in self.unanswered):
            self.unanswered.append(events)
        self.end()

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        answer = self.now.environment.invoke(event)
        if self.now.killed:
            self.now.environment.stop()
            raise Killed
        return answer

    def invoke_worker(self, event: dict[str, Any]) -> dict[str, Any]:
        records = event["Records"]
        chosen = [records[place] for place in self.places if place < len(records)] or records
        left = [record for record in records if record not in chosen]
        for record in left:
            self.function.aws.sqs.change_message_visibility(
                QueueUrl=os.environ["RETRY_QUEUE_URL"], ReceiptHandle=record["receiptHandle"], VisibilityTimeout=0
            )
        self.now.message_ids = frozenset(json.loads(record["body"])["event"]["messageId"] for record in chosen)
        answer = self.invoke({"Records": chosen})
        if self.forgets:
            raise Killed
        self.now.keeps = bool(answer["batchItemFailures"])
        self.redriven -= self.now.message_ids
        kept = [{"itemIdentifier": record["messageId"]} for record in left]
        return {"batchItemFailures": [*answer["batchItemFailures"], *kept]}

    def begin(self, environment: LocalEnvironment, weather: Weather, *, is_worker: bool) -> None:
        is_recorded = self.waits_since is not None and self.is_recorded()
        self.has_failed_to_record = self.has_failed_to_record and not is_recorded
        is_expired = self.clock - self.tried_at > WAITING_SECONDS - 5 * 60.0
        if self.waits_since is not None and not is_recorded and not (self.has_failed_to_record or is_expired):
            self.wrong.append("events wait, and DynamoDB has no record of it")
        self.now = Invocation(environment, weather, self.clock, is_worker, self.waits_since, is_recorded)
        self.invocations.append(self.now)

    def end(self) -> None:
        now = self.now
        while now.late:
            now.late.pop(0)()
        self.function.voucherify.finish_actions()
        counted = sum(line.get("Unordered", 0) for line in self.function.logs.metrics)
        self.function.log.metrics.clear()
        now.unordered = counted > 0
        if not now.is_worker:
            self.redriven |= now.message_ids & {
                record["event"]["messageId"]
                for record in stored("RETRY_QUEUE_URL")
                if record["failure"]["code"] == REJECTED
            }
        now.waiting_after = frozenset(self.waiting())
        if now.keeps and not now.rejects:
            self.tried_at = self.clock
        if not now.waiting_after:
            self.waits_since = None
        elif self.waits_since is None:
            self.waits_since = self.clock
        self.compare()

    def compare(self) -> None:
        """Check that no event of this invocation has replaced what a newer one has set."""
        for attribute, holder in self.values().items():
            if (attribute, holder) not in self.now.applied:
                continue
            set_before = {event for one in self.invocations for name, event in one.applied if name == attribute}
            for newer in set_before:
                if newer.second <= holder.second:
                    continue
                if self.is_excused(holder, newer, attribute):
                    self.excused.add((attribute, holder, newer))
                else:
                    self.wrong.append(f"{attribute}: {holder.message_id} has replaced {newer.message_id}")

    def values(self) -> dict[Attribute, Sent]:
        """Return which event has set each attribute last. The status of an order is always that of its amount."""
        voucherify = self.function.voucherify
        found: dict[Attribute, Sent] = {}
        for customer, body in voucherify.customers.items():
            found |= {attribute: self.sent[value] for attribute, value in values_in("customer", customer, body)}
        for order, body in voucherify.orders.items():
            for attribute, value in values_in("order", order, body):
                found[attribute] = self.sent[value]
                assert body["status"] == STATUSES[found[attribute].event["event"]]
        return found

    def waiting(self) -> Iterator[str]:
        """Yield the events in the retry queue that were tried since they came there."""
        ids = (record["event"]["messageId"] for record in stored("RETRY_QUEUE_URL"))
        return (one for one in ids if one not in self.redriven)

    def is_recorded(self) -> bool:
        """Return whether DynamoDB has the record that events wait."""
        until = [float(item["waitingUntil"]["N"]) for item in self.states() if "waitingUntil" in item]
        return any(one >= self.clock for one in until)

    def states(self) -> list[dict[str, Any]]:
        """Return what the execution environments tell each other."""
        items = self.function.aws.dynamodb.scan(TableName=os.environ["DEDUPLICATION_TABLE"])["Items"]
        return [item for item in items if item["id"]["S"].startswith("state#")]

    # What Voucherify and AWS see.

    def on_voucherify(self, request: Request) -> Fault | None:
        now = self.now
        if now.killed:
            return VOUCHERIFYS[Trouble.DROPPED]
        trouble = now.next_trouble(request.path)
        fault = VOUCHERIFYS[trouble] if trouble else None
        if request.body and (fault is None or fault.applies):
            for body in request.json if isinstance(request.json, list) else [request.json]:
                now.applied.update(self.set_by(request.path, body))
        now.killed = trouble in KILLS
        now.rejects = now.rejects or trouble is Trouble.REJECTED
        return fault

    def set_by(self, path: str, body: dict[str, Any]) -> Iterator[tuple[Attribute, Sent]]:
        customer = body if path.startswith("/v1/customers") else body["customer"]
        for attribute, value in values_in("customer", customer["source_id"], customer):
            yield attribute, self.sent[value]
        if path == "/v1/orders":
            for attribute, value in values_in("order", body["source_id"], body):
                yield attribute, self.sent[value]

    def on_aws(self, call: AwsCall, forward: Forward) -> Reply:
        now = self.now
        if call.operation == "GetParametersByPath" and not now.killed:
            return forward(call)
        if now.killed:
            return refusal(400, "AccessDeniedException")
        late, now.late = now.late, []
        reply = self.answer(call, forward, now.next_trouble(call.operation))
        for take_effect in late:
            take_effect()
        return reply

    def answer(self, call: AwsCall, forward: Forward, trouble: Trouble | None) -> Reply:
        now = self.now
        if trouble and call.operation in DYNAMODB:
            now.table_failed = True
            if call.operation == "UpdateItem" and call.json["Key"]["id"]["S"].startswith("state#"):
                self.has_failed_to_record = True
        match trouble:
            case None:
                return forward(call)
            case Trouble.LIMITED if call.operation == "SendMessageBatch":
                return take_some(call, forward, lambda number: number % 2 == 0)
            case Trouble.LOST | Trouble.KILLED_AFTER:
                forward(call)
            case Trouble.LATE:
                now.late.append(lambda: forward(call))
        now.killed = trouble in KILLS
        is_lost = trouble in (Trouble.DROPPED, Trouble.LOST, Trouble.LATE)
        return Reply(cut="reset") if is_lost else refusal(400, "AccessDeniedException")


def may_not_know(one: Invocation) -> bool:
    """Return whether a live event of an invocation may be delivered without a look at what newer ones have set."""
    if one.is_worker:
        return False
    return one.waits_since is None or one.at - one.waits_since < REFRESH_SECONDS or not one.is_recorded


@pytest.fixture
def machine(function: Function, proxy: AwsProxy, monkeypatch: pytest.MonkeyPatch) -> Callable[[], NewestWins]:
    monkeypatch.setattr(bulk_update, "FIRST_POLL_SECONDS", 0.0)
    monkeypatch.setattr(retry_worker, "backoff_seconds", lambda age_seconds: 20)  # without the jitter
    return lambda: NewestWins(function, proxy)


@pytest.mark.unguarded  # where DynamoDB cannot record a delivery
def test_every_attribute_ends_at_its_newest_value(machine: Callable[[], NewestWins]) -> None:
    examples = int(os.environ.get("INVARIANT_EXAMPLES", "0"))
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type] # called without arguments, and no more
        settings=settings(
            max_examples=examples or 8,
            stateful_step_count=20,
            derandomize=not examples,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        ),
    )


# What it draws rarely, and faults that it has found.

DOWN = Weather({"/v1/customers": Trouble.REFUSED})
OLD, NEW = (Draft("identify", "u-1", second, frozenset({"description"})) for second in (1, 2))
OTHER = Draft("identify", "u-2", 1, frozenset({"phone"}))


def learns_after(state: NewestWins, seconds: float) -> None:
    """Let an environment deliver a newer event while it does not know that the older one waits, and learn it later."""
    state.post(1, [OTHER], FAIR)
    state.post(0, [OLD], DOWN)
    state.post(1, [NEW], FAIR)
    state.time_passes(seconds)
    state.post(1, [OTHER], FAIR)
    state.heal_and_drain()


def test_environment_that_learns_late_notes_what_it_has_delivered(machine: Callable[[], NewestWins]) -> None:
    state = machine()
    learns_after(state, REFRESH_SECONDS)
    assert not state.excused


def test_environment_that_learns_much_later_notes_it_too(machine: Callable[[], NewestWins]) -> None:
    state = machine()
    learns_after(state, 30.0)


def fail_and_deliver(state: NewestWins, *of_table: Trouble | None) -> None:
    """Let the older of two events of one request fail, with faults of DynamoDB's calls after the delivery."""
    state.post(0, [OLD, NEW], Weather(troubles=(None, Trouble.REFUSED, None, *of_table)))
    state.heal_and_drain()


def test_event_that_fails_before_a_newer_one_of_its_request(machine: Callable[[], NewestWins]) -> None:
    state = machine()
    fail_and_deliver(state)
    assert not state.excused


def test_time_of_a_delivered_event_that_cannot_be_noted_is_counted(machine: Callable[[], NewestWins]) -> None:
    state = machine()
    fail_and_deliver(state, None, None, Trouble.REFUSED)
    assert state.excused
    assert any(one.unordered for one in state.invocations)


def test_wait_that_cannot_be_recorded_is_counted(machine: Callable[[], NewestWins]) -> None:
    """No other environment learns that the event waits."""
    state = machine()
    state.post(0, [OLD], Weather({"/v1/customers": Trouble.REFUSED, "UpdateItem": Trouble.REFUSED}))
    state.post(1, [NEW], FAIR)
    state.heal_and_drain()
    assert state.excused
    assert any(one.unordered for one in state.invocations)
