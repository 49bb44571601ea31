"""`make soak`: tens of thousands of events through the real handler and worker, and the books balanced at the end.

What is real: `handler.app.lambda_handler`, `handler.redelivery.lambda_handler` and HTTP to the stub for Voucherify,
all in this process; moto's SSM and DynamoDB in a process of its own. What is not: SQS is local/soak/sqs.py, whose time
is skipped where nothing can be received, so that a day of retries takes minutes. In the long soak the worker has 3
seconds for a batch, not 85, so that an answer that never comes costs less.

With LIMIT, as in `make soak LIMIT=100/1s`, nothing fails and no time is skipped: a call takes 50 ms, the stub
enforces the limit, and one worker, then two, drain what Segment sends at once.
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
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSEvent
from rich.console import Console
from rich.progress import Progress

from handler.app import lambda_handler as take_in
from handler.redelivery import lambda_handler as redeliver
from handler.retry_worker import RetryWorker
from handler.runtime import Runtime
from handler.settings.environment import Environment
from local.soak.audit import SLOW_SECONDS, Accepted, Books
from local.soak.chart import Point, chart
from local.soak.sqs import SqsStub
from local.stack import front, poller
from local.stack.aws import LocalAws, local_aws
from local.stack.cold import start_cold
from local.stack.front import LambdaContext, proxy_event
from local.stack.samples import SHARED_SECRET, sign
from local.stack.system import API_KEY, API_TOKEN
from local.voucherify_stub.stub import Fault, RateLimit, Request, Rule, VoucherifyStub

Json = dict[str, Any]
Worker = Callable[[Json], Json]

# As in template.yaml.
BATCH_SIZE = 96
GATHERING_SECONDS = 1.0

# Of which the worker keeps a third back: too short for an answer that comes after SLOW_SECONDS.
SHORT_TIME_OUT_SECONDS = 5.0

CALL_SECONDS = 0.05


@dataclass(frozen=True)
class Wave:
    """The events that Segment sends, in requests of `sizes`. A share of the requests is sent again, as it is.

    The same seed makes the same events.
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
        metadata = {"metadata": {"soak": message_id}}
        kind = draw.random()
        if kind < self.skipped:
            return {"messageId": message_id, "userId": user_id, "type": "page", "name": "Home"}
        if kind < self.skipped + self.invalid:
            return {"messageId": message_id, "type": "identify", "traits": metadata}  # of nobody
        event = {"messageId": message_id, "userId": user_id}
        if draw.random() < 0.5:
            return {**event, "type": "identify", "traits": {"email": f"{user_id}@example.com", **metadata}}
        return {**event, "type": "track", "event": "Order Completed", "properties": {"total": number, **metadata}}


# What goes wrong with a call, and how often among the calls that fail.
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
    """A share of the calls fails, each in some way; and one customer in a thousand can never be served."""
    draw = random.Random(seed)
    kinds, weights = zip(*faults, strict=True)

    def rule(request: Request) -> Fault | None:
        customer = request.json.get("customer") or request.json
        if customer["source_id"].endswith("-777"):
            return Fault(503)
        return draw.choices(kinds, weights)[0] if draw.random() < share else None

    return rule


@dataclass(frozen=True)
class Soak:
    """What a soak came to. `backlog` is the length of the retry queue over its time."""

    books: Books
    seconds: float
    drained_in: float
    skipped_seconds: float
    backlog: list[Point]


