"""Authentication of the sender. It fails closed: each secret that is set must match, and at least one is always set.

Signature: https://segment.com/docs/connections/destinations/catalog/webhooks/#authentication
Token: the `Authorization` header that a Segment webhook can send, https://datatracker.ietf.org/doc/html/rfc6750
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
from handler.model.reason_codes import RefusalCause
from handler.settings.settings import Secrets


class Proof(NamedTuple):
    """The credentials that matched: `current` or `previous`, by the name of the setting.

    `covers_all`: they prove that all events of the request come from Segment, and not only the first one.
    """

    matched: dict[str, str]
    covers_all: bool


def authenticate(headers: Mapping[str, str], body: bytes, secrets: Secrets) -> Proof:
    """Check the credentials. `headers` has lower-case names.

    Raises Unauthorised where a secret that is set does not match, or none is set.
    """
    if not secrets.shared_secrets and not secrets.access_tokens:
        raise unauthorised(RefusalCause.NO_SECRET_SET)
    proof = Proof({}, covers_all=False)
    if secrets.access_tokens:
        proof = Proof({"accessToken": check_token(token_in(headers), secrets.access_tokens)}, covers_all=True)
    if secrets.shared_secrets:
        which, is_whole = _check_signature(headers, body, secrets.shared_secrets)
        proof = Proof({**proof.matched, "sharedSecret": which}, proof.covers_all or is_whole)
    return proof


def check_token(token: bytes, accepted: Sequence[str]) -> str:
    """Return which token it is: `current` or `previous`. Raises Unauthorised."""
    if not token:
        raise unauthorised(RefusalCause.MISSING_TOKEN)
    if which := _match(accepted, lambda other: hmac.compare_digest(other.encode(), token)):
        return which
    raise unauthorised(RefusalCause.WRONG_TOKEN)


def _check_signature(headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> tuple[str, bool]:
    """Return which secret has signed, and whether it has signed the whole body.

    Segment signs the first element of an array today. A signature over all of it proves more, and is proposed:
    https://github.com/segmentio/action-destinations/pull/3989
    """
    given = _to_bytes(headers.get("x-signature", "").strip().lower())
    if not given:
        raise unauthorised(RefusalCause.MISSING_SIGNATURE)
    signed = signed_bytes(body)

    def match(part: bytes) -> str | None:
        return _match(secrets, lambda secret: hmac.compare_digest(signature(part, secret).encode(), given))

    if which := match(signed):
        return which, signed is body
    if signed is not body and (which := match(body)):
        return which, True
    raise unauthorised(RefusalCause.WRONG_SIGNATURE)


def _match(secrets: Sequence[str], matches: Callable[[str], bool]) -> str | None:
    """Return which secret matches, `current` or `previous`, or None."""
    names = zip(("current", "previous"), secrets, strict=False)
    return next((name for name, secret in names if matches(secret)), None)


def token_in(headers: Mapping[str, str]) -> bytes:
    """Return the token of `Bearer <token>`, or of `Basic` as user name without a password; empty where there is none.

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
    """Return the `X-Signature` of the signed bytes."""
    return hmac.digest(secret.encode(), signed, "sha1").hex()


def unauthorised(cause: RefusalCause) -> Unauthorised:
    """Return the error, with one message for every cause: a stranger learns nothing about what is expected."""
    return Unauthorised(cause, "missing or wrong credentials")


def _to_bytes(header: str) -> bytes:
    # `hmac.compare_digest` takes text only where it is ASCII.
    return header.encode("utf-8", "replace")
