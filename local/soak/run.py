"""`make soak`: send tens of thousands of events through the handler and the retry worker, then audit every event.

Real are `handler.app.lambda_handler`, `handler.redelivery.lambda_handler` and HTTP to the stub for Voucherify, all in
this process, and moto's SSM and DynamoDB in a process of its own. SQS is local/soak/sqs.py: where no message can be
received it skips time, so that a day of retries takes minutes. The retry worker has 3 seconds for a batch instead of
85, so that a call without an answer takes less time.

With LIMIT, as in `make soak LIMIT=100/1s`, nothing fails and no time is skipped. A call takes 50 ms, the stub enforces
the limit, and one worker, then two, drain the events that Segment sends at once.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import random
import re
import sys
import threading
import time
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import boto3
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSEvent
from rich.console import Console

from cli.planning.deployment import BATCH_SIZE, BATCHING_WINDOW_SECONDS
from handler.app import lambda_handler as deliver
from handler.redelivery import lambda_handler as redeliver
from handler.retry_worker import RetryWorker
from handler.runtime import Runtime
from handler.settings.environment import Environment
from local.soak.audit import SLOW_SECONDS, Audit
from local.soak.sqs import SqsStub
from local.stack import front, poller
from local.stack.aws import LocalAws, local_aws
from local.stack.cold import start_cold
from local.stack.front import LambdaContext, proxy_event
from local.stack.samples import SHARED_SECRET, sign
from local.stack.system import API_KEY, API_TOKEN
from local.voucherify_stub.stub import Call, Fault, RateLimit, Request, Rule, VoucherifyStub

Json = dict[str, Any]
Worker = Callable[[Json], Json]

# The worker reserves a third of it: too short for an answer that comes after SLOW_SECONDS.
SHORT_TIME_OUT_SECONDS = 5.0

CALL_SECONDS = 0.05

# Segment's events have the time at which they happened. The first of a soak happens then.
STARTED = datetime(2026, 3, 1, tzinfo=UTC)


class SoakFailed(Exception):
    """The soak could not run to its end."""


@dataclass(frozen=True)
class Traffic:
    """The events that Segment sends, in requests of `sizes`, and the shares of them that are special.

    A share of the requests is `resent` unchanged. The same seed makes the same events.
    """

    events: int
    customers: int
    sizes: tuple[int, int] = (1, 200)
    resent: float = 0.05
    skipped: float = 0.02
    invalid: float = 0.01
    seed: int = 1

    def requests(self) -> Iterator[list[Json]]:
        draw = random.Random(self.seed)
        latest: list[list[Json]] = []
        number = 0
        while number < self.events:
            size = min(draw.randint(*self.sizes), self.events - number)
            request = [self._event(draw, number + place) for place in range(size)]
            number += size
            latest = [*latest[-9:], request]
            yield request
            if draw.random() < self.resent:
                yield draw.choice(latest)

    def _event(self, draw: random.Random, number: int) -> Json:
        message_id, user_id = f"soak-{number}", f"customer-{draw.randrange(self.customers)}"
        metadata = {"metadata": {message_id: True}}
        kind = draw.random()
        if kind < self.skipped:
            return {"messageId": message_id, "userId": user_id, "type": "page", "name": "Home"}
        if kind < self.skipped + self.invalid:
            return {"messageId": message_id, "type": "identify", "traits": metadata}  # no userId or anonymousId
        moment = STARTED + timedelta(milliseconds=number)
        event = {"messageId": message_id, "userId": user_id, "timestamp": moment.isoformat()}
        if draw.random() < 0.5:
            return {**event, "type": "identify", "traits": {"email": f"{user_id}@example.com", **metadata}}
        return {**event, "type": "track", "event": "Order Completed", "properties": {"total": number, **metadata}}


# The faults of calls, and their weights among the calls that fail.
FAULTS: Sequence[tuple[Fault, float]] = (
    (Fault(503), 20),
    (Fault(500, body="<html>oops</html>"), 12),
    (Fault(502, headers={"Connection": "close"}), 10),
    (Fault(408), 12),
    (Fault(423), 5),
    (Fault(409), 6),
    (Fault(400), 5),
    (Fault(401), 1),
    (Fault(404, body="no such page"), 1),
    (Fault(drop="before"), 10),
    (Fault(drop="before", reset=True), 6),
    (Fault(drop="after"), 8),
    (Fault(drop="after", reset=True), 4),
    (Fault(delay=SLOW_SECONDS), 0.04),
)


def faulty(share: float, faults: Sequence[tuple[Fault, float]] = FAULTS, seed: int = 1) -> Rule:
    """Return a rule by which a share of the calls fails, and every call for one customer in a thousand."""
    draw = random.Random(seed)
    kinds, weights = zip(*faults, strict=True)

    def rule(request: Request) -> Fault | None:
        if isinstance(request.json, dict):  # otherwise a call in bulk, or one that reads
            customer = request.json.get("customer") or request.json
            if not takes_customer(customer):
                return Fault(503)
        return draw.choices(kinds, weights)[0] if draw.random() < share else None

    return rule


def takes_customer(customer: Json) -> bool:
    return not str(customer["source_id"]).endswith("-777")


@dataclass(frozen=True)
class Soak:
    """The results of a soak.

    `calls` has those that only read, too. `call_seconds` and `database_seconds` are the means of a call of Voucherify
    and of one of DynamoDB. `backlog` has the length of the retry queue over its time.
    """

    audit: Audit
    calls: Sequence[Call]
    seconds: float
    drained_in: float
    skipped_seconds: float
    call_seconds: float
    database_seconds: float
    backlog: list[tuple[float, int]]


class _Metrics(io.StringIO):
    """Standard output of the function: it sums the metrics and discards the rest."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.call_seconds: list[float] = []

    def write(self, text: str) -> int:
        if not text.isspace():  # the newline after a line of metrics is written separately
            line = json.loads(text)
            self.counts.update({name: round(sum(line.get(name, []))) for name in ("Duplicate", "Unguarded")})
            self.call_seconds += [milliseconds / 1000 for milliseconds in line.get("VoucherifyLatency", [])]
        return len(text)


