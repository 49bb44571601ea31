"""The settings in Parameter Store: reads and checks them as the function does, plans changes, and writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from cli.errors import CommandFailed, Exit
from cli.target import Target
from handler.model.deadline import Deadline
from handler.model.errors import FaultySettings, SettingsUnavailable
from handler.settings.setting_types import InvalidSettingValue, Parameter, Secret
from handler.settings.settings import SETTINGS, Setting, Settings

# The function's own rules of inheritance. There must be no second version of them.
from handler.settings.sources import DEFAULT_SOURCE, inherited, is_source, merged_settings, read_parameters
from mapping import MAPPINGS, Fault, has_event_names, nearest, setting_of

if TYPE_CHECKING:
    from mypy_boto3_ssm.type_defs import ParameterHistoryTypeDef, PutParameterRequestTypeDef

# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
STANDARD_BYTES = 4 * 1024
ADVANCED_BYTES = 8 * 1024

# https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_DeleteParameters.html
_MOST_DELETED = 10

UNKNOWN_SETTING = "unknown setting"

# For as long as Parameter Store refuses reads as too many.
_READ_SECONDS = 30.0

_SSM_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_REFERENCE = re.compile(r"\{\{.*\}\}", re.DOTALL)


class Stored(NamedTuple):
    """The metadata of a parameter."""

    type: str
    tier: str
    changed_at: datetime


@dataclass(frozen=True)
class Change:
    """One parameter to write: a setting's own, or a labelled one such as `trackMapping.orders`."""

    name: str
    setting: Setting
    before: Parameter | None
    after: Parameter
    type: str
    tier: str


@dataclass(frozen=True)
class Plan:
    """The parameters to write, and the faults that the settings would then have, each with the affected sources."""

    changes: Sequence[Change]
    faults: Mapping[Fault, Sequence[str]]


def is_secret(name: str) -> bool:
    """Return whether a value must not be shown. An unknown name may be a misspelt secret."""
    setting = find_setting(name)
    return setting is None or isinstance(setting.type, Secret)


def find_setting(name: str) -> Setting | None:
    """Return the setting that a parameter belongs to, or None: `trackMapping` for `trackMapping.orders`."""
    return SETTINGS.get(setting_of(name))


def setting_named(name: str) -> Setting:
    """Return the setting that a parameter belongs to. Raises CommandFailed."""
    setting = find_setting(name)
    if setting is None:
        problem = f"{UNKNOWN_SETTING} {name!r}{nearest_setting(name)}"
        raise CommandFailed(problem, "run settings show to list all settings", Exit.USAGE)
    if problem := problem_of_label(name):
        raise CommandFailed(f"{name!r}: {problem}", code=Exit.USAGE)
    return setting


def nearest_setting(name: str) -> str:
    """Return the advice for an unknown name: the nearest spelling, or which settings may have a label."""
    setting, dot, label = name.partition(".")
    if not dot:
        return nearest(name, SETTINGS)
    with_labels = [one.name for one in SETTINGS.values() if _has_labels(one)]
    if setting in SETTINGS:
        return f"; a label may follow {', '.join(with_labels)}" if label else f"; did you mean {setting!r}?"
    return nearest(name, [f"{one}.{label}" for one in with_labels])


def _has_labels(setting: Setting) -> bool:
    return setting.name in MAPPINGS and MAPPINGS[setting.name].has_names


def problem_of_label(name: str) -> str:
    """Return why SSM cannot store a labelled parameter under its name; empty where it can."""
    # A slash would put it among the parameters of a source.
    return "" if _SSM_NAME.fullmatch(name) else "a label has letters, digits, _, . and - only"


def settings_of(source: str, by_source: Mapping[str, Mapping[str, Parameter]]) -> Settings:
    """Return the checked settings of a source. Raises FaultySettings."""
    return merged_settings(source, by_source[source], by_source[DEFAULT_SOURCE])


def settings_of_source(target: Target, source: str) -> tuple[Settings, dict[str, Parameter]]:
    """Return the checked settings of a source and their parameters. Raises CommandFailed."""
    by_source = parameters_of(target)
    require_source(source, by_source)
    try:
        settings = settings_of(source, by_source)
    except FaultySettings as faulty:
        advice = "\n  ".join(map(str, faulty.faults))
        raise CommandFailed(f"the settings of source {source} have faults", advice) from faulty
    return settings, {**by_source[DEFAULT_SOURCE], **by_source[source]}


