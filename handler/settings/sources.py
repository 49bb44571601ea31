"""The sources that one deployment serves, each with its settings: read from SSM, kept for a while.

What lies right under the settings path is the source `default`; what lies one level deeper belongs to the source of
that name and goes over it. One read of SSM gives the settings of all.
"""

from __future__ import annotations

import hmac
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from random import SystemRandom
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from handler.model.deadline import Deadline
from handler.model.errors import FaultySettings, SettingsUnavailable, UnknownSource
from handler.observability import Telemetry
from handler.settings.setting_types import Parameter
from handler.settings.settings import ROTATING, Settings, check_settings
from mapping import Fault

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient
    from mypy_boto3_ssm.type_defs import GetParametersByPathRequestTypeDef, GetParametersByPathResultTypeDef

DEFAULT_SOURCE = "default"

# SSM is read at most this often for a source that is not there or has faults: a change is found soon, and a stranger
# who tries names causes few reads.
UNUSABLE_SOURCE_SECONDS = 5.0

# Parameter Store answers 40 reads a second of the whole account, or 100 with higher throughput, and many cold starts
# at once need more. Each waits for up to so long before it tries again, as botocore does between its own two tries.
# https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-throughput.html
THROTTLED_SECONDS = 1.0

# The system's generator is not part of a snapshot: with another one, every execution environment that SnapStart
# restores would draw the same waits. https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
_RANDOM = SystemRandom()

_KEYS = ("apiKey", "apiToken")

Parameters = Mapping[str, Parameter]


def read_parameters(
    ssm: SSMClient, path: str, deadline: Deadline, wait: Callable[[float], object] = time.sleep
) -> dict[str, dict[str, Parameter]]:
    """Return the decrypted parameters under `path`, by source and by name.

    While Parameter Store refuses reads as too many, they are tried again until the deadline, after a `wait` in seconds.
    Raises SettingsUnavailable.
    """
    by_source: dict[str, dict[str, Parameter]] = {DEFAULT_SOURCE: {}}
    try:
        for page in _pages(ssm, path, deadline, wait):
            for parameter in page["Parameters"]:
                *folders, name = parameter["Name"].removeprefix(path).strip("/").split("/")
                if len(folders) < 2 and folders != [DEFAULT_SOURCE]:
                    source = folders[0] if folders else DEFAULT_SOURCE
                    value = Parameter(parameter["Value"], parameter["Type"] == "StringList")
                    by_source.setdefault(source, {})[name] = value
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        raise SettingsUnavailable(f"SSM refused to read {path}: {code}") from error
    except BotoCoreError as error:
        raise SettingsUnavailable(f"SSM could not be reached: {type(error).__name__}") from error
    return by_source


def _pages(
    ssm: SSMClient, path: str, deadline: Deadline, wait: Callable[[float], object]
) -> Iterator[GetParametersByPathResultTypeDef]:
    """Yield each page of the parameters under `path`: up to ten of them. Raises ClientError or BotoCoreError."""
    request: GetParametersByPathRequestTypeDef = {"Path": path, "Recursive": True, "WithDecryption": True}
    while True:
        try:
            page = ssm.get_parameters_by_path(**request)
        except ClientError as error:
            seconds = _RANDOM.uniform(0, THROTTLED_SECONDS)
            if error.response.get("Error", {}).get("Code") != "ThrottlingException" or deadline.seconds_left < seconds:
                raise
            wait(seconds)
            continue
        yield page
        if "NextToken" not in page:
            return
        request["NextToken"] = page["NextToken"]


