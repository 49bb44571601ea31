"""Requests and messages drawn at random: no exception, no 503, no bug of ours, and nothing invalid leaves.

A few examples run by default, always the same. `make fuzz` draws new ones for about a minute.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from handler.api.body import signed_bytes
from handler.redelivery import lambda_handler as redeliver
from local.stack.front import LambdaContext, proxy_event
from local.stack.poller import sqs_event
from local.stack.samples import sign
from tests.function import ACCESS_TOKEN, Function

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
RULES = settings(
    max_examples=EXAMPLES,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

STATUSES = {200, 202, 400, 401, 404, 405, 413, 500, 501}

ODD_TEXTS = [
    "",
    " ",
    "\0",
    "\ud83e",
    "é" * 301,
    "x" * 5000,
    "__proto__",
    "1e400",
    "2026-11-28T00:00:00Z",
    "\u202e",
    "a.b",
    "*",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2**53 + 1, 10**400, 1.5, -0.0, 1e308]),
    st.sampled_from(ODD_TEXTS),
    st.text(max_size=20),
)
KEYS = st.one_of(
    st.sampled_from(["type", "Type", "userId", "user_id", "anonymousId", "event", "name", "traits", "properties"]),
    st.sampled_from(["messageId", "timestamp", "integrations", "context", "json", "batch", "metadata", "address", ""]),
    st.text(max_size=5),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
TYPES = st.sampled_from(["identify", "track", "page", "screen", "group", "alias", "delete", "TRACK", "", "nonsense"])
EVENTS = st.one_of(
    st.fixed_dictionaries(
        {"type": TYPES},
        optional={
            "userId": SCALARS,
            "anonymousId": SCALARS,
            "event": SCALARS,
            "name": SCALARS,
            "messageId": SCALARS,
            "traits": VALUES,
            "properties": VALUES,
            "context": VALUES,
            "integrations": VALUES,
            "timestamp": SCALARS,
        },
    ),
    VALUES,
)
PAYLOADS = st.one_of(
    EVENTS,
    st.lists(EVENTS, max_size=5),
    st.fixed_dictionaries({"batch": st.one_of(st.lists(EVENTS, max_size=5), VALUES), "context": VALUES}),
    st.lists(st.fixed_dictionaries({"json": EVENTS}), max_size=3),
)


def nested(levels: int) -> bytes:
    return b'{"type":"track","userId":"u","event":"e","properties":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"


BODIES = st.one_of(
    PAYLOADS.map(lambda payload: json.dumps(payload).encode("utf-8", "surrogatepass")),
    PAYLOADS.map(lambda payload: json.dumps(payload, ensure_ascii=False, indent=1).encode("utf-8", "replace")),
    PAYLOADS.map(lambda payload: json.dumps(payload).encode()[:-1]),
    st.binary(max_size=40),
    st.sampled_from([nested(10), nested(599), nested(700), nested(5000), b"[" * 50_000, b"\xef\xbb\xbf[]", b"NaN"]),
)
PATHS = st.sampled_from(
    ["/events", "/events/", "/events/x", "/events/../x", "/v1/track", "/v1/batch", "/v1/delete", "/", ""]
)
METHODS = st.sampled_from(["POST", "POST", "POST", "post", "GET", ""])


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """An event of API Gateway: mostly as it should be and signed, sometimes with parts that no API Gateway sends."""
    body = draw(BODIES)
    signed = signed_bytes(body)
    headers = draw(
        st.sampled_from(
            [
                {"X-Signature": sign(signed)},
                {"X-Signature": sign(body)},
                {"Authorization": f"Bearer {ACCESS_TOKEN}", "X-Signature": sign(signed)},
                {"Authorization": "Basic é==", "X-Signature": "\ud83e"},
                {"Authorization": f"Bearer {ACCESS_TOKEN}"},
                {},
            ]
        )
    )
    packed = draw(st.sampled_from([lambda data: data, gzip.compress, lambda data: gzip.compress(data)[:-5]]))(body)
    event = proxy_event(draw(METHODS), draw(PATHS), headers, packed)
    if draw(st.integers(0, 4)) == 0:
        event = {**event, draw(st.sampled_from(sorted(event))): draw(VALUES)}
    if draw(st.integers(0, 9)) == 0:
        del event[draw(st.sampled_from(sorted(event)))]
    return event


@pytest.fixture
def kept(function: Function, monkeypatch: pytest.MonkeyPatch) -> Function:
    """A function that keeps its settings, and takes every kind of event."""
    monkeypatch.setenv("SETTINGS_TTL_SECONDS", "3600")
    track = {
        "properties": "metadata",
        "properties.loyalty": "loyalty",
        "properties.referral": "referral",
        "sum(properties.prices)": "metadata.sum",
    }
    identify = {
        "traits": "customer.metadata",
        "context": "customer.metadata.context",
        "traits.email": ["customer.email", "customer.name"],
        "traits.address": "customer.address",
    }
    function.put(
        **dict.fromkeys(("deleteDisabled", "pageDisabled", "screenDisabled", "groupDisabled"), "false"),
        trackMapping=json.dumps(track),
        identifyMapping=json.dumps(identify),
    )
    return function


def check_queues(function: Function) -> None:
    """Look at the messages as moto holds them: to receive thousands takes minutes."""
    for queue in ("RETRY_QUEUE_URL", "DEAD_LETTER_QUEUE_URL"):
        codes = {json.loads(message.body)["failure"]["code"] for message in function.aws.stored(queue)}
        assert "internal_error" not in codes


def test_any_request_is_answered(kept: Function) -> None:
    @RULES
    @given(requests())
    def answered(event: dict[str, Any]) -> None:
        answer = kept.invoke(event)
        assert answer.status in STATUSES, answer.body
        if answer.status in {200, 202}:
            counts = [answer.body[name] for name in ("delivered", "queued", "skipped", "duplicate", "rejected")]
            assert all(isinstance(count, int) for count in counts)

    answered()
    check_queues(kept)


RECORDS = st.one_of(
    st.fixed_dictionaries(
        {
            "event": EVENTS,
            "source": st.sampled_from(["default", "x", ""]),
            "attempts": st.one_of(st.integers(0, 5), SCALARS),
            "firstFailedAt": st.sampled_from(["2026-11-28T00:00:00Z", "2026-11-28", "", "soon"]),
            "failure": st.fixed_dictionaries({"stage": SCALARS, "code": SCALARS, "message": SCALARS}),
        }
    ),
    VALUES,
)


def test_any_message_is_delivered_kept_or_dead(kept: Function) -> None:
    @RULES
    @given(st.lists(RECORDS, min_size=1, max_size=10), st.integers(1, 600))
    def handled(records: list[Any], receives: int) -> None:
        messages = [
            {
                "MessageId": f"m-{number}",
                "ReceiptHandle": base64.b64encode(str(number).encode()).decode(),
                "Body": json.dumps(record) if number % 4 else str(record),
                "Attributes": {"SentTimestamp": "1795000000000", "ApproximateReceiveCount": str(receives)},
                "MD5OfBody": "",
            }
            for number, record in enumerate(records)
        ]
        answer = redeliver(sqs_event(messages), LambdaContext(30.0))
        kept_ids = [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]
        assert set(kept_ids) <= {message["MessageId"] for message in messages}
        assert len(kept_ids) == len(set(kept_ids))

    handled()
    check_queues(kept)
