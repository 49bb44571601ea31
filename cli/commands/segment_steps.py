"""The steps in Segment that connect a source, those of README.md's "Connect Segment", with the stack's own address."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from cli.target import Target


def steps(url: str, secrets: Collection[str]) -> list[str]:
    """What to do in Segment; `secrets` are those that are checked, sharedSecret or accessToken or both."""
    found = [
        "Connections → Catalog → Destinations: search for Webhooks (Actions), and add it to your source.",
        "Mappings → New mapping → Send. Event trigger: Event Type is Identify or is Track.",
        f"URL: {url}   Method: POST   Data: the whole event ($.), as it stands there.",
        "Enable batching: on, with a batch size of 100 to 300. Save, and enable mapping and destination.",
        "To see it work: Event Tester in Segment, then Customers in Voucherify.",
    ]
    if "accessToken" in secrets:
        found.insert(3, "Headers: Authorization with the value Bearer, a space, and the accessToken.")
    if "sharedSecret" in secrets:
        found.insert(1, "Settings → Advanced settings → Shared Secret: the sharedSecret.")
    return found


def copy_command(target: Target, parameter: str) -> str:
    """The command that prints a secret to copy it; whoever runs it sees it, and nobody else."""
    profile = target.session.profile_name
    arguments = [
        *("aws", "ssm", "get-parameter", "--with-decryption", "--region", target.region, "--name", parameter),
        *(("--profile", profile) if profile != "default" else ()),
        *(("--endpoint-url", target.endpoint_url) if target.endpoint_url else ()),
        *("--query", "Parameter.Value", "--output", "text"),
    ]
    return shlex.join(arguments)