class _Counted(io.StringIO):
    """Counts what the function says it counted, in the place of its log, which nobody is to see."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def write(self, text: str) -> int:
        if not text.isspace():  # the end of a line of metrics comes by itself
            line = json.loads(text)
            self.counts.update({name: round(sum(line.get(name, []))) for name in ("Duplicate", "Unguarded")})
        return len(text)


def soak(
    wave: Wave,
    aws: LocalAws,
    *,
    rule: Rule | None = None,
    limit: RateLimit | None = None,
    workers: int = 1,
    intake_seconds: float = front.FUNCTION_TIME_OUT_SECONDS,
    worker_seconds: float = poller.FUNCTION_TIME_OUT_SECONDS,
    on_progress: Callable[[int, int], object] = lambda taken_in, backlog: None,
) -> Soak:
    """Send a wave, and work until the retry queue is empty. Time is skipped where there is no limit."""
    with (
        VoucherifyStub(api_key=API_KEY, api_token=API_TOKEN, limit=limit) as voucherify,
        SqsStub() as sqs,
        _environment(sqs.environment),
        redirect_stdout(_Counted()) as counted,
    ):
        voucherify.rule = rule
        aws.empty_table()
        aws.put_settings(
            {"apiKey": API_KEY, "apiToken": API_TOKEN, "apiUrl": voucherify.url, "sharedSecret": SHARED_SECRET}
        )
        start_cold()
        accepted = Accepted()
        all_taken_in = threading.Event()

        started = time.time()
        polls = [
            threading.Thread(target=_poll, args=(sqs, worker, all_taken_in, limit is None), daemon=True)
            for worker in _workers(workers, worker_seconds)
        ]
        for poll in polls:
            poll.start()
        for request in wave.requests():
            _send(request, accepted, intake_seconds)
            on_progress(accepted.events.total(), len(sqs.retry))
        all_taken_in.set()
        while any(poll.is_alive() for poll in polls):
            on_progress(accepted.events.total(), len(sqs.retry))
            for poll in polls:
                poll.join(0.1)
        ended = time.time()

    calls = voucherify.calls
    books = Books(
        accepted,
        calls,
        len(voucherify.events),
        frozenset(event["messageId"] for request in wave.requests() for event in request if event["type"] == "page"),
        Counter(json.loads(message.body)["event"]["messageId"] for message in sqs.dead.messages),
        len(sqs.retry),
        sqs.redriven,
        counted.counts["Duplicate"] - accepted.counts["duplicate"],
        counted.counts["Unguarded"],
    )
    drained_in = max((call.at for call in calls if call.applied), default=started) - started
    return Soak(books, ended - started, drained_in, sqs.clock.skipped, sqs.retry.history)


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
    """So many sandboxes; a single one is the function's own."""
    if count == 1:
        return [lambda event: redeliver(event, LambdaContext(seconds))]

    def worker(redelivery: RetryWorker) -> Worker:
        return lambda event: {
            "batchItemFailures": [
                {"itemIdentifier": message_id} for message_id in redelivery.handle(SQSEvent(event).records, seconds, "")
            ]
        }

    return [worker(Runtime(Environment.read(os.environ)).retry_worker()) for _ in range(count)]


def _send(request: list[Json], accepted: Accepted, seconds: float) -> None:
    """As Segment does, signed over the first element; again where the answer says so."""
    first, *others = [json.dumps(event).encode() for event in request]
    body = b"[" + b",".join([first, *others]) + b"]"
    while True:
        answer = take_in(proxy_event("POST", "/events", {"X-Signature": sign(first)}, body), LambdaContext(seconds))
        if answer["statusCode"] in {200, 202, 400}:
            break
    counts = json.loads(answer["body"])
    accepted.events.update(event["messageId"] for event in request)
    accepted.counts.update({name: count for name, count in counts.items() if isinstance(count, int)})


def _poll(sqs: SqsStub, worker: Worker, all_taken_in: threading.Event, skips_time: bool) -> None:
    """Lambda's event source: batches to the worker until the queue is empty."""
    while len(sqs.retry) or not all_taken_in.is_set():
        messages = sqs.receive(BATCH_SIZE)
        gathering_until = time.monotonic() + GATHERING_SECONDS
        while messages and len(messages) < BATCH_SIZE and not skips_time and time.monotonic() < gathering_until:
            time.sleep(0.02)
            messages += sqs.receive(BATCH_SIZE - len(messages))
        if messages:
            kept = {item["itemIdentifier"] for item in worker(sqs.lambda_event(messages))["batchItemFailures"]}
            sqs.retry.delete([message for message in messages if message.message_id not in kept])
        elif skips_time and all_taken_in.is_set():
            sqs.skip_to_next_message()
        else:
            time.sleep(0.02)


