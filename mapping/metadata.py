"""Metadata and the schemas that a Voucherify project has for it: what fits, what can be made to fit, and what cannot.

Sources, read on 2026-11-28: https://docs.voucherify.io/prepare/metadata (types, validation modes) and
https://docs.voucherify.io/api-reference/metadata-schemas/list-metadata-schemas (the format). The facts used here:

- A schema is for one `related_object`: `customer`, `order`, or the name of a nested object. `properties` has its
  definitions by key, each with `type`, `array`, `optional`, `objectType` (the name of a nested schema) and restrictions
  such as `eq`.
- A definition with `deleted` no longer applies; its key counts as one that is not defined.
- `allow_defined_only` is the strict mode, which refuses keys that are not defined. Defined ones are always checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

from mapping.mapping_settings import IDENTIFY, ORDER, PAGE, SCREEN, TRACK, NamedRules, RulesByName
from mapping.requests.request import Operation, Request
from mapping.trace import LeftOut
from mapping.values import ConversionError, kind_of, to_text

# JavaScript holds no larger integer exactly: https://tc39.es/ecma262/#sec-number.max_safe_integer
_MAX_INTEGER = 2**53 - 1

# A double keeps this many significant digits: https://en.wikipedia.org/wiki/Double-precision_floating-point_format
_DIGITS = 15

_NUMBER = re.compile(r"-?((?:0|[1-9]\d{0,30})(?:\.\d{1,30})?)(?:[eE][+-]?\d{1,2})?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_GEOPOINT = re.compile(r"-?\d{1,2}(\.\d+)?,\s*-?\d{1,3}(\.\d+)?")
# "must be a URL pointing to JPG/JPEG or PNG resource": https://docs.voucherify.io/api-reference/publications/create-publication-with-get
_IMAGE_URL = re.compile(r"https?://[^/\s]+/[^?#\s]*\.(jpe?g|png)([?#]\S*)?", re.IGNORECASE)

# The reference has no example of a custom event's schema in the list. It is looked for under the event's own name, and
# then under these. A schema of one of Voucherify's own resources, or of a nested object, is none of an event's.
_ANY_EVENT = ("custom_event", "event")
_RESOURCES = frozenset(
    {"campaign", "customer", "earning_rule", "loyalty_tier", "order", "order_item", "product", "promotion_tier"}
    | {"publication", "redemption", "reward", "voucher"}
)

CUSTOMER_METADATA = "customer.metadata"
EVENT_METADATA = "metadata"
ORDER_METADATA = "order.metadata"


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition of one key. `restrictions` are `eq`, `ne`, `lt`, `maxLength` and so on."""

    type: str
    is_array: bool
    is_required: bool
    object_type: str | None
    restrictions: Mapping[str, Any]

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Definition:
        object_type = document.get("objectType")
        return cls(
            type=str(document.get("type")),
            is_array=document.get("array") is True,
            is_required=document.get("optional") is False,
            object_type=object_type if isinstance(object_type, str) else None,
            restrictions={name: document[name] for name in _RESTRICTIONS if _is_restriction(name, document.get(name))},
        )


@dataclass(frozen=True, slots=True)
class MetadataSchema:
    """The definitions of one object's metadata. `is_strict`: keys that are not defined are refused."""

    definitions: Mapping[str, Definition]
    is_strict: bool

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> MetadataSchema:
        properties = document.get("properties")
        definitions = {
            key: Definition.read(definition)
            for key, definition in (properties if isinstance(properties, dict) else {}).items()
            if isinstance(definition, dict) and definition.get("deleted") is not True
        }
        return cls(definitions, document.get("allow_defined_only") is True)

    def problem_at(self, path: str) -> str:
        """Return why no value at a dotted path can fit; empty where one can."""
        key, _, inner = path.partition(".")
        definition = self.definitions.get(key)
        if definition is None:
            return "the schema does not define it, and allows only defined metadata" if self.is_strict else ""
        if inner and definition.type != "object":
            return f"{key} is of type {definition.type} in the schema, not an object"
        return ""

    def missing(self, metadata: Mapping[str, Any]) -> list[str]:
        """Return the required keys that the metadata lacks."""
        return [key for key, one in self.definitions.items() if one.is_required and metadata.get(key) is None]


