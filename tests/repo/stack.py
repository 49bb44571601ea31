"""template.yaml as SAM transforms it and CloudFormation resolves it, for the tests of the template."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).parents[2]
SOURCE = yaml_parse((ROOT / "template.yaml").read_text("utf-8"))

PARAMETERS: dict[str, Any] = SOURCE["Parameters"]
DEFAULTS = {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()}
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-west-1",
    "AWS::StackName": "voucherify-destination",
    "AWS::URLSuffix": "amazonaws.com",
}
KEY = "arn:aws:kms:eu-west-1:123456789012:key/0e5f2c1a-1111-2222-3333-444455556666"

# Each parameter that switches something, as it is by default and otherwise.
SWITCHES = {
    "Architecture": ("arm64", "x86_64"),
    "SnapStart": ("off", "on"),
    "Deployment": ("AllAtOnce", "Canary10Percent5Minutes"),
    "AlarmEmail": ("", "someone@example.com"),
    "SettingsKmsKeyArn": ("", KEY),
    "NothingReceivedHours": ("0", "6"),
    "ReservedConcurrency": ("0", "50"),
    "Tracing": ("Active", "PassThrough"),
}
COMBINATIONS = [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product(*SWITCHES.values())]
ALL_SWITCHED = COMBINATIONS[-1]

NO_VALUE = {"Ref": "AWS::NoValue"}


class NoManagedPolicies:
    def load(self) -> dict[str, str]:
        return {}


def transformed(template: Any, parameters: Mapping[str, str]) -> Any:
    """Return a template as SAM transforms it once the code is uploaded. SAM wants a region, but does not use it."""
    template = deepcopy(template)
    if template["Globals"]["Function"]["CodeUri"] == ".":
        template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"

    from samtranslator.translator.transform import transform  # takes seconds, which only these tests need

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        return transform(template, dict(parameters), NoManagedPolicies())


@cache
def transformed_for(deployment: str) -> Any:
    return transformed(SOURCE, {**DEFAULTS, "Deployment": deployment})


class Stack:
    """The transformed template with parameters and conditions resolved, as CloudFormation does it.

    References to resources, and values that only AWS knows, stay references.
    """

    def __init__(self, **parameters: str) -> None:
        self.parameters = {**DEFAULTS, **parameters}

    @property
    def _template(self) -> Any:
        return transformed_for(self.parameters["Deployment"])

    @cached_property
    def resources(self) -> dict[str, Any]:
        return {
            name: self.resolved({part: value for part, value in resource.items() if part != "Condition"})
            for name, resource in self._template["Resources"].items()
            if "Condition" not in resource or self._is_met(resource["Condition"])
        }

    @cached_property
    def outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = self.resolved(self._template["Outputs"])
        return outputs

    def of_type(self, kind: str) -> dict[str, Any]:
        return {name: found["Properties"] for name, found in self.resources.items() if found["Type"] == kind}

    def properties(self, name: str) -> Any:
        return self.resources[name]["Properties"]

    def resolved(self, value: Any) -> Any:
        """Return the value with parameters and conditions resolved, or NO_VALUE."""
        if isinstance(value, list):
            return [item for item in map(self.resolved, value) if item != NO_VALUE]
        if not isinstance(value, dict):
            return value
        if set(value) == {"Fn::If"}:
            condition, then, otherwise = value["Fn::If"]
            return self.resolved(then if self._is_met(condition) else otherwise)
        if set(value) == {"Ref"}:
            return self.parameters.get(value["Ref"], value)
        if set(value) == {"Fn::Sub"}:
            return self._substituted(value["Fn::Sub"])
        filled = {name: self.resolved(item) for name, item in value.items()}
        return {name: item for name, item in filled.items() if item != NO_VALUE}

    def _is_met(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self._is_met(self._template["Conditions"][condition])
        ((operator, operands),) = condition.items()
        if operator == "Fn::Not":
            return not self._is_met(operands[0])
        assert operator == "Fn::Equals"
        left, right = map(self.resolved, operands)
        return bool(str(left) == str(right))

    def _substituted(self, operands: Any) -> Any:
        """Return the text, or a Fn::Sub where references are left."""
        text, own = (operands, {}) if isinstance(operands, str) else operands
        own = {name: self.resolved(value) for name, value in own.items()}
        known = {**PSEUDO, **self.parameters}
        for name, value in own.items():
            filled_in = value.get("Fn::Sub") if isinstance(value, dict) else value
            if isinstance(filled_in, str):
                known[name] = filled_in
        text = re.sub(r"\$\{([^!}]+)\}", lambda match: known.get(match[1], match[0]), text)
        left = {name: value for name, value in own.items() if f"${{{name}}}" in text}
        if re.search(r"\$\{[^!}]+\}", text):
            return {"Fn::Sub": [text, left] if left else text}
        return text.replace("${!", "${")


def arn(name: str) -> Any:
    return {"Fn::GetAtt": [name, "Arn"]}


def ref(name: str) -> Any:
    return {"Ref": name}


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def named_in(value: Any) -> Iterator[str]:
    """Yield the names that a part of a template refers to: resources, parameters, pseudo parameters."""
    if isinstance(value, list):
        for item in value:
            yield from named_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name == "Ref":
                yield item
            elif name == "Fn::GetAtt":
                yield as_list(item)[0].split(".")[0]
            elif name == "Fn::Sub":
                text, own = (item, {}) if isinstance(item, str) else item
                yield from (match.split(".")[0] for match in re.findall(r"\$\{([^!}]+)\}", text) if match not in own)
                yield from named_in(own)
            elif name == "Fn::If":
                yield from named_in(SOURCE["Conditions"][item[0]])
                yield from named_in(item[1:])
            else:
                yield from named_in(item)


DEFAULT = Stack()
ALTERNATIVE = Stack(**ALL_SWITCHED)
BOTH = pytest.mark.parametrize("stack", [DEFAULT, ALTERNATIVE], ids=["by default", "all switched"])


def names_of(kind: str) -> list[str]:
    """Return the names of the resources of a type, before the transform."""
    return [name for name, resource in SOURCE["Resources"].items() if resource["Type"] == kind]


FUNCTIONS = names_of("AWS::Serverless::Function")
EACH_FUNCTION = pytest.mark.parametrize("name", FUNCTIONS)


def function(name: str) -> Any:
    """Return the properties of a function in the default deployment."""
    return DEFAULT.properties(name)


def stage() -> Any:
    """Return the properties of the API's stage in the default deployment."""
    return DEFAULT.properties("HttpApiApiGatewayDefaultStage")


def another(parameter: str) -> str:
    """Return a value that a parameter accepts and that is not its default."""
    kind, default = PARAMETERS[parameter], DEFAULTS[parameter]
    if "AllowedValues" in kind:
        return next(str(value) for value in kind["AllowedValues"] if str(value) != default)
    return str(kind["MaxValue"]) if kind["Type"] == "Number" else "/another"
