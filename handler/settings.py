"""The shop's settings: read from SSM, checked all at once, kept for a while.

Names, defaults and meaning are those of Segment's own Voucherify destination; the README has the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from handler.authentication import Secrets
from handler.delivery import Policy
from handler.errors import FaultySettings, SettingsUnavailable, Unavailable
from handler.outcome import AmbiguousTrack
from handler.strict_json import complaint
from handler.telemetry import Telemetry
from mapping import (
    DEFAULT_IDENTIFY_RULES,
    DEFAULT_TRACK_RULES,
    EventMapping,
    Fault,
    InvalidMapping,
    compile_identify_mapping,
    compile_track_mapping,
)

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

DEFAULT_API_URL = "https://api.voucherify.io"

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Parameter(NamedTuple):
    """One SSM parameter: its value, and whether it is a StringList."""

    value: str
    is_list: bool = False


Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked settings. `unknown` names the parameters that are none of ours: a typing error, perhaps."""

    api_url: str
    api_key: str = field(repr=False)
    api_token: str = field(repr=False)
    secrets: Secrets = field(repr=False)
    policy: Policy
    unknown: tuple[str, ...]


def check_settings(parameters: Mapping[str, Parameter]) -> Settings:
    """Settings from parameters by name. Raises FaultySettings with every fault at once, never with a value."""
    check = _Check(parameters)
    settings = Settings(
        api_url=check.url("apiUrl", DEFAULT_API_URL),
        api_key=check.header_value("apiKey"),
        api_token=check.header_value("apiToken"),
        secrets=Secrets(check.rotating("sharedSecret"), check.rotating("accessToken")),
        policy=Policy(
            mapping=EventMapping(
                identify_disabled=check.flag("identifyDisabled"),
                identify_rules=check.mapping("identifyMapping", compile_identify_mapping, DEFAULT_IDENTIFY_RULES),
                track_disabled=check.flag("trackDisabled"),
                track_events_filter=check.names("trackEventsFilter"),
                track_rules=check.mapping("trackMapping", compile_track_mapping, DEFAULT_TRACK_RULES),
            ),
            ambiguous_track=check.choice("ambiguousTrack", AmbiguousTrack, AmbiguousTrack.RETRY),
        ),
        unknown=tuple(sorted(parameters.keys() - check.known)),
    )
    if not check.faults and not any(settings.secrets):
        check.fault("sharedSecret", "set it or accessToken, or both: without one nobody can be let in")
    if check.faults:
        raise FaultySettings(check.faults)
    return settings


