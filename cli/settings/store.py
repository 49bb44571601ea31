"""The settings as they lie in Parameter Store: read and checked as the function does, planned, then written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from cli.errors import CommandFailed, Exit
from cli.target import Target
from handler.model.errors import FaultySettings, SettingsUnavailable
from handler.settings.setting_types import InvalidSettingValue, Parameter, Secret
from handler.settings.settings import SETTINGS, Setting, Settings

# The function's own rules of what a source inherits and of who is one: nothing else may decide that.
from handler.settings.sources import DEFAULT_SOURCE, inherited, is_source, merged_settings, read_parameters
from mapping import Fault, nearest

if TYPE_CHECKING:
    from mypy_boto3_ssm.type_defs import ParameterHistoryTypeDef, PutParameterRequestTypeDef

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
STANDARD_BYTES = 4 * 1024
ADVANCED_BYTES = 8 * 1024

_SOURCE = re.compile(r"[A-Za-z0-9_.-]+")
_REFERENCE = re.compile(r"\{\{.*\}\}", re.DOTALL)


class Stored(NamedTuple):
    """What Parameter Store says of a parameter besides its value."""

    type: str
    tier: str
    changed_at: datetime


@dataclass(frozen=True)
class Change:
    """One parameter that is to be written."""

    setting: Setting
    before: Parameter | None
    after: Parameter
    type: str
    tier: str


@dataclass(frozen=True)
class Plan:
    """What is to be written, and every fault that the settings would have then, with the sources that it is one of."""

    changes: Sequence[Change]
    faults: Mapping[Fault, Sequence[str]]


def is_secret(name: str) -> bool:
    """Whether nobody may see it. What is no setting may be one that is spelt wrong."""
    return name not in SETTINGS or isinstance(SETTINGS[name].kind, Secret)


def setting_named(name: str) -> Setting:
    """Raises CommandFailed."""
    if name not in SETTINGS:
        raise CommandFailed(f"{name!r} is no setting{nearest(name, SETTINGS)}", "settings show names all", Exit.USAGE)
    return SETTINGS[name]


def settings_of(source: str, by_source: Mapping[str, Mapping[str, Parameter]]) -> Settings:
    """The checked settings of a source. Raises FaultySettings."""
    return merged_settings(source, by_source[source], by_source[DEFAULT_SOURCE])


def sources_in(by_source: Mapping[str, Mapping[str, Parameter]]) -> list[str]:
    """The sources that there are, the default one first."""
    found = [source for source in by_source if is_source(source, by_source)]
    return sorted(found, key=lambda source: (source != DEFAULT_SOURCE, source))


def parameters_of(target: Target) -> dict[str, dict[str, Parameter]]:
    """The parameters as the function reads them, by source."""
    try:
        return read_parameters(target.ssm, target.settings_path)
    except SettingsUnavailable as error:
        raise error.__cause__ or error from error  # the command line has its own words for AWS's errors


class Store:
    """The settings of one source, or the common ones; nothing is asked of AWS before it is needed."""

    def __init__(self, target: Target, source: str | None) -> None:
        """Raises CommandFailed."""
        if source == DEFAULT_SOURCE:
            raise CommandFailed(f"{DEFAULT_SOURCE} is the source without a name", "leave --source out", Exit.USAGE)
        if source is not None and not _SOURCE.fullmatch(source):
            raise CommandFailed(f"{source!r} is no name of a source", "letters, digits, _ . and - make one", Exit.USAGE)
        self._target = target
        self.source = source or DEFAULT_SOURCE

    @cached_property
    def path(self) -> str:
        return self.path_in(self.source)

    def path_in(self, source: str) -> str:
        common = self._target.settings_path
        return common if source == DEFAULT_SOURCE else f"{common}/{source}"

    @cached_property
    def by_source(self) -> dict[str, dict[str, Parameter]]:
        return parameters_of(self._target)

    @property
    def is_new(self) -> bool:
        """Whether nothing lies there yet."""
        return not self.by_source.get(self.source)

    @property
    def effective(self) -> dict[str, tuple[Parameter, str]]:
        """What is in force, each with the source that it comes from: its own settings over the common ones."""
        own = self.by_source.get(self.source, {})
        common = inherited(own, self.by_source[DEFAULT_SOURCE])
        return {
            **{name: (parameter, DEFAULT_SOURCE) for name, parameter in common.items()},
            **{name: (parameter, self.source) for name, parameter in own.items()},
        }

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """By the parameter's whole name."""
        filters: Any = [{"Key": "Path", "Option": "Recursive", "Values": [self._target.settings_path]}]
        pages = self._target.ssm.get_paginator("describe_parameters").paginate(ParameterFilters=filters)
        return {
            item["Name"]: Stored(item["Type"], item.get("Tier", "Standard"), item["LastModifiedDate"])
            for page in pages
            for item in page["Parameters"]
        }

    def faults(self, by_source: Mapping[str, Mapping[str, Parameter]]) -> dict[Fault, list[str]]:
        """Every fault of the sources whose settings these are: what is common is every source's."""
        found: dict[Fault, list[str]] = {}
        for source in sources_in(by_source):
            if self.source not in (DEFAULT_SOURCE, source):
                continue
            try:
                settings_of(source, by_source)
            except FaultySettings as faulty:
                for fault in faulty.faults:
                    found.setdefault(fault, []).append(source)
        return found

    def plan(self, parameters: Mapping[str, Parameter], *, advanced: bool = False) -> Plan:
        """What would be written to have these parameters, and the faults that there would be then."""
        own = self.by_source.get(self.source, {})
        changes: list[Change] = []
        faults: dict[Fault, list[str]] = {}
        for name, parameter in parameters.items():
            change = self._change(SETTINGS[name], own.get(name), parameter)
            if _differs(change):
                changes.append(self._in_tier(change, advanced=advanced))
                faults |= {fault: [self.source] for fault in self._unstorable(changes[-1])}
        after = deepcopy(self.by_source)
        after.setdefault(self.source, {}).update({change.setting.name: change.after for change in changes})
        for fault, sources in self.faults(after).items():
            faults.setdefault(fault, sources)
        return Plan(changes, faults)

    def put(self, change: Change) -> None:
        """Write one parameter. Raises CommandFailed without the value."""
        name = f"{self.path}/{change.setting.name}"
        request: PutParameterRequestTypeDef = {
            "Name": name,
            "Value": change.after.value,
            "Type": change.type,  # type: ignore[typeddict-item] # one of SSM's own words
            "Tier": change.tier,  # type: ignore[typeddict-item] # likewise
            "Overwrite": True,
        }
        if change.type == "SecureString" and (key := self._key):
            request["KeyId"] = key
        try:
            self._target.ssm.put_parameter(**request)
        except ClientError as error:
            answer = error.response.get("Error", {})
            message = str(answer.get("Message", "")).replace(change.after.value, "***")
            # Without the error itself, which has the message as it came.
            raise CommandFailed(f"SSM refused {name}: {answer.get('Code')}: {message}", code=Exit.UNREACHABLE) from None

    def history(self, name: str, *, decrypted: bool) -> list[ParameterHistoryTypeDef]:
        """Its versions, the oldest first. Raises CommandFailed where it is not set."""
        whole_name = f"{self.path}/{name}"
        pages = self._target.ssm.get_paginator("get_parameter_history")
        try:
            found = pages.paginate(Name=whole_name, WithDecryption=decrypted).build_full_result()["Parameters"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ParameterNotFound":
                raise CommandFailed(f"{whole_name} is not set") from error
            raise
        return sorted(found, key=lambda version: version["Version"])

    @property
    def _key(self) -> str:
        """The KMS key of the stack's settings; empty where it is SSM's own."""
        return "" if self._target.is_local else self._target.value("SettingsKmsKeyArn")

    def _change(self, setting: Setting, before: Parameter | None, after: Parameter) -> Change:
        stored = self.stored.get(f"{self.path}/{setting.name}")
        if stored is None:
            return Change(setting, before, after, "SecureString" if is_secret(setting.name) else "String", "Standard")
        if stored.type == "StringList":
            after = _as_list(after)
        return Change(setting, before, after, stored.type, stored.tier)

    def _in_tier(self, change: Change, *, advanced: bool) -> Change:
        # SSM takes no parameter back from the advanced tier, which costs money: none is put there without need.
        if advanced and _size(change.after) > STANDARD_BYTES:
            return Change(change.setting, change.before, change.after, change.type, "Advanced")
        return change

    def _unstorable(self, change: Change) -> Iterator[Fault]:
        name, value = change.setting.name, change.after.value
        most, size = ADVANCED_BYTES if change.tier == "Advanced" else STANDARD_BYTES, _size(change.after)
        if not value:
            yield Fault(name, "", "is empty, which SSM does not store")
        if size > most:
            way_out = "" if size > ADVANCED_BYTES else ", which --advanced allows for a charge"
            yield Fault(name, "", f"has {size:,} bytes; SSM stores {most:,} ({change.tier.lower()} tier){way_out}")
        if _REFERENCE.search(value):
            yield Fault(name, "", "has {{ }} in it, which SSM takes for a reference to another parameter")
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
        if is_secret(name) and change.type != "SecureString":
            yield Fault(
                name, "", f"is stored as {change.type}, and SSM changes no type: delete {self.path}/{name} first"
            )
        if change.type == "StringList" and not change.after.is_list:
            problem = "is stored as StringList, which cannot hold this"
            yield Fault(name, "", f"{problem}: delete {self.path}/{name} first, and it becomes a String")


def _as_list(parameter: Parameter) -> Parameter:
    """JSON names as a StringList, where one can hold them."""
    if parameter.is_list:
        return parameter
    try:
        names = json.loads(parameter.value)
    except ValueError:
        return parameter
    fits = isinstance(names, list) and names and all(isinstance(name, str) and _fits(name) for name in names)
    return Parameter(",".join(names), is_list=True) if fits else parameter


def _fits(name: str) -> bool:
    return bool(name) and name == name.strip() and "," not in name


def _differs(change: Change) -> bool:
    return change.before is None or _meaning(change.setting, change.before) != _meaning(change.setting, change.after)


def _meaning(setting: Setting, parameter: Parameter) -> str:
    """The same for parameters that the function takes for the same; the order of a mapping's rows counts."""
    try:
        return json.dumps(setting.kind.read(setting.name, parameter))
    except InvalidSettingValue:
        return f"faulty: {parameter.value}"


def _size(parameter: Parameter) -> int:
    return len(parameter.value.encode("utf-8", "surrogatepass"))
