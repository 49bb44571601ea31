"""A parameter of the stack changed and back: CloudFormation publishes a version with it and moves the alias to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from cli.checks import Check
from cli.errors import CommandFailed
from cli.smoke.rollback import ALIAS, FUNCTION
from cli.smoke.waiting import Waiting
from cli.target import Target

# A parameter whose next value changes nothing that anybody notices, its MaxValue in template.yaml, and the variable of
# the function that has its value.
PARAMETER, MOST, VARIABLE = "SettingsTtlSeconds", 3600, "SETTINGS_TTL_SECONDS"

# The slowest gradual deployment takes 30 minutes.
_UPDATE_SECONDS = 45 * 60.0
_PAUSE_SECONDS = 5.0


class _Live(NamedTuple):
    """The version that the alias points to, and its value of the parameter."""

    version: str
    value: str

    @classmethod
    def of(cls, target: Target, function: str) -> _Live:
        found = target.lambda_.get_function_configuration(FunctionName=function, Qualifier=ALIAS)
        return cls(found["Version"], found["Environment"]["Variables"][VARIABLE])


def check_parameter(name: str, target: Target, waiting: Waiting) -> Check:
    """Change the parameter and change it back, and look at the live version each time. Raises CommandFailed."""
    function = target.resource(FUNCTION)
    stack = _Stack(target, waiting)
    value = stack.value
    other = str(int(value) + (1 if int(value) < MOST else -1))
    before = _Live.of(target, function)
    with _changed(stack, value, other):
        changed = _Live.of(target, function)
    after = _Live.of(target, function)
    text = (
        f"{PARAMETER} {value}, {other}, {value}: "
        f"version {before.version} has {before.value}, {changed.version} {changed.value}, {after.version} {after.value}"
    )
    is_fine = (changed.value, after.value) == (other, value) and len({before, changed, after}) == 3
    advice = "the alias still points to a version with another value: update the stack again, and look at its events"
    return Check(name, is_fine, text, "" if is_fine else advice)


@contextmanager
def _changed(stack: _Stack, value: str, other: str) -> Iterator[None]:
    """Give the parameter another value in a `with`. At its end, also after Ctrl-C, it has its own again."""
    try:
        stack.update(other)
        yield
    finally:
        stack.settle()
        if stack.value != value:
            stack.update(value)


class _Stack:
    """The stack in CloudFormation, as it is now."""

    def __init__(self, target: Target, waiting: Waiting) -> None:
        self._name = target.name
        self._waiting = waiting
        self._client: Any = target.session.client("cloudformation", **target.client_options)

    @property
    def value(self) -> str:
        """The value of the parameter."""
        parameters = self._described()["Parameters"]
        return next(str(one["ParameterValue"]) for one in parameters if one["ParameterKey"] == PARAMETER)

    def update(self, value: str) -> None:
        """Change the parameter, and nothing else, and wait for the end. Raises CommandFailed."""
        names = [one["ParameterKey"] for one in self._described()["Parameters"]]
        self._client.update_stack(
            StackName=self._name,
            UsePreviousTemplate=True,
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                if name == PARAMETER
                else {"ParameterKey": name, "UsePreviousValue": True}
                for name in names
            ],
            # The template makes roles, and SAM transforms it.
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        status = self.settle()
        if status != "UPDATE_COMPLETE":
            advice = "look at the stack's events, and check the value of the parameter"
            raise CommandFailed(f"the update of {self._name} ended as {status}", advice)

    def settle(self) -> str:
        """Wait until no update is in progress, and return the status."""
        return self._waiting.until(
            lambda: str(self._described()["StackStatus"]),
            lambda status: not status.endswith("_IN_PROGRESS"),
            f"the update of stack {self._name}",
            seconds=_UPDATE_SECONDS,
            pause=_PAUSE_SECONDS,
        )

    def _described(self) -> dict[str, Any]:
        (stack,) = self._client.describe_stacks(StackName=self._name)["Stacks"]
        described: dict[str, Any] = stack
        return described