def soak(
    traffic: Traffic,
    aws: LocalAws,
    *,
    rule: Rule | None = None,
    limit: RateLimit | None = None,
    workers: int = 1,
    function_seconds: float = front.FUNCTION_TIME_OUT_SECONDS,
    worker_seconds: float = poller.FUNCTION_TIME_OUT_SECONDS,
    on_progress: Callable[[int, int], object] = lambda accepted, backlog: None,
) -> Soak:
    """Send the traffic, and run the workers until the retry queue is empty. Without a limit, time is skipped.

    Raises SoakFailed where a worker fails.
    """
    sqs, accepted, answered = SqsStub(), Counter[str](), Counter[str]()
    all_sent, stopping = threading.Event(), threading.Event()
    with (
        VoucherifyStub(api_key=API_KEY, api_token=API_TOKEN, limit=limit) as voucherify,
        sqs.serving() as variables,
        _environment(variables),
        redirect_stdout(_Metrics()) as metrics,
        _database_times() as database_seconds,
        ThreadPoolExecutor(workers) as threads,
    ):
        voucherify.rule = rule
        voucherify.row_rule = lambda row: None if rule is None or takes_customer(row) else "refused"
        aws.empty_table()
        aws.put_settings(
            {"apiKey": API_KEY, "apiToken": API_TOKEN, "apiUrl": voucherify.url, "sharedSecret": SHARED_SECRET}
        )
        start_cold()
        if limit:
            time.sleep(-time.time() % limit.seconds)  # with a window, so that two runs can be compared
        started = time.time()
        polls = [
            threads.submit(_poll, sqs, worker, all_sent, stopping, skips_time=limit is None)
            for worker in _workers(workers, worker_seconds)
        ]
        try:
            for request in traffic.requests():
                answered.update(_send(request, function_seconds))
                accepted.update(event["messageId"] for event in request)
                on_progress(accepted.total(), len(sqs.retry))
                _raise_failure(polls, sqs)
            all_sent.set()
            while wait(polls, 0.1, FIRST_EXCEPTION).not_done:
                on_progress(accepted.total(), len(sqs.retry))
                _raise_failure(polls, sqs)
            _raise_failure(polls, sqs)
        finally:
            stopping.set()
        ended = time.time()

    calls = [call for call in voucherify.calls if call.json]  # others read
    audit = Audit(
        accepted=accepted,
        answered=answered,
        skipped=frozenset(
            event["messageId"] for sent in traffic.requests() for event in sent if event["type"] == "page"
        ),
        calls=calls,
        applied_events=len(voucherify.events),
        dead_letters=Counter(json.loads(message.body)["event"]["messageId"] for message in sqs.dead.messages),
        left=len(sqs.retry),
        received_too_often=sqs.received_too_often,
        worker_duplicates=metrics.counts["Duplicate"] - answered["duplicate"],
        without_deduplication=metrics.counts["Unguarded"],
    )
    drained_in = max((call.at for call in calls if call.applied), default=started) - started
    return Soak(
        audit,
        voucherify.calls,
        ended - started,
        drained_in,
        sqs.clock.skipped,
        call_seconds=fmean(metrics.call_seconds or [0.0]),
        database_seconds=fmean(database_seconds or [0.0]),
        backlog=sqs.retry.history,
    )


