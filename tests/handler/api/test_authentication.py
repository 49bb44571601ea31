"""Who is let in: nobody because a secret is missing, and nobody who does not match each one that is set."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from handler.api.authentication import authenticate
from handler.model.errors import Unauthorised
from handler.settings.settings import Secrets

pytestmark = pytest.mark.scenario(row=2)

BODY = b'{"type": "identify", "n": 1.0}'
BATCH = b'[{"n": 1.0}, {"n": 2}]'
FIRST = b'{"n": 1.0}'

SIGNED_ONLY = Secrets(["secret"], [])
TOKEN_ONLY = Secrets([], ["token"])
BOTH = Secrets(["secret"], ["token"])
ROTATING = Secrets(["secret", "old-secret"], ["token", "old-token"])


def signature(body: bytes = BODY, secret: str = "secret") -> dict[str, str]:
    return {"x-signature": hmac.new(secret.encode(), body, hashlib.sha1).hexdigest()}


def basic(credentials: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("secrets", "headers", "body", "matched"),
    [
        (SIGNED_ONLY, signature(), BODY, {"sharedSecret": "current"}),
        (SIGNED_ONLY, {"x-signature": signature()["x-signature"].upper()}, BODY, {"sharedSecret": "current"}),
        (SIGNED_ONLY, signature(FIRST), BATCH, {"sharedSecret": "current"}),
        (SIGNED_ONLY, signature(BATCH), BATCH, {"sharedSecret": "current"}),
        (ROTATING, {**signature(), **bearer("token")}, BODY, {"sharedSecret": "current", "accessToken": "current"}),
        (
            ROTATING,
            {**signature(secret="old-secret"), **basic("old-token:")},
            BODY,
            {"sharedSecret": "previous", "accessToken": "previous"},
        ),
        (TOKEN_ONLY, bearer("token"), BODY, {"accessToken": "current"}),
        (TOKEN_ONLY, {"authorization": "bearer   token "}, BODY, {"accessToken": "current"}),
        (TOKEN_ONLY, basic("token:"), BODY, {"accessToken": "current"}),
        (TOKEN_ONLY, basic("token"), BODY, {"accessToken": "current"}),
        (TOKEN_ONLY, bearer("token"), b"not even JSON", {"accessToken": "current"}),
        (BOTH, {**signature(), **bearer("token")}, BODY, {"sharedSecret": "current", "accessToken": "current"}),
        (Secrets([], ["tökén"]), bearer("tökén"), BODY, {"accessToken": "current"}),
    ],
)
def test_a_request_that_matches_each_secret_is_accepted(
    secrets: Secrets, headers: dict[str, str], body: bytes, matched: dict[str, str]
) -> None:
    assert authenticate(headers, body, secrets).matched == matched


@pytest.mark.parametrize(
    ("secrets", "headers", "body", "covers_all"),
    [
        (SIGNED_ONLY, signature(), BODY, True),
        (SIGNED_ONLY, signature(FIRST), BATCH, False),
        (SIGNED_ONLY, signature(BATCH), BATCH, True),
        (ROTATING, {**signature(FIRST, "old-secret"), **bearer("token")}, BATCH, True),
        (TOKEN_ONLY, bearer("token"), BATCH, True),
    ],
)
def test_a_signature_of_the_first_event_covers_no_other(
    secrets: Secrets, headers: dict[str, str], body: bytes, covers_all: bool
) -> None:
    assert authenticate(headers, body, secrets).covers_all is covers_all


@pytest.mark.parametrize(
    ("secrets", "headers", "body", "cause"),
    [
        (Secrets([], []), {**signature(), **bearer("token")}, BODY, "no_secret_set"),
        (SIGNED_ONLY, {}, BODY, "missing_signature"),
        (SIGNED_ONLY, {"x-signature": ""}, BODY, "missing_signature"),
        (SIGNED_ONLY, {"x-signature": "  "}, BODY, "missing_signature"),
        (SIGNED_ONLY, bearer("token"), BODY, "missing_signature"),
        (SIGNED_ONLY, signature(secret="other"), BODY, "wrong_signature"),
        (SIGNED_ONLY, signature(secret=""), BODY, "wrong_signature"),
        (SIGNED_ONLY, signature(), BODY.replace(b"1.0", b"1"), "wrong_signature"),
        (SIGNED_ONLY, signature(), BODY + b" ", "wrong_signature"),
        (SIGNED_ONLY, {"x-signature": signature()["x-signature"][:-1]}, BODY, "wrong_signature"),
        (SIGNED_ONLY, {"x-signature": "ä" * 40}, BODY, "wrong_signature"),
        (SIGNED_ONLY, {"x-signature": "\ud800"}, BODY, "wrong_signature"),
        (SIGNED_ONLY, signature(b'{"n": 2}'), BATCH, "wrong_signature"),
        (SIGNED_ONLY, signature(secret="old-secret"), BODY, "wrong_signature"),
        (TOKEN_ONLY, {}, BODY, "missing_token"),
        (TOKEN_ONLY, signature(), BODY, "missing_token"),
        (TOKEN_ONLY, {"authorization": "token"}, BODY, "missing_token"),
        (TOKEN_ONLY, {"authorization": "Bearer"}, BODY, "missing_token"),
        (TOKEN_ONLY, {"authorization": "Basic token"}, BODY, "missing_token"),
        (TOKEN_ONLY, {"authorization": "Basic ä"}, BODY, "missing_token"),
        (TOKEN_ONLY, {"authorization": "Digest token"}, BODY, "missing_token"),
        (TOKEN_ONLY, basic(""), BODY, "missing_token"),
        (TOKEN_ONLY, basic(":token"), BODY, "missing_token"),
        (TOKEN_ONLY, basic("token:password"), BODY, "missing_token"),
        (TOKEN_ONLY, bearer("tokem"), BODY, "wrong_token"),
        (TOKEN_ONLY, bearer("token2"), BODY, "wrong_token"),
        (BOTH, signature(), BODY, "missing_token"),
        (BOTH, bearer("token"), BODY, "missing_signature"),
        (BOTH, {**signature(), **bearer("wrong")}, BODY, "wrong_token"),
        (BOTH, {**signature(secret="wrong"), **bearer("token")}, BODY, "wrong_signature"),
    ],
)
def test_everyone_else_is_refused_with_the_cause_for_the_log_and_one_text_for_all(
    secrets: Secrets, headers: dict[str, str], body: bytes, cause: str
) -> None:
    with pytest.raises(Unauthorised) as raised:
        authenticate(headers, body, secrets)
    assert raised.value.cause == cause
    assert raised.value.message == "missing or wrong credentials"
    assert raised.value.status == 401
