"""Segment's side: the steps that connect a source, with the stack's own URL, and requests as Segment sends them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import urllib3

from cli.errors import CommandFailed, Exit
from cli.target import Target
from handler.api.authentication import signature
from handler.model.job import DeliveryStatus
from handler.settings.settings import Secrets
from handler.settings.sources import DEFAULT_SOURCE

_TIMEOUT_SECONDS = 10.0


class Answer(NamedTuple):
    """An answer to events: its status, and its JSON object, which is empty where the function did not answer."""

    status: int
    body: Mapping[str, Any]

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of events by delivery status, without zeros."""
        return {status: count for status in DeliveryStatus if (count := self.body.get(status))}

    def __str__(self) -> str:
        counts = ", ".join(status if count == 1 else f"{status} x{count}" for status, count in self.counts.items())
        reasons = ", ".join(str(error.get("reason")) for error in self.body.get("errors", ()))
        text = counts or str(self.body.get("message", "without a text"))
        return f"{self.status} {text}" + (f" ({reasons})" if reasons else "")


def events_url(target: Target, source: str) -> str:
    """Return the URL for a source's webhook. Raises CommandFailed."""
    return target.value("EventsUrl") + ("" if source == DEFAULT_SOURCE else f"/{source}")


def credentials_for(signed: bytes, secrets: Secrets) -> dict[str, str]:
    """Return the headers that prove to be Segment, of a body or of the first element of an array."""
    headers = {}
    for secret in secrets.shared_secrets[:1]:
        headers["X-Signature"] = signature(signed, secret)
    for token in secrets.access_tokens[:1]:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def send(url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Post events as JSON. Raises CommandFailed where no answer comes."""
    headers = {"Content-Type": "application/json", **headers}
    try:
        answer = urllib3.request("POST", url, body=body, headers=headers, retries=False, timeout=_TIMEOUT_SECONDS)
    except urllib3.exceptions.HTTPError as error:
        advice = "check that the URL is the stack's and that this machine can reach it"
        raise CommandFailed(f"no answer from {url}: {type(error).__name__}", advice, Exit.UNREACHABLE) from error
    try:
        content = json.loads(answer.data)
    except ValueError:
        content = None
    return Answer(answer.status, content if isinstance(content, dict) else {})


def connection_steps(url: str, secrets: Collection[str]) -> list[str]:
    """Return the steps. `secrets` are the ones that the function checks: sharedSecret, accessToken or both."""
    steps = [
        "Connections → Catalog → Destinations: find Webhooks (Actions), and add it to your source.",
        "Mappings → New mapping → Send. Event trigger: Event Type is Identify or is Track.",
        f"URL: {url}   Method: POST   Data: the whole event ($.), the default.",
        "Enable batching: on, with a batch size of 100 to 300. Save, then enable the mapping and the destination.",
        "To test it: Event Tester in Segment, then Customers in Voucherify.",
        "To delete customers too: add a classic Webhook with the same URL and secrets, since Segment sends deletions "
        "to those only, and set deleteDisabled to false.",
    ]
    if "accessToken" in secrets:
        steps.insert(3, "Headers: Authorization with the value Bearer, a space, and the accessToken.")
    if "sharedSecret" in secrets:
        steps.insert(1, "Settings → Advanced settings → Shared Secret: the sharedSecret.")
    return steps


def copy_command(target: Target, parameter: str) -> str:
    """Return the command that prints a secret. Only the person who runs it sees the secret."""
    profile = target.session.profile_name
    arguments = [
        *("aws", "ssm", "get-parameter", "--with-decryption", "--region", target.region, "--name", parameter),
        *(("--profile", profile) if profile != "default" else ()),
        *(("--endpoint-url", target.endpoint_url) if target.endpoint_url else ()),
        *("--query", "Parameter.Value", "--output", "text"),
    ]
    return shlex.join(arguments)