@contextmanager
def _database_times() -> Iterator[list[float]]:
    """Collect the seconds of each call of DynamoDB by the clients that are made meanwhile."""
    seconds: list[float] = []

    def begin(context: Json, **_: Any) -> None:
        context["begun"] = time.monotonic()

    def end(context: Json, **_: Any) -> None:
        seconds.append(time.monotonic() - context["begun"])

    session = boto3.Session()
    session.events.register("before-call.dynamodb", begin)
    session.events.register("after-call.dynamodb", end)
    before, boto3.DEFAULT_SESSION = boto3.DEFAULT_SESSION, session
    try:
        yield seconds
    finally:
        boto3.DEFAULT_SESSION = before


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _workers(count: int, seconds: float) -> list[Worker]:
    """Return workers with an execution environment each. A single one is the function's own."""
    if count == 1:
        return [lambda event: redeliver(event, LambdaContext(seconds))]

    def worker(redelivery: RetryWorker) -> Worker:
        return lambda event: {
            "batchItemFailures": [
                {"itemIdentifier": message_id} for message_id in redelivery.handle(SQSEvent(event).records, seconds, "")
            ]
        }

    return [worker(Runtime(Environment.read(os.environ)).retry_worker()) for _ in range(count)]


def _send(request: list[Json], seconds: float) -> dict[str, int]:
    """Post a request as Segment does, signed over the first event, until it is accepted. Return the answer's counts."""
    first, *others = [json.dumps(event).encode() for event in request]
    event = proxy_event("POST", "/events", {"X-Signature": sign(first)}, b"[" + b",".join([first, *others]) + b"]")
    while (answer := deliver(event, LambdaContext(seconds)))["statusCode"] not in {200, 202, 400}:
        pass
    return {name: count for name, count in json.loads(answer["body"]).items() if isinstance(count, int)}


def _poll(
    sqs: SqsStub, worker: Worker, all_sent: threading.Event, stopping: threading.Event, *, skips_time: bool
) -> None:
    """Hand batches to a worker, as Lambda's event source does, until all events are sent and the queue is empty."""
    while not stopping.is_set() and (len(sqs.retry) or not all_sent.is_set()):
        messages = sqs.receive(BATCH_SIZE)
        batch_until = time.monotonic() + BATCHING_WINDOW_SECONDS
        while messages and len(messages) < BATCH_SIZE and not skips_time and time.monotonic() < batch_until:
            time.sleep(0.02)
            messages += sqs.receive(BATCH_SIZE - len(messages))
        if messages:
            kept = {item["itemIdentifier"] for item in worker(sqs.lambda_event(messages))["batchItemFailures"]}
            sqs.retry.delete([message for message in messages if message.message_id not in kept])
        elif skips_time and all_sent.is_set():
            sqs.skip_to_next_message()
        else:
            time.sleep(0.02)


def _raise_failure(polls: Sequence[Future[None]], sqs: SqsStub) -> None:
    for poll in polls:
        if poll.done() and (error := poll.exception()):
            raise SoakFailed(f"A retry worker failed with {error!r}; {len(sqs.retry)} messages are left") from error


def _long_soak(traffic: Traffic, console: Console) -> list[str]:
    with local_aws() as aws, _progress(traffic, console) as on_progress:
        ended = soak(traffic, aws, rule=faulty(0.3), worker_seconds=SHORT_TIME_OUT_SECONDS, on_progress=on_progress)
    calls = ended.audit.calls
    failed = sum(call.fault is not None for call in calls)
    _show(ended, console)
    console.print(
        f"{len(calls):,} calls, of which {failed:,} failed on purpose ({failed / len(calls):.0%}) "
        f"and {ended.audit.wasted:,} were refused otherwise"
    )
    console.print(f"{ended.seconds:.0f} s of wall time, {ended.skipped_seconds / 3600:.1f} h of waiting skipped")
    return ended.audit.errors


class Measured(NamedTuple):
    """A soak under a rate limit, as the model of cli/planning is compared with it.

    `began_at` is when the first call was made, in seconds from the beginning of its window.
    """

    limit: int
    window_seconds: float
    events: int
    workers: int
    calls: float
    refused: float
    drained_in: float
    call_seconds: float
    database_seconds: float
    began_at: float

    @property
    def load(self) -> tuple[int, float, int, int]:
        return self[:4]


def limited_traffic(events: int) -> Traffic:
    """Return the events of a soak under a rate limit: none of them is special."""
    return Traffic(events, customers=math.ceil(events / 3), sizes=(200, 200), resent=0, skipped=0, invalid=0)


