"""The types of settings: each reads its SSM parameter, and has a JSON Schema."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from handler.model.strict_json import describe_decode_error
from mapping import ORDER, TRACK, Fault, MappingSetting, OrderStatus, destination_schema

# Letters, digits, hyphens and dots: other alphabets are written in Punycode. An IPv6 address stands in brackets.
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|[0-9a-f:.]*:[0-9a-f:.]*", re.ASCII)

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Parameter(NamedTuple):
    """One SSM parameter: its value, and whether it is a StringList."""

    value: str
    is_list: bool = False


class InvalidSettingValue(Exception):
    """A parameter's value does not suit its setting. `faults` say what the value must be, and never hold it."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults)
        self.faults = faults


class SettingType(Protocol):
    """One type of setting. `ssm_type` is the type of its SSM parameter."""

    @property
    def ssm_type(self) -> str: ...

    def read(self, name: str, parameter: Parameter) -> Any:
        """Return the value of a parameter that is set. Raises InvalidSettingValue."""

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the setting, for a settings file."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Text that must not be shown; with `in_header`, text that an HTTP header can hold."""

    in_header: bool = False
    ssm_type: str = "SecureString"

    def read(self, name: str, parameter: Parameter) -> str:
        value = parameter.value
        if value != value.strip():
            raise InvalidSettingValue(Fault(name, "", "begins or ends with white space; remove it"))
        if self.in_header and not (value.isascii() and value.isprintable()):
            raise InvalidSettingValue(Fault(name, "", "has characters that an HTTP header cannot hold"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1, "writeOnly": True}


@dataclass(frozen=True, slots=True)
class Url:
    """The address of a Voucherify cluster."""

    example: str
    ssm_type: str = "String"

    def read(self, name: str, parameter: Parameter) -> str:
        value = parameter.value.strip().rstrip("/")
        try:
            url = urlsplit(value)
            has_address = bool(_HOST.fullmatch(url.hostname or "")) and url.port != 0 and _is_printable(parameter.value)
        except ValueError:
            url, has_address = urlsplit(""), False
        if not has_address:
            raise InvalidSettingValue(
                Fault(name, "", f"must be the address of the project's cluster, such as {self.example}")
            )
        if url.username is not None or url.path or url.query or url.fragment:
            raise InvalidSettingValue(Fault(name, "", "must have a host only: no user, path, query or fragment"))
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
            raise InvalidSettingValue(Fault(name, "", "must begin with https:// (http:// is for loopback)"))
        # One spelling for each project, whose customers and limits its sources share.
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        is_default_port = url.port in (None, 443 if url.scheme == "https" else 80)
        return f"{url.scheme}://{host}" + ("" if is_default_port else f":{url.port}")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uri"}


def _is_printable(value: str) -> bool:
    # `urlsplit` drops line breaks and tabs within a URL.
    return value.strip().isascii() and value.strip().isprintable()


@dataclass(frozen=True, slots=True)
class Flag:
    """`true` or `false`."""

    ssm_type: str = "String"

    def read(self, name: str, parameter: Parameter) -> bool:
        value = parameter.value.strip().lower()
        if value not in {"true", "false"}:
            raise InvalidSettingValue(Fault(name, "", "must be true or false"))
        return value == "true"

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class WholeNumber:
    """A whole number between two others."""

    least: int
    most: int
    ssm_type: str = "String"

    def read(self, name: str, parameter: Parameter) -> int:
        value = parameter.value.strip()
        if not (value.isascii() and value.isdecimal() and len(value) < 20 and self.least <= int(value) <= self.most):
            raise InvalidSettingValue(Fault(name, "", f"must be a whole number from {self.least} to {self.most}"))
        return int(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: Sequence[str]
    ssm_type: str = "String"

    def read(self, name: str, parameter: Parameter) -> str:
        value = parameter.value.strip()
        if value not in self.words:
            raise InvalidSettingValue(Fault(name, "", f"must be {' or '.join(self.words)}"))
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Names:
    """Names as a JSON array or a StringList. The mapping checks them."""

    ssm_type: str = "String or StringList"

    def read(self, name: str, parameter: Parameter) -> object:
        if parameter.is_list:
            return [part for part in map(str.strip, parameter.value.split(",")) if part]
        return _json(name, parameter)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"type": "string", "minLength": 1}}


@dataclass(frozen=True, slots=True)
class Mapping:
    """A JSON object of source to destination, or of event name to such an object. The mapping checks them."""

    setting: MappingSetting
    ssm_type: str = "String"

    def read(self, name: str, parameter: Parameter) -> object:
        return _json(name, parameter)

    def schema(self) -> dict[str, Any]:
        rows = {"$ref": f"#/$defs/{'rowsOfOrder' if self.setting is ORDER else 'rows'}"}
        by_name = {"type": "object", "minProperties": 1, "additionalProperties": rows}
        return {"anyOf": [rows, by_name]} if self.setting.has_names else rows


@dataclass(frozen=True, slots=True)
class Statuses:
    """A JSON object of event name to the status of an order. The mapping checks them."""

    ssm_type: str = "String"

    def read(self, name: str, parameter: Parameter) -> object:
        return _json(name, parameter)

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"enum": [status.value for status in OrderStatus]}}


def _rows_schema(destination: str) -> dict[str, Any]:
    one = {"$ref": f"#/$defs/{destination}"}
    several = {"type": "array", "items": one, "minItems": 1}
    return {"type": "object", "additionalProperties": {"anyOf": [one, several]}}


DEFINITIONS = {
    "rows": _rows_schema("destination"),
    "rowsOfOrder": _rows_schema("destinationOfOrder"),
    "destination": destination_schema(TRACK.parts),
    "destinationOfOrder": destination_schema(ORDER.parts),
}


def _json(name: str, parameter: Parameter) -> object:
    try:
        return json.loads(parameter.value, object_pairs_hook=without_duplicates)
    except DuplicateKeys as duplicate:
        problem = "is there twice; remove one of them"
        raise InvalidSettingValue(*(Fault(name, key, problem) for key in duplicate.keys)) from duplicate
    except (ValueError, RecursionError) as error:
        raise InvalidSettingValue(Fault(name, "", f"is not JSON: {describe_decode_error(error)}")) from error


class DuplicateKeys(ValueError):
    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(keys)
        self.keys = keys


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    twice: dict[str, None] = {}
    for key, value in pairs:
        if key in result:
            twice[key] = None
        result[key] = value
    if twice:
        raise DuplicateKeys(list(twice))
    return result