def require_source(source: str, by_source: Mapping[str, Mapping[str, Parameter]]) -> None:
    """Raise CommandFailed where there is no such source."""
    sources = sources_in(by_source)
    if source not in sources:
        raise CommandFailed(f"source {source} has no settings", f"sources with settings: {', '.join(sources)}")


def sources_in(by_source: Mapping[str, Mapping[str, Parameter]]) -> list[str]:
    """Return all sources, the default one first."""
    found = [source for source in by_source if is_source(source, by_source)]
    return sorted(found, key=lambda source: (source != DEFAULT_SOURCE, source))


def parameters_of(target: Target) -> dict[str, dict[str, Parameter]]:
    """Return the parameters as the function reads them, by source."""
    try:
        return read_parameters(target.ssm, target.settings_path, Deadline.after(_READ_SECONDS))
    except SettingsUnavailable as error:
        raise error.__cause__ or error from error  # the command line reports AWS's own error


class Store:
    """The settings of one source, or the common ones. AWS is called when a value is first needed."""

    def __init__(self, target: Target, source: str | None) -> None:
        """Raises CommandFailed."""
        if source == DEFAULT_SOURCE:
            raise CommandFailed(f"{DEFAULT_SOURCE} is the source without a name", "leave out --source", Exit.USAGE)
        if source is not None and not _SSM_NAME.fullmatch(source):
            advice = "use letters, digits, _ . and -"
            raise CommandFailed(f"invalid name of a source: {source!r}", advice, Exit.USAGE)
        self._target = target
        self.source = source or DEFAULT_SOURCE

    def require_source(self) -> None:
        """Raise CommandFailed where there is no such source. The common settings are always there."""
        if self.source != DEFAULT_SOURCE:
            require_source(self.source, self.by_source)

    @property
    def path(self) -> str:
        return self.path_in(self.source)

    def path_in(self, source: str) -> str:
        """Return the SSM path of a source."""
        common = self._target.settings_path
        return common if source == DEFAULT_SOURCE else f"{common}/{source}"

    @cached_property
    def by_source(self) -> dict[str, dict[str, Parameter]]:
        return parameters_of(self._target)

    @property
    def own(self) -> Mapping[str, Parameter]:
        """The source's own parameters, without the common ones."""
        return self.by_source.get(self.source, {})

    @property
    def effective(self) -> dict[str, tuple[Parameter, str]]:
        """The parameters that take effect, each with its source: the source's own before the common ones."""
        common = inherited(self.own, self.by_source[DEFAULT_SOURCE])
        return {
            **{name: (parameter, DEFAULT_SOURCE) for name, parameter in common.items()},
            **{name: (parameter, self.source) for name, parameter in self.own.items()},
        }

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The metadata of all parameters, by full name."""
        filters: Any = [{"Key": "Path", "Option": "Recursive", "Values": [self._target.settings_path]}]
        pages = self._target.ssm.get_paginator("describe_parameters").paginate(ParameterFilters=filters)
        return {
            item["Name"]: Stored(item["Type"], item.get("Tier", "Standard"), item["LastModifiedDate"])
            for page in pages
            for item in page["Parameters"]
        }

    def faults(self, by_source: Mapping[str, Mapping[str, Parameter]]) -> dict[Fault, list[str]]:
        """Return the faults of the sources that these settings affect: the common ones affect all sources."""
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
        """Return the changes that lead to these parameters, and the faults after them."""
        changes: list[Change] = []
        faults: dict[Fault, list[str]] = {}
        for name, parameter in parameters.items():
            change = self._change(name, self.own.get(name), parameter)
            if _differs(change):
                # SSM never moves a parameter back to the standard tier, which is free: use the advanced one if needed.
                if advanced and _size(change.after) > STANDARD_BYTES:
                    change = replace(change, tier="Advanced")
                changes.append(change)
                faults |= {fault: [self.source] for fault in self._unstorable(change)}
        after = deepcopy(self.by_source)
        after.setdefault(self.source, {}).update({change.name: change.after for change in changes})
        for fault, sources in self.faults(after).items():
            faults.setdefault(fault, sources)
        return Plan(changes, faults)

    def put(self, change: Change) -> None:
        """Write one parameter. Raises CommandFailed, without the value."""
        name = f"{self.path}/{change.name}"
        request: PutParameterRequestTypeDef = {
            "Name": name,
            "Value": change.after.value,
            "Type": change.type,  # type: ignore[typeddict-item] # one of SSM's own words
            "Tier": change.tier,  # type: ignore[typeddict-item] # likewise
            "Overwrite": True,
        }
        if change.type == "SecureString" and not self._target.is_local and (
            key := self._target.value("SettingsKmsKeyArn")
        ):  # fmt: skip
            request["KeyId"] = key
        try:
            self._target.ssm.put_parameter(**request)
        except ClientError as error:
            answer = error.response.get("Error", {})
            message = str(answer.get("Message", "")).replace(change.after.value, "***")
            # Not chained to the error, whose message may quote the value.
            raise CommandFailed(f"SSM refused {name}: {answer.get('Code')}: {message}", code=Exit.UNREACHABLE) from None

    def faults_without(self, name: str) -> dict[Fault, list[str]]:
        """Return the faults that the deletion of a parameter would cause."""
        after = deepcopy(self.by_source)
        del after[self.source][name]
        before = self.faults(self.by_source)
        return {fault: sources for fault, sources in self.faults(after).items() if fault not in before}

    def delete(self, names: Sequence[str]) -> list[str]:
        """Delete parameters of the source, and return the names of those that were there."""
        deleted: list[str] = []
        for start in range(0, len(names), _MOST_DELETED):
            paths = [f"{self.path}/{name}" for name in names[start : start + _MOST_DELETED]]
            deleted += self._target.ssm.delete_parameters(Names=paths)["DeletedParameters"]
        return [path.removeprefix(f"{self.path}/") for path in deleted]

    def history(self, name: str, *, decrypted: bool) -> list[ParameterHistoryTypeDef]:
        """Return the versions of a setting, the oldest first. Raises CommandFailed where it is not set."""
        full_name = f"{self.path}/{name}"
        pages = self._target.ssm.get_paginator("get_parameter_history")
        try:
            found = pages.paginate(Name=full_name, WithDecryption=decrypted).build_full_result()["Parameters"]
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") == "ParameterNotFound":
                raise CommandFailed(f"{full_name} is not set") from error
            raise
        return sorted(found, key=lambda version: version["Version"])

    def _change(self, name: str, before: Parameter | None, after: Parameter) -> Change:
        setting = setting_named(name)
        stored = self.stored.get(f"{self.path}/{name}")
        if stored is None:
            return Change(name, setting, before, after, "SecureString" if is_secret(name) else "String", "Standard")
        if stored.type == "StringList":
            after = _as_list(after)
        return Change(name, setting, before, after, stored.type, stored.tier)

    def _unstorable(self, change: Change) -> Iterator[Fault]:
        """Yield the reasons why SSM cannot store a parameter."""
        name, value = change.name, change.after.value
        most, size = ADVANCED_BYTES if change.tier == "Advanced" else STANDARD_BYTES, _size(change.after)
        if not value:
            yield Fault(name, "", "is empty, which SSM does not store")
        if size > most:
            advice = [] if size > ADVANCED_BYTES else ["--advanced allows 8 KB, which AWS charges for"]
            if _has_labels(change.setting):
                advice.append(f"spread the events over parameters such as {change.setting.name}.<label>")
            limit = f"has {size:,} bytes; SSM stores {most:,} ({change.tier.lower()} tier)"
            yield Fault(name, "", "; ".join([limit, ", or ".join(advice)] if advice else [limit]))
        if _REFERENCE.search(value):
            yield Fault(name, "", "contains {{ }}, which SSM reads as a reference to another parameter")
        # https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html
        delete_first = f"delete {self.path}/{name} first"
        if is_secret(name) and change.type != "SecureString":
            yield Fault(name, "", f"is stored as {change.type}, and SSM cannot change a type: {delete_first}")
        if change.type == "StringList" and not change.after.is_list:
            yield Fault(name, "", f"is stored as a StringList, which cannot hold this value: {delete_first}")


def _as_list(parameter: Parameter) -> Parameter:
    """Return JSON names as a StringList, where one can hold them."""
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
    return change.before is None or _meaning(change, change.before) != _meaning(change, change.after)


def _meaning(change: Change, parameter: Parameter) -> str:
    """Return the same text for parameters that mean the same to the function.

    The order of a mapping's rows counts, that of event names does not.
    """
    try:
        value = change.setting.type.read(change.name, parameter)
    except InvalidSettingValue:
        return f"faulty: {parameter.value}"
    return json.dumps(dict(sorted(value.items())) if has_event_names(value) else value)


def _size(parameter: Parameter) -> int:
    return len(parameter.value.encode("utf-8", "surrogatepass"))
