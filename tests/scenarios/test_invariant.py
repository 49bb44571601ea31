"""The promise itself, under generated faults: nothing that was accepted is lost, no track is applied twice.

A state machine of hypothesis posts events, runs the worker, lets time pass and redrives dead letters. Meanwhile
Voucherify and AWS fail, and functions are killed, at any of their calls. Functions run in processes of their own, AWS
is moto behind a proxy, Voucherify is its stub: nothing is patched.

After each step, and once all faults are over and the queues are drained:

- Every event that was answered 2xx has reached Voucherify, is switched off, or is in a queue. It is in the queues twice
  only where the answer of SQS was lost, or the worker was killed after it had moved the message.
- A track is applied only under a claim that DynamoDB has confirmed. It is applied again only where nobody could know of
  the first time: Voucherify's answer was lost, or DynamoDB could not record it.

Each call of DynamoDB can be answered late, take effect late or not at all, or have its connection reset.

A few examples run by default, always the same. `INVARIANT_EXAMPLES=1000 pytest tests/scenarios/test_invariant.py`
draws as many new ones, which takes up to a second each. Faults that it has found have tests at the end of this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from local.stack.front import proxy_event
from local.stack.http_server import Reply
from local.stack.samples import sign
from local.stack.system import LocalSystem
from local.voucherify_stub.stub import Fault, Request
from tests.scenarios.aws_proxy import AwsCall, AwsProxy, Forward, aws_proxy, refusal, take_some
from tests.scenarios.execution_environment import ExecutionEnvironment, Killed, execution_environment
from tests.worker import QUEUES, Worker, hidden_seconds, stored

pytestmark = pytest.mark.slow

HOUR = 60 * 60.0

# Short, since the function waits for as long in vain; where a machine is slower than that, events only wait.
AWS_SECONDS = 0.25
BUDGET_SECONDS = 2.0
WORKER_SECONDS = 3.0


class Trouble(Enum):
    """A fault of one call of Voucherify or AWS."""

    REFUSED = auto()  # 503, or AWS's error, without effect
    REJECTED = auto()  # 400
    LIMITED = auto()  # 429; of a batch for SQS, every other entry
    LOCKED_OUT = auto()  # 401
    DROPPED = auto()  # the connection is reset, no effect
    LOST = auto()  # it takes effect, and the connection is reset
    SILENT = auto()  # no answer in time, no effect
    SLOW = auto()  # it takes effect, and the answer comes too late
    LATE = auto()  # no answer in time, and it takes effect after the next call or the end of the invocation
    KILLED_BEFORE = auto()
    KILLED_AFTER = auto()


KILLS = (Trouble.KILLED_BEFORE, Trouble.KILLED_AFTER)

VOUCHERIFYS = {
    Trouble.REFUSED: Fault(503),
    Trouble.REJECTED: Fault(400),
    Trouble.LIMITED: Fault(429, headers={"Retry-After": "600"}),
    Trouble.LOCKED_OUT: Fault(401),
    Trouble.DROPPED: Fault(drop="before", reset=True),
    Trouble.LOST: Fault(drop="after", reset=True),
    Trouble.SILENT: Fault(drop="before"),
    Trouble.SLOW: Fault(drop="after"),
    Trouble.LATE: Fault(drop="after"),
    Trouble.KILLED_BEFORE: Fault(drop="before"),
    Trouble.KILLED_AFTER: Fault(drop="after"),
}

OPERATIONS = (
    *("/v1/customers", "/v1/events"),
    *("PutItem", "UpdateItem", "DeleteItem"),
    *("SendMessageBatch", "ChangeMessageVisibilityBatch"),
)


@dataclass(frozen=True)
class Weather:
    """The faults of one invocation: of every call of an operation, and of single calls by their place."""

    outages: dict[str, Trouble] = field(default_factory=dict)
    troubles: tuple[Trouble | None, ...] = ()


FAIR = Weather()

outages = st.dictionaries(
    st.sampled_from(OPERATIONS),
    st.sampled_from([trouble for trouble in Trouble if trouble not in KILLS]),
    min_size=1,
    max_size=3,
)
single_troubles = st.lists(st.sampled_from([None, None, *Trouble]), min_size=1, max_size=8).map(tuple)
weather = st.one_of(
    st.just(FAIR),
    st.builds(Weather, outages),
    st.builds(Weather, troubles=single_troubles),
    st.builds(Weather, outages),
)

Lineage = tuple[str, str]  # one stored event: its message id, and when it was stored first


@dataclass
class Invocation:
    """One run of a function: its faults, and what the test saw of it."""

    process: ExecutionEnvironment
    weather: Weather
    message_ids: list[str] = field(default_factory=list)
    calls: int = 0
    killed: bool = False
    claimed: set[str] = field(default_factory=set)  # and the function knows it
    late: list[Callable[[], object]] = field(default_factory=list)  # calls that are still to take effect
    untold: set[str] = field(default_factory=set)  # DynamoDB refused to record the delivery
    ended: threading.Event = field(default_factory=threading.Event)
    applied: list[Application] = field(default_factory=list)
    stored: list[Lineage] = field(default_factory=list)

    def kill(self) -> None:
        self.killed = True
        self.process.kill()

    def take_late_effects(self) -> None:
        while self.late:
            self.late.pop(0)()

    def next_trouble(self, operation: str) -> Trouble | None:
        """Count the next call, and return its fault."""
        self.calls += 1
        troubles = self.weather.troubles
        single = troubles[self.calls - 1] if self.calls <= len(troubles) else None
        return single or self.weather.outages.get(operation)


@dataclass
class Application:
    """A track that Voucherify has applied. `settled`: DynamoDB has recorded it."""

    message_id: str
    lost: bool
    settled: bool = False


class Machine(RuleBasedStateMachine):
    """The model: the promise made for each event, and what each function could know."""

    def __init__(
        self, system: LocalSystem, proxy: AwsProxy, deliver: ExecutionEnvironment, worker: ExecutionEnvironment
    ) -> None:
        super().__init__()
        self.system, self.proxy, self.aws = system, proxy, system.aws
        self.deliver_process, self.worker_process = deliver, worker
        self.worker = Worker(self.aws, self.invoke_worker)
        clean(system)
        self.recycle()
        proxy.rule, system.voucherify.rule = self.on_aws, self.on_voucherify
        self.now = Invocation(deliver, FAIR)
        self.count = 0
        self.tracks: list[dict[str, Any]] = []
        self.promised: set[str] = set()
        self.switched_off: set[str] = set()
        self.reached: set[str] = set()  # Voucherify has applied it
        self.applications: list[Application] = []
        self.most: Counter[Lineage] = Counter()  # as many messages may be of one event
        self.excused: set[Lineage] = set()
        self.is_identify_off = False
        self.forgets = False
        self.wrong: list[str] = []

    # What happens.

    @rule(
        what=st.lists(
            st.sampled_from(["last track", "track before it", "track", "identify", "nobody", "page"]),
            min_size=1,
            max_size=3,
        ),
        weather=weather,
    )
    def post(self, what: list[str], weather: Weather) -> None:
        """Send new events, and tracks that were sent before, in one request."""
        self.send([self.event(kind) for kind in what], weather)

    @precondition(lambda self: min(hidden_seconds("RETRY_QUEUE_URL"), default=1.0) < 0)
    @rule(weather=weather, forgets=st.sampled_from([False, False, False, True]))
    def worker_runs(self, weather: Weather, forgets: bool) -> None:
        """Run the worker. `forgets`: it is killed after its last line, so the poller deletes nothing."""
        self.now = Invocation(self.worker_process, weather)
        self.forgets = forgets
        try:
            batch = self.worker.run(WORKER_SECONDS)
        except Killed:
            self.excused.update(self.now.stored)
        else:
            assert len(batch.kept) <= len(batch.records)
        self.settle_up()

    @rule(seconds=st.sampled_from([20.0, 700.0, HOUR, 3 * HOUR, 25 * HOUR]))
    def time_passes(self, seconds: float) -> None:
        """Let time pass, which no execution environment outlives."""
        self.worker.time_passes(seconds)
        self.recycle()

    @precondition(lambda self: bool(stored("DEAD_LETTER_QUEUE_URL")))
    @rule()
    def operator_redrives(self) -> None:
        self.worker.redrive()

    @rule(is_off=st.booleans())
    def shop_switches_identify(self, is_off: bool) -> None:
        self.is_identify_off = is_off
        self.aws.put_settings({"identifyDisabled": str(is_off).lower()})

    # What must hold.

    @invariant()
    def nothing_is_wrong(self) -> None:
        assert self.wrong == []

    @invariant()
    def nothing_promised_is_lost(self) -> None:
        queued = {lineage[0] for lineage in self.lineages()}
        assert self.promised - self.reached - self.switched_off - queued == set()

    @invariant()
    def no_message_is_in_the_queues_twice(self) -> None:
        extra = Counter(self.lineages()) - self.most
        assert set(extra) - self.excused == set()

    def teardown(self) -> None:
        if not self.wrong:
            self.heal_and_drain()
        self.recycle()

    def heal_and_drain(self) -> None:
        """End all faults, and check that each event is in Voucherify, switched off, or dead for a fault of its own."""
        self.shop_switches_identify(False)
        self.forgets = False
        self.recycle()
        for _ in range(3):
            self.worker.redrive()
            self.worker.time_passes(12 * HOUR)
            while min(hidden_seconds("RETRY_QUEUE_URL"), default=1.0) < 0:
                self.worker_runs(FAIR, False)
        assert stored("RETRY_QUEUE_URL") == []
        assert {record["failure"]["code"] for record in stored("DEAD_LETTER_QUEUE_URL")} <= {"customer_id_missing"}
        self.nothing_is_wrong()
        self.nothing_promised_is_lost()
        self.no_message_is_in_the_queues_twice()

    # How it is done.

    def event(self, kind: str) -> dict[str, Any]:
        """Return a new event of a kind, or one of the two newest tracks where there are so many."""
        if kind in {"last track", "track before it"}:
            place = -1 if kind == "last track" else -2
            return self.tracks[place] if len(self.tracks) >= -place else self.event("track")
        self.count += 1
        message_id = f"{kind}-{self.count}"
        event: dict[str, Any] = {"type": kind, "messageId": message_id, "userId": "u-1"}
        match kind:
            case "identify":
                event["traits"] = {"description": message_id}
            case "track":
                event["event"] = message_id
                self.tracks.append(event)
            case "page":
                self.switched_off.add(message_id)
            case "nobody":
                event |= {"type": "track", "userId": None}
        return event

    def note_switched_off(self) -> None:
        if self.is_identify_off:
            self.switched_off.update(id_ for id_ in self.now.message_ids if id_.startswith("identify"))

    def send(self, events: list[dict[str, Any]], weather: Weather) -> None:
        message_ids = [event["messageId"] for event in events]
        self.now = Invocation(self.deliver_process, weather, message_ids)
        self.note_switched_off()
        first, *others = [json.dumps(event).encode() for event in events]
        body = b"[" + b",".join([first, *others]) + b"]"
        try:
            answer = self.deliver_process.invoke(proxy_event("POST", "/events", {"X-Signature": sign(first)}, body), 30)
        except Killed:
            pass
        else:
            if answer["statusCode"] in {200, 202, 400}:  # where all are rejected, they are in the dead-letter queue
                self.promised.update(message_ids)
            elif answer["statusCode"] != 503:
                self.wrong.append(f"answered {answer['statusCode']}")
        self.settle_up()

    def invoke_worker(self, event: dict[str, Any], seconds: float) -> dict[str, Any]:
        self.now.message_ids = [json.loads(record["body"])["event"]["messageId"] for record in event["Records"]]
        self.note_switched_off()
        answer = self.worker_process.invoke(event, seconds)
        if self.forgets:
            raise Killed
        return answer

    def settle_up(self) -> None:
        """End an invocation: DynamoDB has recorded what it applied, or there is a reason."""
        self.now.take_late_effects()
        self.now.ended.set()
        for application in self.now.applied:
            excused = application.lost or self.now.killed or application.message_id in self.now.untold
            if not (application.settled or excused):
                self.wrong.append(f"{application.message_id} was applied, and not recorded")

    def recycle(self) -> None:
        self.deliver_process.stop()
        self.worker_process.stop()

    def lineages(self) -> list[Lineage]:
        return [lineage_of(record) for queue in QUEUES for record in stored(queue)]

    # What Voucherify and AWS see.

    def on_voucherify(self, request: Request) -> Fault | None:
        trouble = self.now.next_trouble(request.path)
        fault = VOUCHERIFYS[trouble] if trouble else None
        if fault is None or fault.applies:
            self.on_application(request.json, lost=fault is not None)
        if trouble in KILLS:
            self.now.kill()
        return fault

    def on_application(self, body: Any, lost: bool) -> None:
        message_id = body["event"] if "event" in body else body["description"]
        self.reached.add(message_id)
        if "event" not in body:
            return
        if message_id in self.now.claimed:
            if any(application.settled for application in self.applications if application.message_id == message_id):
                self.wrong.append(f"{message_id} was applied again, though it had been recorded")
        else:
            self.wrong.append(f"{message_id} was applied without a claim")
        application = Application(message_id, lost)
        self.now.applied.append(application)
        self.applications.append(application)

    def on_aws(self, call: AwsCall, forward: Forward) -> Reply:
        now = self.now
        trouble = None if call.operation == "GetParametersByPath" else now.next_trouble(call.operation)
        late, now.late = now.late, []
        reply = self.answer(call, forward, trouble, now)
        for take_effect in late:
            take_effect()
        return reply

    def answer(self, call: AwsCall, forward: Forward, trouble: Trouble | None, now: Invocation) -> Reply:
        if trouble is Trouble.LIMITED and call.operation == "SendMessageBatch":
            return take_some(call, lambda taken: self.effect(taken, forward, now), lambda number: number % 2 == 0)
        reply = refusal(400, "AccessDeniedException")
        if trouble in (None, Trouble.LOST, Trouble.SLOW, Trouble.KILLED_AFTER):
            reply = self.effect(call, forward, now)
        if trouble is Trouble.LATE:
            now.late.append(lambda: self.effect(call, forward, now))
        if trouble in KILLS:
            now.kill()
            return Reply(cut="close")
        if trouble is None:
            self.on_answer(call, reply)
            return reply
        self.on_refusal(call, lost=trouble in (Trouble.LOST, Trouble.SLOW, Trouble.LATE))
        if trouble in (Trouble.SILENT, Trouble.SLOW, Trouble.LATE):
            return Reply(hold=lambda: now.ended.wait(60), cut="close")
        return Reply(cut="reset") if trouble in (Trouble.DROPPED, Trouble.LOST) else reply

    def effect(self, call: AwsCall, forward: Forward, now: Invocation) -> Reply:
        """Let the call take effect, whatever answer the function gets."""
        reply = forward(call)
        match call.operation:
            case "UpdateItem" if reply.status == 200:
                for application in now.applied:
                    application.settled |= key_of(application.message_id) == call.json["Key"]["id"]["S"]
            case "SendMessageBatch" if reply.status == 200:
                for lineage in lineages_in(call):
                    now.stored.append(lineage)
                    if lineage not in self.most:
                        self.most[lineage] = now.message_ids.count(lineage[0])
                    if lineage[0] not in now.message_ids:  # a thread of an earlier invocation, which has answered 503
                        self.excused.add(lineage)
        return reply

    def on_answer(self, call: AwsCall, reply: Reply) -> None:
        """Note a claim: DynamoDB confirms it, or returns the token of an earlier try of the same function."""
        if call.operation == "PutItem":
            found = json.loads(reply.body).get("Item", {}) if reply.status == 400 else call.json["Item"]
            if found.get("token") == call.json["Item"].get("token"):
                self.now.claimed |= self.named_in(call)

    def on_refusal(self, call: AwsCall, lost: bool) -> None:
        match call.operation:
            case "UpdateItem":
                self.now.untold |= self.named_in(call)
            case "SendMessageBatch" if lost:
                self.excused.update(lineages_in(call))

    def named_in(self, call: AwsCall) -> set[str]:
        """Return the event that a call of DynamoDB is about."""
        key = (call.json.get("Item") or call.json["Key"])["id"]["S"]
        return {message_id for message_id in self.now.message_ids if key_of(message_id) == key}


def key_of(message_id: str) -> str:
    """Return the key of an idempotency record, as Powertools makes it."""
    data = json.dumps({"source": "default", "messageId": message_id}, sort_keys=True)
    return f"track#{hashlib.md5(data.encode()).hexdigest()}"


def lineage_of(record: dict[str, Any]) -> Lineage:
    return record["event"]["messageId"], record["firstFailedAt"]


def lineages_in(call: AwsCall) -> list[Lineage]:
    return [lineage_of(json.loads(entry["MessageBody"])) for entry in call.json["Entries"]]


def clean(system: LocalSystem) -> None:
    system.voucherify.reset()
    system.aws.empty_queues()
    system.aws.empty_table()
    system.aws.moto.restore_parameters()


@pytest.fixture
def machine(system: LocalSystem) -> Iterator[Callable[[], Machine]]:
    with ExitStack() as stack:
        proxy = stack.enter_context(aws_proxy(system.aws.url))
        environment = {
            **os.environ,
            "AWS_ENDPOINT_URL": proxy.url,
            "SETTINGS_TTL_SECONDS": "0",
            "RESPONSE_BUDGET_SECONDS": str(BUDGET_SECONDS),
            "SQS_TIMEOUT_SECONDS": str(AWS_SECONDS),
            "DYNAMODB_TIMEOUT_SECONDS": str(AWS_SECONDS),
            "VOUCHERIFY_CONCURRENCY": "1",  # so that the same troubles meet the same calls
        }
        deliver = stack.enter_context(execution_environment("app", environment))
        worker = stack.enter_context(execution_environment("redelivery", environment))
        yield lambda: Machine(system, proxy, deliver, worker)


@pytest.mark.unguarded  # where DynamoDB cannot record a delivery
def test_no_accepted_event_is_lost_and_no_track_applied_twice(machine: Callable[[], Machine]) -> None:
    examples = int(os.environ.get("INVARIANT_EXAMPLES", "0"))
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type] # called without arguments, and no more
        settings=settings(
            max_examples=examples or 6,
            stateful_step_count=15,
            derandomize=not examples,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


# Faults that it has found.


def check(state: Machine) -> None:
    state.heal_and_drain()
    state.recycle()


def test_refused_claim_keeps_the_record_of_a_delivered_track(
    machine: Callable[[], Machine],
) -> None:
    """The release of a claim that was never held removed the record of the first delivery."""
    state = machine()
    state.post(["track"], FAIR)
    state.post(["last track"], Weather(troubles=(Trouble.REFUSED, Trouble.REFUSED)))
    check(state)
    assert len(state.applications) == 1


DYNAMODB = ("PutItem", "UpdateItem", "DeleteItem")

HARMLESS = pytest.mark.parametrize(
    "weather",
    [
        Weather(troubles=(Trouble.SLOW,)),
        Weather(troubles=(Trouble.SILENT,)),
        Weather(troubles=(Trouble.LATE,)),
        Weather(troubles=(Trouble.DROPPED,)),
        Weather(troubles=(Trouble.LOST,)),
        Weather(dict.fromkeys(DYNAMODB, Trouble.SLOW)),
        Weather(dict.fromkeys(DYNAMODB, Trouble.REFUSED)),
    ],
    ids=["slow", "silent", "late", "reset", "reset after it", "all slow", "all refused"],
)


@HARMLESS
def test_resent_track_is_not_applied_again(machine: Callable[[], Machine], weather: Weather) -> None:
    state = machine()
    state.post(["track"], FAIR)
    state.post(["last track"], weather)
    check(state)
    assert len(state.applications) == 1


@HARMLESS
def test_track_from_the_queue_is_not_applied_again(machine: Callable[[], Machine], weather: Weather) -> None:
    state = machine()
    state.post(["track"], Weather({"/v1/events": Trouble.REFUSED}))
    state.post(["last track"], FAIR)
    state.worker_runs(weather, forgets=False)
    check(state)
    assert len(state.applications) == 1