class _Check:
    """Reads parameters and collects faults; a faulty setting reads as its default, and nothing is used of it."""

    def __init__(self, parameters: Mapping[str, Parameter]) -> None:
        self._parameters = parameters
        self.faults: list[Fault] = []
        self.known: set[str] = set()

    def fault(self, setting: str, problem: str) -> None:
        self.faults.append(Fault(setting, "", problem))

    def _parameter(self, setting: str) -> Parameter:
        self.known.add(setting)
        return self._parameters.get(setting, Parameter(""))

    def _text(self, setting: str) -> str:
        return self._parameter(setting).value.strip()

    def header_value(self, setting: str) -> str:
        """A required key that must be fit for an HTTP header."""
        value = self._secret(setting)
        if not self._parameter(setting).value:
            self.fault(setting, "is required and not set")
        elif not (value.isascii() and value.strip().isprintable()):
            self.fault(setting, "has characters that an HTTP header cannot hold")
        return value

    def rotating(self, setting: str) -> tuple[str, ...]:
        """A secret and the one before it, which is accepted while the secret is rotated."""
        current, previous = self._secret(setting), self._secret(f"{setting}Previous")
        if previous and not current:
            self.fault(f"{setting}Previous", f"is accepted beside {setting}, which is not set")
        return tuple(filter(None, (current, previous)))

    def _secret(self, setting: str) -> str:
        value = self._parameter(setting).value
        if value != value.strip():
            self.fault(setting, "begins or ends with white space; store it without")
        return value

    def url(self, setting: str, default: str) -> str:
        value = (self._text(setting) or default).rstrip("/")
        try:
            url = urlsplit(value)
            has_address = bool(url.hostname) and url.port != 0
        except ValueError:
            url, has_address = urlsplit(""), False
        if not has_address:
            self.fault(setting, f"must be the address of the project's cluster, such as {default}")
        elif url.username is not None or url.path or url.query or url.fragment:
            self.fault(setting, "must have a host only: no user, path, query or fragment")
        elif url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            self.fault(setting, "must begin with https:// (http:// is for loopback)")
        return value

    def flag(self, setting: str) -> bool:
        value = self._text(setting).lower() or "false"
        if value not in {"true", "false"}:
            self.fault(setting, "must be true or false")
        return value == "true"

    def choice(self, setting: str, kind: type[Choice], default: Choice) -> Choice:
        value = self._text(setting) or default.value
        try:
            return kind(value)
        except ValueError:
            self.fault(setting, f"must be {' or '.join(kind)}")
            return default

    def names(self, setting: str) -> frozenset[str]:
        """Names as a StringList or a JSON array of text."""
        parameter = self._parameter(setting)
        if parameter.is_list:
            return frozenset(filter(None, map(str.strip, parameter.value.split(","))))
        names = self._json(setting, [])
        if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
            self.fault(setting, 'must be a JSON array of event names, such as ["Order Completed"], or a StringList')
            return frozenset()
        return frozenset(names)

    def mapping(self, setting: str, compile_mapping: Callable[[object], Any], default: Any) -> Any:
        mapping = self._json(setting, None)
        if mapping is None:
            return default
        try:
            return compile_mapping(mapping)
        except InvalidMapping as invalid:
            self.faults += invalid.faults
            return default

    def _json(self, setting: str, default: object) -> Any:
        text = self._text(setting)
        try:
            return json.loads(text, object_pairs_hook=_without_duplicates) if text else default
        except _DuplicateKey as duplicate:
            self.faults.append(Fault(setting, str(duplicate), "stands there twice; one of the two would be ignored"))
        except (ValueError, RecursionError) as error:
            self.fault(setting, f"is not JSON: {complaint(error)}")
        return default


class _DuplicateKey(ValueError):
    pass


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _DuplicateKey(key)
        result[key] = value
    return result


def read_parameters(ssm: SSMClient, path: str) -> dict[str, Parameter]:
    """Every parameter right under `path`, decrypted. Raises SettingsUnavailable where SSM cannot be read."""
    pages = ssm.get_paginator("get_parameters_by_path").paginate(Path=path, WithDecryption=True)
    try:
        return {
            parameter["Name"].rpartition("/")[2]: Parameter(parameter["Value"], parameter["Type"] == "StringList")
            for page in pages
            for parameter in page["Parameters"]
        }
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise SettingsUnavailable(f"SSM refused to read {path}: {code}") from error
    except BotoCoreError as error:
        raise SettingsUnavailable(f"SSM could not be reached: {type(error).__name__}") from error


class SettingsCache:
    """Settings for the life of the sandbox, read again when they are older than `ttl_seconds`.

    When they cannot be read or have faults, the last good ones stay in force and the next request past
    `ttl_seconds` tries again; with none yet the error goes up, and the very next request tries again.
    """

    def __init__(
        self,
        read: Callable[[], Mapping[str, Parameter]],
        ttl_seconds: float,
        clock: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._read = read
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._telemetry = telemetry
        self._settings: Settings | None = None
        self._read_at = 0.0

    def get(self) -> Settings:
        """Raises SettingsUnavailable or FaultySettings where there are no good settings yet."""
        settings = self._settings
        if settings is None or self._clock() - self._read_at >= self._ttl_seconds:
            settings = self._refresh(settings)
        return settings

    def reload(self) -> Settings:
        """Read them again now. Raises SettingsUnavailable or FaultySettings where there are no good settings yet."""
        return self._refresh(self._settings)

    def _refresh(self, last_good: Settings | None) -> Settings:
        self._read_at = self._clock()
        try:
            settings = check_settings(self._read())
        except Unavailable as error:
            self._telemetry.settings_unusable(error)
            if last_good is None:
                raise
            return last_good
        if settings.unknown:
            self._telemetry.unknown_settings(settings.unknown)
        self._settings = settings
        return settings
