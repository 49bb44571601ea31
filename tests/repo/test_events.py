"""The samples in events/: each is an event of API Gateway and has the outcome that its table names."""

from __future__ import annotations

import base64
import json

import pytest

from handler.api.body import signed_bytes
from local.run import Run, run_sample
from local.stack.front import proxy_event
from local.stack.samples import ACCESS_TOKEN, EVENTS, SAMPLES, Sample, sign
from local.stack.system import LocalSystem


def test_every_file_has_its_sample() -> None:
    assert {sample.file for sample in SAMPLES} == {path.name for path in EVENTS.glob("*.json")}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.title)
def test_sample_has_the_shape_of_an_http_api_event(sample: Sample) -> None:
    payload = sample.payload
    assert payload.keys() == proxy_event("POST", "/events", {}, b"").keys()
    assert payload["requestContext"].keys() >= {"http", "requestId", "stage"}


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.title)
def test_sample_is_signed_with_the_local_secret_unless_it_is_about_signatures(sample: Sample) -> None:
    body, headers = sample.payload["body"].encode(), sample.payload["headers"]
    assert json.loads(body)
    if sample.payload["rawPath"].startswith("/v1/"):  # Segment's libraries do not sign
        assert headers["authorization"] == "Basic " + base64.b64encode(f"{ACCESS_TOKEN}:".encode()).decode()
    else:
        assert (headers["x-signature"] == sign(signed_bytes(body))) is (sample.status != 401)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.title)
def test_sample_has_the_expected_outcome(system: LocalSystem, sample: Sample) -> None:
    assert run_sample(system, sample).surprises == []


def test_every_surprise_is_named(system: LocalSystem) -> None:
    sample = Sample("identify", "identify.json", 202, {"queued": 1}, requests=2)
    run: Run = run_sample(system, sample)
    assert run.surprises == [
        "the status is 200, not 202",
        "the count is {'delivered': 1, 'queued': 0, 'skipped': 0, 'duplicate': 0, 'rejected': 0}, "
        "not {'delivered': 0, 'queued': 1, 'skipped': 0, 'duplicate': 0, 'rejected': 0}",
        "the number of calls is 1, not 2",
        "the retry queue's growth is 0, not 1",
    ]
