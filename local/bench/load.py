"""Many events at once, through the function and through the retry worker."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

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

# Milliseconds of a call with which about half of 4,000 events is stored.
HALF_STORED_LATENCY = 15

# Enough to deliver every event of a request.
NO_BUDGET_SECONDS = 600.0

# The function reserves a second of it for storing, so a first request makes all threads and clients, and ends.
_WARM_UP_SECONDS = 2.0

# After this long an execution environment does not rely on the known quota, and makes one call before all others.
_FORGETTING_SECONDS = 0.3


class Load(NamedTuple):
    """Wall seconds and CPU seconds of each repetition, and the events that the last one delivered and stored."""

    wall: Series
    cpu: Series
    delivered: int
    queued: int


def one_request(events: int, latency: int, repetitions: int, budget_seconds: float = NO_BUDGET_SECONDS) -> Load:
    """Measure one request with identifies of different customers, where a call takes `latency` milliseconds.

    With a latency, the known quota is too old before each repetition, as Segment's next request may find it.
    Raises RuntimeError where an event is neither delivered nor stored.
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
    """Measure the retry worker with a full retry queue, one batch after the other.

    Raises RuntimeError where a message is not delivered.
    """
    os.environ["SETTINGS_PATH"] = settings_path(latency)
    start_cold()
    sqs = SqsStub()  # not served: a worker that delivers every message does not call SQS

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
    """Return the wall seconds and the CPU seconds of each repetition."""
    wall, cpu = [], []
    for _ in range(times):
        before()
        started, cpu_started = time.perf_counter(), time.process_time()
        action()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
    return tuple(wall), tuple(cpu)