class Sources:
    """The settings of each source, read again when they are older than `ttl_seconds`. Thread-safe.

    While they cannot be read or have faults, the last good settings keep their effect, and the next request after
    `ttl_seconds` tries again. Without good settings yet the error is raised; the next request tries again where SSM
    could not be read, and one after UNUSABLE_SOURCE_SECONDS where the settings have faults.
    """

    def __init__(
        self,
        read: Callable[[Deadline], Mapping[str, Parameters]],
        ttl_seconds: float,
        clock: Callable[[], float],
        telemetry: Telemetry,
    ) -> None:
        self._read = read
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        self._telemetry = telemetry
        self._lock = threading.RLock()
        self._read_at = -math.inf
        self._failure: SettingsUnavailable | None = None  # of the last read
        self._common: Parameters = {}
        self._own: Mapping[str, Parameters] = {}
        self._effective: dict[str, Settings] = {}
        # By source, the faults in the parameters of the last read; None where there are none.
        self._checked: dict[str, FaultySettings | None] = {}

    def settings(self, source: str, deadline: Deadline) -> Settings:
        """Return the settings of a source.

        Raises UnknownSource, or SettingsUnavailable or FaultySettings where there are no good settings yet.
        """
        with self._lock:
            is_faulty = source not in self._effective and self._checked.get(source) is not None
            longest = UNUSABLE_SOURCE_SECONDS if is_faulty or source not in self._own else self._ttl_seconds
            self._refresh_after(min(longest, self._ttl_seconds), deadline)
            return self._settings(source)

    def reload(self, source: str, deadline: Deadline) -> Settings:
        """Read the settings again now, and return those of a source. Raises as `settings` does."""
        with self._lock:
            self._refresh_after(0, deadline)
            return self._settings(source)

    def of_access_token(self, token: bytes, deadline: Deadline) -> Settings | None:
        """Return the settings of the source with this access token, or None.

        Raises SettingsUnavailable, or FaultySettings of a source that may have this token.
        """
        with self._lock:
            self._refresh_after(self._ttl_seconds, deadline)
            found = self._with_access_token(token)
            if found is None:
                self._refresh_after(UNUSABLE_SOURCE_SECONDS, deadline)
                found = self._with_access_token(token)
            if found is None:
                for error in self._checked.values():
                    if error and error.source not in self._effective:
                        raise error
                if self._failure:  # it may be the token of a new source
                    raise self._failure
            return found

    def _with_access_token(self, token: bytes) -> Settings | None:
        """Return the first source with the token: `default`, then the others in the order of their names."""
        found = None
        for source in sorted(self._own, key=lambda source: (source != DEFAULT_SOURCE, source)):
            with suppress(FaultySettings):
                settings = self._settings(source)
                # All tokens are compared, so that the time tells a stranger nothing.
                matches = [hmac.compare_digest(own.encode(), token) for own in settings.secrets.access_tokens]
                found = found or (settings if any(matches) else None)
        return found

    def _refresh_after(self, seconds: float, deadline: Deadline) -> None:
        now = self._clock()
        if now - self._read_at < seconds:
            return
        try:
            parameters = self._read(deadline)
        except SettingsUnavailable as error:
            self._telemetry.settings_unusable(error, "all")
            self._failure = error
            if not self._own:
                raise
        else:
            self._failure = None
            self._common = parameters[DEFAULT_SOURCE]
            self._own = {source: own for source, own in parameters.items() if is_source(source, parameters)}
            self._checked.clear()
        self._read_at = now

    def _settings(self, source: str) -> Settings:
        if source not in self._own:
            if self._failure:  # it may be a new source
                raise self._failure
            self._effective.pop(source, None)
            raise UnknownSource(source)
        if source not in self._checked:
            self._checked[source] = self._check(source)
        error = self._checked[source]
        if error and source not in self._effective:
            raise error
        return self._effective[source]

    def _check(self, source: str) -> FaultySettings | None:
        try:
            settings = merged_settings(source, self._own[source], self._common)
        except FaultySettings as error:
            self._telemetry.settings_unusable(error, source)
            return error
        if settings.unknown:
            self._telemetry.unknown_settings(settings.unknown, source)
        self._effective[source] = settings
        return None


def is_source(source: str, parameters: Mapping[str, Parameters]) -> bool:
    """Return whether there is such a source. Common settings without keys are no source where others have keys."""
    return source != DEFAULT_SOURCE or len(parameters) == 1 or bool(parameters[source].keys() & set(_KEYS))


def inherited(own: Parameters, common: Parameters) -> dict[str, Parameter]:
    """Return the common parameters that a source inherits: not the previous value of a secret of its own."""
    replaced = {f"{name}Previous" for name in ROTATING if name in own}
    return {name: parameter for name, parameter in common.items() if name not in replaced}


def merged_settings(source: str, own: Parameters, common: Parameters) -> Settings:
    """Return the settings of a source: its own over the common ones. Raises FaultySettings."""
    if source != DEFAULT_SOURCE and len(own.keys() & set(_KEYS)) == 1:
        # It would mix one project's keys with another's.
        (missing,) = set(_KEYS) - own.keys()
        raise FaultySettings(
            source, [Fault(missing, "", f"is not set for the source {source}, which has its own keys")]
        )
    if source != DEFAULT_SOURCE and "apiUrl" in own and not own.keys() & set(_KEYS):
        # Otherwise, a person who may write this one parameter could have everybody's keys sent to any address.
        raise FaultySettings(
            source,
            [Fault("apiUrl", "", f"is set for the source {source}, which needs its own apiKey and apiToken then")],
        )
    return check_settings(source, {**inherited(own, common), **own})