class MetadataSchemas:
    """The metadata schemas of one project, by their `related_object`."""

    def __init__(self, by_object: Mapping[str, MetadataSchema]) -> None:
        self._by_object = by_object
        nested = {one.object_type for schema in by_object.values() for one in schema.definitions.values()}
        self._of_events = {name: one for name, one in by_object.items() if name not in _RESOURCES | nested}

    @classmethod
    def read(cls, document: object) -> MetadataSchemas:
        """Return the schemas in the body of `GET /v1/metadata-schemas`. A part that cannot be read is left out."""
        found = document.get("schemas") if isinstance(document, dict) else None
        return cls(
            {
                one["related_object"]: MetadataSchema.read(one)
                for one in (found if isinstance(found, list) else [])
                if isinstance(one, dict) and isinstance(one.get("related_object"), str)
            }
        )

    def __bool__(self) -> bool:
        """Whether the project has a schema for customers, for orders or for custom events."""
        return bool(self._by_object.keys() & {"customer", "order"}) or bool(self._of_events)

    def of_customer(self) -> MetadataSchema | None:
        return self._by_object.get("customer")

    def of_order(self) -> MetadataSchema | None:
        return self._by_object.get("order")

    def of_event(self, name: str) -> MetadataSchema | None:
        return next((self._of_events[one] for one in (name, *_ANY_EVENT) if one in self._of_events), None)

    def fit(self, request: Request) -> Request:
        """Return the request with metadata that fits. A value that cannot be made to fit is in its `left_out`."""
        if not request.body:
            return request
        body = dict(request.body)
        left_out = list(request.left_out)
        for part in self._parts(request):
            if part.schema and part.metadata:
                fitted = self._fit_object(part.metadata, part.schema, part.destination, left_out)
                body = _with_metadata(body, fitted, part.in_customer)
        return request._replace(body=body, left_out=tuple(left_out))

    def missing(self, request: Request) -> list[str]:
        """Return the required metadata that a request lacks, as destinations of a mapping."""
        return [
            f"{part.destination}.{key}"
            for part in self._parts(request)
            if part.schema
            for key in part.schema.missing(part.metadata or {})
        ]

    def row_problems(self, setting: str, rules: RulesByName) -> list[str]:
        """Return what in the rows of a mapping setting cannot fit, whatever the events hold."""
        found: list[str] = []
        for named in rules:
            place = _Place(setting, named, "every event", CUSTOMER_METADATA)
            found += place.problems(self.of_customer(), must_fill=setting == IDENTIFY.name)
            if setting == ORDER.name:
                place = _Place(setting, named, "every order", ORDER_METADATA)
                found += place.problems(self.of_order(), must_fill=True)
        if setting in (TRACK.name, PAGE.name, SCREEN.name):
            for name, schema in self._of_events.items():
                for named in [rules.find(name)] if setting == TRACK.name else rules:
                    place = _Place(setting, named, repr(name), EVENT_METADATA)
                    found += place.problems(schema, must_fill=setting == TRACK.name)
        return found

    def _parts(self, request: Request) -> list[_Part]:
        body = request.body or {}
        if request.operation is Operation.UPSERT_CUSTOMER:
            return [_Part(CUSTOMER_METADATA, self.of_customer(), body.get("metadata"))]
        if request.operation is Operation.TRACK_EVENT:
            customer = body["customer"].get("metadata")
            return [
                _Part(CUSTOMER_METADATA, self.of_customer(), customer, in_customer=True),
                _Part(EVENT_METADATA, self.of_event(body["event"]), body.get("metadata")),
            ]
        if request.operation is Operation.UPSERT_ORDER:
            customer = body["customer"].get("metadata")
            return [
                _Part(CUSTOMER_METADATA, self.of_customer(), customer, in_customer=True),
                _Part(ORDER_METADATA, self.of_order(), body.get("metadata")),
            ]
        return []

    def _fit_object(
        self, metadata: Mapping[str, Any], schema: MetadataSchema, place: str, left_out: list[LeftOut]
    ) -> dict[str, Any]:
        fitted: dict[str, Any] = {}
        for key, value in metadata.items():
            definition, name = schema.definitions.get(key), f"{place}.{key}"
            try:
                if definition:
                    fitted[key] = self._fit(value, definition, name, left_out)
                elif schema.is_strict:
                    raise ConversionError("the schema does not define it, and allows only defined metadata")
                else:
                    fitted[key] = value
            except ConversionError as error:
                left_out.append(LeftOut("", name, f"does not fit Voucherify's metadata schema: {error}"))
        return fitted

    def _fit(self, value: Any, definition: Definition, place: str, left_out: list[LeftOut]) -> Any:
        """Return the value as its definition wants it. Raises ConversionError where that would lose something."""
        if value is None:  # "null: the metadata is added to the resource, but its value is empty"
            return None
        if definition.is_array:
            items = value if isinstance(value, list) else [value]
            return [self._fit_one(item, definition, place, left_out) for item in items]
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        return self._fit_one(value, definition, place, left_out)

    def _fit_one(self, value: Any, definition: Definition, place: str, left_out: list[LeftOut]) -> Any:
        if definition.type == "object":
            if not isinstance(value, dict):
                raise ConversionError(f"{kind_of(value)} is not an object")
            nested = self._by_object.get(definition.object_type or "")
            if nested is None:
                return value
            value = self._fit_object(value, nested, place, left_out)
            if missing := nested.missing(value):
                raise ConversionError(f"required keys are missing: {', '.join(missing)}")
            return value
        convert = _CONVERSIONS.get(definition.type)
        if convert:  # a type that Voucherify adds later is left to Voucherify
            value = convert(value)
        for name, limit in definition.restrictions.items():
            if not _RESTRICTIONS[name](value, limit):
                raise ConversionError(f"the schema's restriction {name} excludes the value")
        return value


