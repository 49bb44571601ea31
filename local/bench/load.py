"""Many events at once, through the function and through the worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from handler.app import lambda_handler
from handler.model.failure import OUT_OF_TIME
from handler.model.failure_record import FailureRecord, RecordedFailure
from handler.redelivery import lambda_handler as redeliver
from handler.settings.sources import DEFAULT_SOURCE
from local.bench.events import Json, identify, proxied, settings_path
from local.bench.numbers import Series
from local.bench.template import deployed
from local.soak.sqs import Message, SqsStub
from local.stack.cold import start_cold
from local.stack.front import LambdaContext
from local.stack.poller import FUNCTION_TIME_OUT_SECONDS

BATCH_SIZE = deployed("BatchSize")

# The default in template.yaml.
BUDGET_SECONDS = 3.0

# In milliseconds: of 4,000 events about half is stored.
HALF_STORED_LATENCY = 15

# For a request that is delivered to its last event, however long that takes.
NO_BUDGET_SECONDS = 600.0

# Of which a second is kept back: so a first request makes threads and clients, those that store among them, and ends.
_WARM_UP_SECONDS = 2.0

# After this long a sandbox knows nothing of its window of calls any more, and makes one call before all others.
_FORGETTING_SECONDS = 0.3


@dataclass(frozen=True)
class Load:
    """Wall seconds and CPU seconds of each repetition; how many events the last one delivered and stored."""

    wall: Series
    cpu: Series
    delivered: int
    queued: int


def one_request(events: int, latency: int, repetitions: int, budget_seconds: float = NO_BUDGET_SECONDS) -> Load:
    """So many identifies of as many customers in one request, where a call takes so many milliseconds.

    A latency lets the sandbox forget its window before each repetition, as Segment's next request may find it.
    """
    os.environ |= {"SETTINGS_PATH": settings_path(latency), "RESPONSE_BUDGET_SECONDS": str(budget_seconds)}
    start_cold()
    request = proxied([identify(number) for number in range(events)], is_batch=events > 1)
    answers: list[Json] = []

    def send(seconds: float = NO_BUDGET_SECONDS) -> None:
        answers.append(json.loads(lambda_handler(request, LambdaContext(seconds))["body"]))

    def rest() -> None:
        time.sleep(_FORGETTING_SECONDS if latency else 0)

    send(_WARM_UP_SECONDS)
    wall, cpu = _repeated(repetitions, send, before=rest)
    delivered, queued = answers[-1]["delivered"], answers[-1]["queued"]
    if delivered + queued != events:
        raise RuntimeError(answers[-1])
    return Load(wall, cpu, delivered, queued)


def worker(messages: int, latency: int, repetitions: int) -> Load:
    """So many messages of the retry queue, which wait there already, batch after batch as Lambda hands them over."""
    os.environ["SETTINGS_PATH"] = settings_path(latency)
    start_cold()
    sqs = SqsStub()  # its queue alone: whoever delivers all has nothing to ask SQS for

    def fill(count: int = messages) -> None:
        for number in range(count):
            sqs.retry.add(_message(number))

    def drain() -> None:
        while received := sqs.receive(BATCH_SIZE):
            answer = redeliver(sqs.lambda_event(received), LambdaContext(FUNCTION_TIME_OUT_SECONDS))
            if answer["batchItemFailures"]:
                raise RuntimeError(answer)
            sqs.retry.delete(received)

    fill(BATCH_SIZE)
    drain()
    wall, cpu = _repeated(repetitions, drain, before=fill)
    return Load(wall, cpu, messages, 0)


def _message(number: int) -> Message:
    now = time.time()
    record = FailureRecord(
        identify(number), DEFAULT_SOURCE, 0, datetime.fromtimestamp(now, UTC), RecordedFailure.of(OUT_OF_TIME)
    )
    body, attributes = record.to_message()
    return Message(body, attributes, now, now)


def _repeated(times: int, action: Callable[[], None], before: Callable[[], None]) -> tuple[Series, Series]:
    """Wall and CPU seconds of each time."""
    wall, cpu = [], []
    for _ in range(times):
        before()
        started, cpu_started = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return Series(tuple(wall)), Series(tuple(cpu))
