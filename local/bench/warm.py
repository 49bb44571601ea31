"""One event on a warm function: the CPU of its process, beside the minimal handler."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import NamedTuple

from handler.app import lambda_handler
from local.bench import minimal_handler
from local.bench.events import Json, identify, proxied, settings_path, track
from local.bench.numbers import Series, cpu_of_one, interleaved
from local.stack.cold import start_cold
from local.stack.front import LambdaContext
from local.stack.samples import sign

BATCH = 100

Handler = Callable[[Json, LambdaContext], Json]


class Warm(NamedTuple):
    """CPU seconds of one event, and of its floor."""

    ours: Series
    floor: Series


def identify_beside_minimal(rounds: int, times: int) -> Warm:
    """Measure an identify alone in its request."""
    _configure(is_idempotent=False)
    return _beside_minimal([proxied([identify(0)], is_batch=False)], rounds, times)


def track_beside_minimal(rounds: int, times: int) -> Warm:
    """Measure a track alone in its request, without idempotency records."""
    _configure(is_idempotent=False)
    return _beside_minimal([proxied([track(0)], is_batch=False)], rounds, times)


def idempotent_track_beside_minimal(rounds: int, times: int) -> Warm:
    """Measure a track alone in its request, with its idempotency record."""
    _configure(is_idempotent=True)
    first = os.getpid() * 1_000_000  # unlike the other processes' tracks
    numbers = range(first, first + (rounds + 1) * times)
    return _beside_minimal([proxied([track(number)], is_batch=False) for number in numbers], rounds, times)


def batched_identify_beside_minimal(rounds: int, times: int) -> Warm:
    """Measure one of many identifies in a request."""
    _configure(is_idempotent=False)
    return _beside_minimal([proxied([identify(number) for number in range(BATCH)])], rounds, times, events=BATCH)


def _configure(*, is_idempotent: bool) -> None:
    os.environ["SETTINGS_PATH"] = settings_path(0)
    if not is_idempotent:
        del os.environ["DEDUPLICATION_TABLE"]
    start_cold()


def _beside_minimal(requests: Sequence[Json], rounds: int, times: int, events: int = 1) -> Warm:
    """Measure the requests in turn, starting again from the first where they run out."""
    ours = _cpu_of_one_event(lambda_handler, requests, times, events)
    minimal = _cpu_of_one_event(minimal_handler.lambda_handler, list(map(_signed_as_a_whole, requests)), times, events)
    return Warm(*interleaved(rounds, ours, minimal))


def _cpu_of_one_event(handler: Handler, requests: Sequence[Json], times: int, events: int) -> Callable[[], float]:
    in_turn = cycle(requests)
    context = LambdaContext(24 * 3600.0)  # one for all, since making it is no work of the function

    def invoke() -> None:
        answer = handler(next(in_turn), context)
        if f'"delivered": {events}' not in answer["body"]:
            raise RuntimeError(answer)

    cpu_of_a_request = cpu_of_one(invoke, times)
    return lambda: cpu_of_a_request() / events


def _signed_as_a_whole(request: Json) -> Json:
    """Return a request for the minimal handler, which does not know that Segment signs only the first event."""
    return {**request, "headers": {**request["headers"], "x-signature": sign(request["body"].encode())}}