class _Place(NamedTuple):
    """The metadata of `events` that the rows of a mapping setting fill, and its place in a request."""

    setting: str
    named: NamedRules
    events: str
    place: str

    def problems(self, schema: MetadataSchema | None, *, must_fill: bool) -> list[str]:
        """Return the rows that cannot fit, and the required keys that no row fills if one must."""
        if schema is None:
            return []
        where = str(self.named) if self.named.parameter else f"{self.setting} (default)"
        rows = [(rule.source.text, rule.destination) for rule in self.named.rules]
        below = {row: row[1][len(self.place) + 1 :] for row in rows if row[1].startswith(f"{self.place}.")}
        found = [
            f"{where}: {source} → {destination} is left out of {self.events}: {why}"
            for (source, destination), path in below.items()
            if (why := schema.problem_at(path))
        ]
        if must_fill and not any(destination == self.place for _, destination in rows):  # an object may have any key
            filled = {path.partition(".")[0]: path for path in below.values()}
            found += [
                f"{where}: no row fills {self.place}.{key}, which is required in {self.events}"
                for key in schema.missing(filled)
            ]
        return found


class _Part(NamedTuple):
    """Metadata of a request: its destination in a mapping, its schema, and what is there."""

    destination: str
    schema: MetadataSchema | None
    metadata: Any
    in_customer: bool = False


def _with_metadata(body: dict[str, Any], metadata: dict[str, Any], in_customer: bool) -> dict[str, Any]:
    """Return a body with other metadata, of itself or of its customer. Empty metadata is left out."""
    if in_customer:
        return {**body, "customer": _with_metadata(body["customer"], metadata, in_customer=False)}
    rest = {key: value for key, value in body.items() if key != "metadata"}
    return {**rest, "metadata": metadata} if metadata else rest


