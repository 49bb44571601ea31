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
DATA_KEY = "arn:aws:kms:eu-west-1:123456789012:key/4f1a6a52-5555-6666-7777-888899990000"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/0e5f2c1a-1111-2222-3333-444455556666"

# Each parameter that switches something, as it is by default and otherwise.
SWITCHES = {
    "Architecture": ("arm64", "x86_64"),
    "SnapStart": ("off", "on"),
    "Deployment": ("AllAtOnce", "Canary10Percent5Minutes"),
    "AlarmEmail": ("", "someone@example.com"),
    "SettingsKmsKeyArn": ("", KEY),
    "DataKmsKeyArn": ("", f"{DATA_KEY},{KEY}"),
    "DeletionProtection": ("off", "on"),
    "DomainName": ("", "events.example.com"),
    "DefaultEndpoint": ("on", "off"),
    "NothingReceivedHours": ("0", "6"),
    "ReservedConcurrency": ("0", "50"),
    "Tracing": ("Active", "PassThrough"),
}
COMBINATIONS = [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product(*SWITCHES.values())]
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/2f7d1e3b-9999-aaaa-bbbb-ccccddddeeee"
ALL_SWITCHED = {**COMBINATIONS[-1], "DomainCertificateArn": CERTIFICATE, "MonthlyBudget": "20"}

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


RESOLVED: dict[tuple[str, ...], Any] = {}


@cache
def read_by(deployment: str, name: str) -> list[str]:
    """Return the parameters that decide about a resource, and always the deployment, which SAM looks at."""
    resource = transformed_for(deployment)["Resources"][name]
    condition = SOURCE["Conditions"].get(resource.get("Condition"), [])
    return ["Deployment", *sorted({*named_in(resource), *named_in(condition)} & set(PARAMETERS) - {"Deployment"})]


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
        """The resources that exist. One that no different parameter concerns is the same object in another stack."""
        found = {}
        for name, resource in self._template["Resources"].items():
            key = (name, *(self.parameters[one] for one in read_by(self.parameters["Deployment"], name)))
            if key not in RESOLVED:
                is_there = "Condition" not in resource or self.is_met(resource["Condition"])
                parts = {part: value for part, value in resource.items() if part != "Condition"}
                RESOLVED[key] = self.resolved(parts) if is_there else None
            if RESOLVED[key] is not None:
                found[name] = RESOLVED[key]
        return found

    @cached_property
    def outputs(self) -> dict[str, Any]:
        return {
            name: self.resolved({part: value for part, value in output.items() if part != "Condition"})
            for name, output in self._template["Outputs"].items()
            if "Condition" not in output or self.is_met(output["Condition"])
        }

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
            return self.resolved(then if self.is_met(condition) else otherwise)
        if set(value) == {"Ref"}:
            return self._parameter(value["Ref"]) if value["Ref"] in self.parameters else value
        if set(value) == {"Fn::FindInMap"}:
            mapping, first, second = map(self.resolved, value["Fn::FindInMap"])
            return SOURCE["Mappings"][mapping][first][second]
        if set(value) == {"Fn::Join"}:
            separator, items = value["Fn::Join"]
            return str(separator).join(self.resolved(items))
        if set(value) == {"Fn::Select"}:
            index, items = value["Fn::Select"]
            return self.resolved(items)[int(index)]
        if set(value) == {"Fn::Sub"}:
            return self._substituted(value["Fn::Sub"])
        filled = {name: self.resolved(item) for name, item in value.items()}
        return {name: item for name, item in filled.items() if item != NO_VALUE}

    def _parameter(self, name: str) -> str | list[str]:
        value = self.parameters[name]
        return value.split(",") if PARAMETERS[name]["Type"] == "CommaDelimitedList" else value

    def is_met(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self.is_met(self._template["Conditions"][condition])
        ((operator, operands),) = condition.items()
        if operator == "Fn::Not":
            return not self.is_met(operands[0])
        if operator == "Fn::Or":
            return any(map(self.is_met, operands))
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


NAMED: dict[int, set[str]] = {}


def names_in(resource: Any) -> set[str]:
    """Return what a resource refers to or depends on by itself. Stacks share their resources: see Stack.resources."""
    if id(resource) not in NAMED:
        NAMED[id(resource)] = {*as_list(resource.get("DependsOn", [])), *named_in(resource)}
    return NAMED[id(resource)]


def waits_for(stack: Stack, name: str) -> set[str]:
    """Return the resources that CloudFormation creates and updates before a resource: each it depends on or refers to.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-attribute-dependson.html
    """
    return names_in(stack.resources[name]) & stack.resources.keys()


def waited_for(stack: Stack, name: str) -> set[str]:
    """Return what a resource waits for, and what these wait for in turn."""
    found: set[str] = set()
    left = [name]
    while left:
        direct = waits_for(stack, left.pop())
        left += direct - found
        found |= direct
    return found


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
