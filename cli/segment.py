"""The steps in Segment that connect a source, as in the documentation, with the stack's own URL."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from cli.target import Target


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
