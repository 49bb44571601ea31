"""What one event costs a warm function: CPU of its process alone, beside the bare calls that it cannot do without."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import boto3
import urllib3
from botocore.config import Config

from handler.app import lambda_handler
from local.bench_events import API_KEY, API_TOKEN, Json, identify, proxied, request_for, settings_path, track
from local.bench_numbers import Series, cpu_of_one, interleaved
from local.cold import start_cold
from local.front import LambdaContext


@dataclass(frozen=True)
class Warm:
    """CPU seconds of one event, and of its floor."""

    ours: Series
    floor: Series


def joined(runs: Sequence[Warm]) -> Warm:
    """The measurements of several runs as those of one."""
    return Warm(
        Series(tuple(value for run in runs for value in run.ours.values)),
        Series(tuple(value for run in runs for value in run.floor.values)),
    )


def identify_beside_post(rounds: int, times: int) -> Warm:
    """An identify, beside the bare POST."""
    request = proxied([identify(0)], is_batch=False)
    _configure(ledger=False)
    return _beside(rounds, times, lambda: _invoke(request), _bare_post(identify(0)))


def track_beside_post(rounds: int, times: int) -> Warm:
    """A track without the ledger, beside the bare POST."""
    request = proxied([track(0)], is_batch=False)
    _configure(ledger=False)
    return _beside(rounds, times, lambda: _invoke(request), _bare_post(track(0)))


def guarded_track_beside_calls(rounds: int, times: int) -> Warm:
    """A track with the ledger, beside the bare POST between the two bare writes that the ledger makes."""
    _configure(ledger=True)
    first = os.getpid() * 1_000_000  # another process's tracks are in the ledger already
    numbers = range(first, first + (rounds + 1) * times)
    requests = iter([proxied([track(number)], is_batch=False) for number in numbers])
    post, write = _bare_post(track(0)), _bare_writes()

    def calls() -> None:
        write()
        post()
        write()

    return _beside(rounds, times, lambda: _invoke(next(requests)), calls)


def _configure(*, ledger: bool) -> None:
    os.environ["SETTINGS_PATH"] = settings_path(0)
    if not ledger:
        del os.environ["DEDUPLICATION_TABLE"]
    start_cold()


def _beside(rounds: int, times: int, ours: Callable[[], object], floor: Callable[[], object]) -> Warm:
    return Warm(*interleaved(rounds, cpu_of_one(ours, times), cpu_of_one(floor, times)))


_CONTEXT = LambdaContext(24 * 3600.0)  # one for all: to make it is no work of the function


def _invoke(request: Json) -> None:
    answer = lambda_handler(request, _CONTEXT)
    if '"delivered": 1' not in answer["body"]:
        raise RuntimeError(answer["body"])


def _bare_post(event: Json) -> Callable[[], object]:
    """The same bytes with the same headers on a kept connection, and the answer read."""
    request = request_for(event)
    path, body = request.path, request.to_json()
    headers = {
        "Accept": "application/json",
        "User-Agent": "bench",
        "X-App-Id": API_KEY,
        "X-App-Token": API_TOKEN,
        "Content-Type": "application/json",
    }
    url = boto3.client("ssm").get_parameter(Name=f"{settings_path(0)}/apiUrl", WithDecryption=True)
    pool = urllib3.connection_from_url(url["Parameter"]["Value"])
    return lambda: pool.urlopen("POST", path, body=body, headers=headers, retries=False).data


def _bare_writes() -> Callable[[], object]:
    """A write of DynamoDB as small as the ledger's."""
    dynamodb = boto3.client("dynamodb", config=Config(retries={"mode": "standard", "total_max_attempts": 1}))
    table = os.environ["DEDUPLICATION_TABLE"]
    item = {"id": {"S": "bench"}, "expiration": {"N": "1815121000"}, "status": {"S": "COMPLETED"}}
    return lambda: dynamodb.put_item(TableName=table, Item=item)