def _limit_soak(traffic: Traffic, limit: RateLimit, console: Console) -> tuple[list[str], list[Measured]]:
    errors: list[str] = []
    measured: list[Measured] = []
    ideal = traffic.events / limit.calls * limit.seconds
    with local_aws() as aws:
        for workers in (1, 2):
            with _progress(traffic, console) as on_progress:
                ended = soak(
                    traffic,
                    aws,
                    rule=lambda request: Fault(delay=CALL_SECONDS),
                    limit=limit,
                    workers=workers,
                    on_progress=on_progress,
                )
            calls = ended.calls
            refused = sum(call.status == 429 for call in calls)
            measured.append(
                Measured(
                    limit.calls,
                    limit.seconds,
                    traffic.events,
                    workers,
                    len(calls),
                    refused,
                    ended.drained_in,
                    ended.call_seconds,
                    ended.database_seconds,
                    calls[0].at % limit.seconds,
                )
            )
            console.print(f"\n{workers} worker{'s' if workers > 1 else ''}", style="bold")
            _show(ended, console)
            console.print(
                f"{refused:,} of {len(calls):,} calls were answered 429: {refused / len(calls):.2%} (aim: at most 2%)"
            )
            console.print(
                f"drained in {ended.drained_in:.1f} s, ideal {ideal:.1f} s: "
                f"{ended.drained_in / ideal:.2f} times (aim: at most 1.2)"
            )
            errors += ended.audit.errors
    return errors, measured


def _record(measured: Sequence[Measured], path: Path) -> None:
    """Add measurements to a file of JSON."""
    found = json.loads(path.read_text("utf-8")) if path.exists() else []
    path.write_text(json.dumps([*found, *(one._asdict() for one in measured)], indent=2) + "\n", "utf-8")


def _show(ended: Soak, console: Console) -> None:
    audit = ended.audit
    total = audit.accepted.total()
    console.print(
        f"{total:,} accepted {'=' if total == audit.accounted_for else '≠'} {audit.delivered.total():,} delivered "
        f"+ {audit.dead_letters.total():,} dead letters + {audit.answered['skipped']:,} skipped "
        f"+ {audit.duplicates:,} duplicates"
    )
    console.print(
        f"{audit.lost} lost, {audit.doubled} doubled; {audit.ambiguous:,} applied again because no answer had come"
    )
    console.print(f"retry queue: {backlog(ended.backlog)}")


_MARKS = {1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3_600: "1 h", 21_600: "6 h", 86_400: "24 h"}


def backlog(history: Sequence[tuple[float, int]]) -> str:
    """Return the longest length of a queue, and its length at some moments after its first change."""
    if not history:
        return "always empty"
    moments = [moment - history[0][0] for moment, _ in history]
    lengths = [
        f"{history[bisect(moments, mark) - 1][1]:,} after {name}" for mark, name in _MARKS.items() if mark < moments[-1]
    ]
    return ", ".join([f"at most {max(length for _, length in history):,}", *lengths])


@contextmanager
def _progress(traffic: Traffic, console: Console) -> Iterator[Callable[[int, int], object]]:
    with console.status("Starting") as status:
        yield lambda accepted, backlog: status.update(
            f"{accepted:,} of about {traffic.events:,} events accepted, {backlog:,} in the retry queue"
        )


def rate_limit(text: str) -> RateLimit:
    """Read calls and the seconds of their window, such as `100/1s`. Raises ArgumentTypeError."""
    if not (match := re.fullmatch(r"(\d+)/(\d+)s", text)) or "0" in match.groups():
        raise argparse.ArgumentTypeError("is calls/seconds, such as 100/60s")
    return RateLimit(int(match[1]), int(match[2]))


def main() -> int:
    """Return 0 if the audit finds no error, otherwise 1."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--limit", type=rate_limit, help="calls/seconds, such as 100/1s")
    parser.add_argument("--events", type=int)
    parser.add_argument("--record", type=Path, help="add the figures to a file, as to local/soak/figures.json")
    arguments = parser.parse_args()
    console = Console(file=sys.stdout, soft_wrap=True, highlight=False, markup=False)
    try:
        if arguments.limit:
            errors, measured = _limit_soak(limited_traffic(arguments.events or 3_000), arguments.limit, console)
            if arguments.record:
                _record(measured, arguments.record)
        else:
            errors = _long_soak(Traffic(arguments.events or 50_000, customers=5_000), console)
    except SoakFailed as failed:
        errors = [str(failed)]
    for error in errors:
        console.print(f"✗ {error}", style="red bold")
    if not errors:
        console.print("✓ No event was lost and no track doubled.", style="green bold")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
