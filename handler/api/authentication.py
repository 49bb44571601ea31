"""Is this request from Segment? Fails closed: a secret that is set must be matched, and one is always set.

Signature: https://segment.com/docs/connections/destinations/catalog/webhooks/#authentication
Token: the `Authorization` header that a Segment webhook can be given, https://datatracker.ietf.org/doc/html/rfc6750
and https://datatracker.ietf.org/doc/html/rfc7617.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from handler.api.body import signed_bytes
from handler.model.errors import Unauthorised


class Secrets(NamedTuple):
    """What is accepted, the current one first and then the previous one; empty where none is set."""

    shared_secrets: Sequence[str]
    access_tokens: Sequence[str]


def authenticate(headers: Mapping[str, str], body: bytes, secrets: Secrets) -> dict[str, str]:
    """Which secret matched, by the name of its setting: `current` or `previous`. `headers` has lower-case names.

    Raises Unauthorised, with the cause for the log, where a secret that is set is not matched or none is set.
    """
    if not secrets.shared_secrets and not secrets.access_tokens:
        raise wrong_credentials("no_secret_set")
    matched = {}
    if secrets.access_tokens:
        matched["accessToken"] = check_token(given_token(headers), secrets.access_tokens)
    if secrets.shared_secrets:
        matched["sharedSecret"] = _check_signature(headers, body, secrets.shared_secrets)
    return matched


def check_token(given: bytes, tokens: Sequence[str]) -> str:
    """Which token it is: `current` or `previous`. Raises Unauthorised."""
    if not given:
        raise wrong_credentials("missing_token")
    return _match(tokens, lambda token: hmac.compare_digest(token.encode(), given), "wrong_token")


def _check_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> str:
    given = _to_bytes(headers.get("x-signature", "").strip().lower())
    if not given:
        raise wrong_credentials("missing_signature")
    signed = signed_bytes(body)

    def matches(secret: str) -> bool:
        return hmac.compare_digest(signature(signed, secret).encode(), given)

    return _match(secrets, matches, "wrong_signature")


def _match(secrets: Sequence[str], matches: Callable[[str], bool], cause: str) -> str:
    for name, secret in zip(("current", "previous"), secrets, strict=False):
        if matches(secret):
            return name
    raise wrong_credentials(cause)


def given_token(headers: Mapping[str, str]) -> bytes:
    """The token of `Bearer <token>`, or of `Basic` as user name with no password; empty where there is none.

    `headers` has lower-case names.
    """
    scheme, _, credentials = headers.get("authorization", "").strip().partition(" ")
    match scheme.lower():
        case "bearer":
            return _to_bytes(credentials.strip())
        case "basic":
            try:
                user, _, password = base64.b64decode(credentials.strip(), validate=True).partition(b":")
            except (binascii.Error, ValueError):
                return b""
            return b"" if password else user
    return b""


def signature(signed: bytes, secret: str) -> str:
    """`X-Signature` of the bytes that are signed."""
    return hmac.digest(secret.encode(), signed, "sha1").hex()


def wrong_credentials(cause: str) -> Unauthorised:
    """One text for every cause: who cannot prove to be Segment learns nothing about what is expected."""
    return Unauthorised(cause, "missing or wrong credentials")


def _to_bytes(header: str) -> bytes:
    """Whatever a header holds, compared as bytes: `hmac.compare_digest` takes text only where it is ASCII."""
    return header.encode("utf-8", "replace")
