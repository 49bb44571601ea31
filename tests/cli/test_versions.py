"""`versions`: which versions are kept, and what a rollback moves. moto plays Lambda."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from cli.target import Target
from local.stack.aws import LocalAws
from tests.cli.conftest import Run, use_target

FUNCTIONS = ("deliver", "redeliver")
ROLE = "versions"


class Lambda:
    """The two functions of a stack."""

    def __init__(self, target: Target) -> None:
        self.client = target.lambda_
        self._published = 0

    def publish(self, *names: str) -> None:
        """Deploy other code of functions, as the stack does."""
        for name in names or FUNCTIONS:
            self._published += 1
            self.client.update_function_code(FunctionName=name, ZipFile=zipped(str(self._published)))
            number = self.client.publish_version(FunctionName=name, Description=f"ttl={self._published}")["Version"]
            self.client.update_alias(FunctionName=name, Name="live", FunctionVersion=number)

    def live(self) -> list[str]:
        return [self.client.get_alias(FunctionName=name, Name="live")["FunctionVersion"] for name in FUNCTIONS]

    def versions(self, name: str = "deliver") -> list[str]:
        found = self.client.list_versions_by_function(FunctionName=name)["Versions"]
        return [version["Version"] for version in found if version["Version"] != "$LATEST"]


def zipped(content: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a.py", content)
    return archive.getvalue()


@pytest.fixture
def functions(run: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lambda]:
    """The functions, with version 1 of each behind the alias `live`."""
    known = {"DeliverFunctionName": "deliver", "RedeliverFunctionName": "redeliver"}
    target = replace(Target.local(0), endpoint_url=aws.url, known=known)
    use_target(monkeypatch, target)
    iam: Any = target.session.client("iam", **target.client_options)
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    for name in FUNCTIONS:
        code: Any = {"ZipFile": zipped("0")}
        target.lambda_.create_function(
            FunctionName=name, Runtime="python3.13", Role=role, Handler="a.b", Code=code, Publish=True
        )
        target.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion="1")
    yield Lambda(target)
    for name in FUNCTIONS:
        target.lambda_.delete_function(FunctionName=name)
    iam.delete_role(RoleName=ROLE)


def test_a_rollback_takes_the_version_that_was_live_before_the_deployment(run: Run, functions: Lambda) -> None:
    assert run("versions", "prune").code == 0
    functions.publish()

    ended = run("versions", "rollback", "--yes")

    assert (ended.code, functions.live()) == (0, ["1", "1"])
    assert ended.out.splitlines() == [
        "✓ deliver is back from version 2 to 1",
        "✓ redeliver is back from version 2 to 1",
    ]


def test_a_rollback_leaves_a_function_alone_that_the_deployment_did_not_change(run: Run, functions: Lambda) -> None:
    run("versions", "prune")
    functions.publish("redeliver")

    ended = run("versions", "rollback", "--yes", "--json")

    assert ended.json == [{"function": "redeliver", "from": "2", "to": "1"}]
    assert functions.live() == ["1", "1"]


def test_a_second_rollback_has_nothing_to_go_back_to(run: Run, functions: Lambda) -> None:
    run("versions", "prune")
    functions.publish()
    run("versions", "rollback", "--yes")

    ended = run("versions", "rollback", "--yes")

    assert ended.code == 1
    assert "there is no version from before the last deployment" in ended.err
    assert functions.live() == ["1", "1"]


def test_after_a_rollback_and_its_repair_the_good_version_is_still_there(run: Run, functions: Lambda) -> None:
    run("versions", "prune")
    functions.publish()  # 2, which is faulty
    run("versions", "rollback", "--yes")
    run("versions", "prune")
    functions.publish()  # 3, its repair

    run("versions", "rollback", "--yes")

    assert functions.live() == ["1", "1"]


def test_prune_keeps_the_live_version_and_the_one_that_the_stack_may_name(run: Run, functions: Lambda) -> None:
    for _ in range(3):
        functions.publish()
    functions.client.update_alias(FunctionName="deliver", Name="live", FunctionVersion="2")

    ended = run("versions", "prune")

    assert ended.code == 0
    assert functions.versions() == ["2", "4"]
    assert functions.versions("redeliver") == ["4"]
    assert "deliver: version 2 is kept for a rollback; deleted: 1, 3" in ended.out
    assert "redeliver: version 4 is kept for a rollback; deleted: 1, 2, 3" in ended.out


@pytest.mark.long
def test_prune_before_the_first_deployment_does_nothing(
    run: Run, aws: LocalAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_target(monkeypatch, replace(Target.local(0), name="nobody", endpoint_url=aws.url, known={}))

    ended = run("versions", "prune")

    assert ended.code == 0
    assert "there is no stack nobody" in ended.err


def test_list_shows_what_is_live_and_what_a_rollback_takes(run: Run, functions: Lambda) -> None:
    run("versions", "prune")
    functions.publish()

    _, *rows = [line.split("\t") for line in run("versions", "list").out.splitlines()]

    assert [(row[0], row[1], row[2], row[4]) for row in rows] == [
        ("deliver", "2", "live", "ttl=1"),
        ("deliver", "1", "previous", ""),
        ("redeliver", "2", "live", "ttl=2"),
        ("redeliver", "1", "previous", ""),
    ]


def test_a_rollback_during_a_gradual_deployment_is_left_to_codedeploy(run: Run, functions: Lambda) -> None:
    run("versions", "prune")
    functions.publish()
    functions.client.update_alias(
        FunctionName="deliver", Name="live", RoutingConfig={"AdditionalVersionWeights": {"1": 0.9}}
    )

    ended = run("versions", "rollback", "--yes")

    assert ended.code == 1
    assert "a gradual deployment of deliver is in progress" in ended.err
    assert functions.live() == ["2", "2"]


def test_a_rollback_asks_first(run: Run, functions: Lambda) -> None:
    run("versions", "prune")
    functions.publish()

    ended = run("versions", "rollback")

    assert ended.code == 2
    assert "--yes" in ended.err
    assert functions.live() == ["2", "2"]