def _long_soak(wave: Wave, console: Console) -> list[str]:
    with local_aws() as aws, _progress(wave, console) as on_progress:
        ended = soak(wave, aws, rule=faulty(0.3), worker_seconds=SHORT_TIME_OUT_SECONDS, on_progress=on_progress)
    books = ended.books
    failed = sum(call.fault is not None for call in books.calls)
    _show_books(books, console)
    console.print(
        f"{len(books.calls):,} calls, of which {failed:,} were made to fail ({failed / len(books.calls):.0%}) "
        f"and {books.wasted:,} were wasted otherwise"
    )
    console.print(f"{ended.seconds:.0f} s of wall time, {ended.skipped_seconds / 3600:.1f} h of waiting skipped")
    console.print("\nretry queue over time, which is logarithmic:")
    _show_lines(chart(ended.backlog, logarithmic=True), console)
    return books.errors


def _limit_soak(wave: Wave, limit: RateLimit, console: Console) -> list[str]:
    errors: list[str] = []
    ideal = wave.events / limit.calls * limit.seconds
    with local_aws() as aws:
        for workers in (1, 2):
            with _progress(wave, console) as on_progress:
                ended = soak(
                    wave,
                    aws,
                    rule=lambda request: Fault(delay=CALL_SECONDS),
                    limit=limit,
                    workers=workers,
                    on_progress=on_progress,
                )
            books = ended.books
            refused = sum(call.status == 429 for call in books.calls)
            console.print(f"\n[bold]{workers} worker{'s' if workers > 1 else ''}[/]")
            _show_books(books, console)
            console.print(
                f"{refused:,} of {len(books.calls):,} calls were answered 429: "
                f"{refused / len(books.calls):.2%} (aim: at most 2 %)"
            )
            console.print(
                f"drained in {ended.drained_in:.1f} s, ideal {ideal:.1f} s: "
                f"{ended.drained_in / ideal:.2f} times (aim: at most 1.2)"
            )
            _show_lines(chart(ended.backlog), console)
            errors += books.errors
    return errors


def _show_books(books: Books, console: Console) -> None:
    total = books.accepted.events.total()
    console.print(
        f"{total:,} accepted {'=' if total == books.accounted_for else '≠'} {books.delivered.total():,} delivered "
        f"+ {books.dead.total():,} dead + {books.skips:,} skipped + {books.duplicates:,} duplicate"
    )
    console.print(
        f"lost {books.lost}, doubled {books.doubled}; {books.ambiguous:,} applied again because no answer had come"
    )


def _show_lines(lines: list[str], console: Console) -> None:
    for line in lines:
        console.print(line, markup=False, highlight=False)


@contextmanager
def _progress(wave: Wave, console: Console) -> Iterator[Callable[[int, int], object]]:
    with Progress(console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("taken in", total=wave.events)

        def on_progress(taken_in: int, backlog: int) -> None:
            progress.update(task, completed=taken_in, description=f"{backlog:,} wait")

        yield on_progress


def rate_limit(text: str) -> RateLimit:
    """`100/1s`: calls and the seconds of their window."""
    if not (match := re.fullmatch(r"(\d+)/(\d+)s", text)) or "0" in match.groups():
        raise argparse.ArgumentTypeError("is calls/seconds, such as 100/60s")
    return RateLimit(int(match[1]), int(match[2]))


def main() -> int:
    """Exit code 0 only if the books balance, nothing is lost and nothing doubled."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--limit", type=rate_limit, help="calls/seconds, such as 100/1s")
    parser.add_argument("--events", type=int)
    arguments = parser.parse_args()
    console = Console(file=sys.stdout, soft_wrap=True)
    if arguments.limit:
        events = arguments.events or 3_000
        wave = Wave(events, customers=math.ceil(events / 3), sizes=(200, 200), resent=0, skipped=0, invalid=0)
        errors = _limit_soak(wave, arguments.limit, console)
    else:
        errors = _long_soak(Wave(arguments.events or 50_000, customers=5_000), console)
    for error in errors:
        console.print(f"[red bold]✗ {error}")
    if not errors:
        console.print("[green bold]✓ nothing lost, nothing doubled")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