def _string(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return to_text(value)


def _number(value: Any) -> float:
    if _is_number(value):
        kept: float = value
        return kept
    if not isinstance(value, str):
        raise ConversionError(f"{kind_of(value)} is not a number")
    text = value.strip()
    matched = _NUMBER.fullmatch(text)
    if not matched:  # "007" is none: it would lose its zeros
        raise ConversionError("the text is not a number")
    is_integer = text.lstrip("-").isdigit()
    number: float = int(text) if is_integer else float(text)
    digits = matched[1].replace(".", "").strip("0")
    if (abs(number) > _MAX_INTEGER) if is_integer else (len(digits) > _DIGITS):
        raise ConversionError("the number has more digits than JSON keeps")
    return number


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (text := value.strip().lower()) in ("true", "false"):
        return text == "true"
    raise ConversionError(f"{kind_of(value)} is not true or false")


def _date(value: Any) -> str:
    """Return `YYYY-MM-DD`. A moment within the day would lose its time."""
    day, moment = _parse(value)
    if moment and moment.time() != time():
        raise ConversionError("the date would lose its time")
    return day.isoformat()


def _date_time(value: Any) -> str:
    """Return an ISO 8601 date-time with its time zone. A date is its midnight; without a time zone, it is in UTC."""
    day, moment = _parse(value)
    if moment and _MOMENT.fullmatch(value.strip()):
        return str(value.strip())
    moment = moment or datetime.combine(day, time(), UTC)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    precision = "milliseconds" if moment.microsecond % 1000 == 0 else "microseconds"
    return moment.isoformat(timespec=precision).replace("+00:00", "Z")


def _parse(value: Any) -> tuple[date, datetime | None]:
    """Return the day of an ISO 8601 text, and its moment where it has a time. No number: its unit would be a guess."""
    if not isinstance(value, str):
        raise ConversionError(f"{kind_of(value)} is not a date")
    text = value.strip()
    try:
        moment = datetime.fromisoformat(text)
        return moment.date(), None if _DAY.fullmatch(text) else moment
    except ValueError as error:
        raise ConversionError("the text is not an ISO 8601 date") from error


def _geopoint(value: Any) -> str:
    return _matching(value, _GEOPOINT, 'the value is not "latitude, longitude"')


def _image_url(value: Any) -> str:
    return _matching(value, _IMAGE_URL, "the value is not the URL of a JPG or PNG image")


def _matching(value: Any, pattern: re.Pattern[str], problem: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value.strip()):
        raise ConversionError(problem)
    return value.strip()


_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "string": _string,
    "number": _number,
    "boolean": _boolean,
    "date": _date,
    "datetime": _date_time,
    "geopoint": _geopoint,
    "image_url": _image_url,
}

# Whether a value meets a restriction of its definition. A value of another kind is not restricted by it.
_RESTRICTIONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, allowed: value in allowed,
    "ne": lambda value, refused: value not in refused,
    "lt": lambda value, limit: not _is_number(value) or value < limit,
    "lte": lambda value, limit: not _is_number(value) or value <= limit,
    "gt": lambda value, limit: not _is_number(value) or value > limit,
    "gte": lambda value, limit: not _is_number(value) or value >= limit,
    "minLength": lambda value, length: not isinstance(value, str) or len(value) >= length,
    "maxLength": lambda value, length: not isinstance(value, str) or len(value) <= length,
    "exactLength": lambda value, length: not isinstance(value, str) or len(value) == length,
}


def _is_restriction(name: str, limit: object) -> bool:
    """Whether a limit has the published form: a list of values, or a number."""
    return isinstance(limit, list) and bool(limit) if name in ("eq", "ne") else _is_number(limit)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
