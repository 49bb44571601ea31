"""No secret is in what a command writes."""

from __future__ import annotations

from collections.abc import Iterator

from local.stack.aws import SETTINGS_PATH, LocalAws
from tests.cli.conftest import Ended, Run

# Every secret that a test makes up begins so, whether it ever reaches Parameter Store or not.
CANARY = "canary-"


def watched(run: Run, aws: LocalAws) -> Run:
    """`run`, which looks for every secret that lies in Parameter Store or has lain there."""

    def watching(*arguments: str, stdin: str | None = None) -> Ended:
        ended = run(*arguments, stdin=stdin)
        for secret in (CANARY, *_secrets(aws)):
            assert secret not in ended.out + ended.err
        return ended

    return watching


def _secrets(aws: LocalAws) -> Iterator[str]:
    for page in aws.ssm.get_paginator("get_parameters_by_path").paginate(Path=SETTINGS_PATH, Recursive=True):
        for parameter in page["Parameters"]:
            if parameter["Type"] == "SecureString":
                answer = aws.ssm.get_parameter_history(Name=parameter["Name"], WithDecryption=True)
                yield from (version["Value"] for version in answer["Parameters"])
