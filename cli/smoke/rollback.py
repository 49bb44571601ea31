"""A rollback of the function behind the API: its alias moves to the previous version, and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import ClientError

from cli.checks import Check
from cli.errors import CommandFailed
from cli.segment import Answer
from cli.target import Target

# Their names in template.yaml.
FUNCTION, ALIAS = "DeliverFunction", "live"


def check_rollback(name: str, target: Target, send: Callable[[], Answer]) -> Check:
    """Send an event with the alias at the previous version, and one with the alias back again. Raises CommandFailed."""
    if target.is_local:
        return Check(name, None, "only AWS can answer: the local system has no versions")
    function = target.resource(FUNCTION)
    try:
        alias = target.lambda_.get_alias(FunctionName=function, Name=ALIAS)
    except target.lambda_.exceptions.ResourceNotFoundException:
        return Check(name, None, f"not possible: the function has no alias {ALIAS}")
    current: str = alias["FunctionVersion"]
    if alias.get("RoutingConfig", {}).get("AdditionalVersionWeights"):
        return Check(name, None, "not possible: a deployment is shifting traffic now", "run this again when it is over")
    previous = max((version for version in _versions(target, function) if version < int(current)), default=None)
    if previous is None:
        return Check(name, None, f"not possible: there is no version before {current}")
    with _moved(target, function, alias, str(previous)):
        before = send()
    after = send()
    text = f"version {previous}: {before}; back at version {current}: {after}"
    if before.status == after.status == 200:
        return Check(name, True, text)
    return Check(name, False, text, "do not roll back to that version before you know the reason: see the log")


def _versions(target: Target, function: str) -> Iterator[int]:
    for page in target.lambda_.get_paginator("list_versions_by_function").paginate(FunctionName=function):
        yield from (int(one["Version"]) for one in page["Versions"] if one["Version"].isdecimal())


@contextmanager
def _moved(target: Target, function: str, alias: Mapping[str, Any], version: str) -> Iterator[None]:
    """Move the alias to another version in a `with`, and back at its end. Raises CommandFailed."""
    revision = _move(target, function, version, alias["RevisionId"])
    try:
        yield
    finally:
        try:
            _move(target, function, alias["FunctionVersion"], revision)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            advice = (
                f"unless a deployment has moved it: aws lambda update-alias --region {target.region} "
                f"--function-name {function} --name {ALIAS} --function-version {alias['FunctionVersion']}"
            )
            raise CommandFailed(f"the alias still points to version {version}: {code}", advice) from error


def _move(target: Target, function: str, version: str, revision: str) -> str:
    """Move the alias, unless somebody else has changed it since that revision. Return its new revision."""
    moved = target.lambda_.update_alias(FunctionName=function, Name=ALIAS, FunctionVersion=version, RevisionId=revision)
    return moved["RevisionId"]
