"""The metadata schemas of a project, and why metadata does not fit them.

Format: https://docs.voucherify.io/api-reference/metadata-schemas/list-metadata-schemas, modes:
https://docs.voucherify.io/prepare/metadata, errors: https://docs.voucherify.io/api-reference/vouchers/validate-voucher
The reference does not define a valid date: the stub accepts what its examples have, `2022-12-01` and
`2022-12-01T09:24:33.061Z`.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from local.voucherify_stub.schemas import Json

_MOMENT = "2022-03-07T11:01:01.747Z"


def metadata_schema(related_object: str, *, strict: bool = False, **definitions: Json) -> Json:
    """Return a schema. A definition needs a `type`; by default it is optional and no array."""
    properties = {
        key: {"array": False, "optional": True, "objectType": None, **definition}
        for key, definition in definitions.items()
    }
    return {
        "id": f"ms_{related_object}",
        "related_object": related_object,
        "properties": properties,
        "allow_defined_only": strict,
        "created_at": _MOMENT,
        "updated_at": None,
        "object": "metadata_schema",
    }


def metadata_schema_list(schemas: list[Json]) -> Json:
    return {"object": "list", "data_ref": "schemas", "schemas": schemas, "total": len(schemas)}


def faults_of_metadata(related_object: str, metadata: Json, schemas: list[Json]) -> list[str]:
    """Return why metadata does not fit the schema of an object; nothing where it has none."""
    return list(_faults(related_object, metadata, {schema["related_object"]: schema for schema in schemas}))


def _faults(related_object: str, metadata: Json, schemas: dict[str, Json]) -> Iterator[str]:
    schema = schemas.get(related_object)
    if schema is None:
        return
    definitions = {key: one for key, one in schema["properties"].items() if not one.get("deleted")}
    for key, definition in definitions.items():
        if not definition["optional"] and metadata.get(key) is None:
            yield f"{key}: is required"
    for key, value in metadata.items():
        if key not in definitions:
            if schema["allow_defined_only"]:
                yield f"{key}: is not defined"
        elif value is not None and (rules := list(_broken(value, definitions[key], schemas))):
            array = "must be an array, and every element: " if definitions[key]["array"] else ""
            yield f"{key}: {array}{', '.join(rules)} (actual value is {value!r})"


def _broken(value: Any, definition: Json, schemas: dict[str, Json]) -> Iterator[str]:
    """Yield the rules of a definition that a value breaks."""
    is_right, rule = _TYPES[definition["type"]]
    if definition["array"] != isinstance(value, list):
        yield rule
        return
    for item in value if definition["array"] else [value]:
        if not is_right(item):
            yield rule
        elif definition["type"] == "object":
            yield from _faults(definition["objectType"] or "", item, schemas)
        else:
            yield from _broken_restrictions(item, definition)


def _broken_restrictions(value: Any, definition: Json) -> Iterator[str]:
    if "eq" in definition and value not in definition["eq"]:
        yield f"must be equal to one of {','.join(map(str, definition['eq']))}"
    if "gte" in definition and value < definition["gte"]:
        yield f"must be greater than or equal to {definition['gte']}"
    if "maxLength" in definition and len(value) > definition["maxLength"]:
        yield f"must have at most {definition['maxLength']} characters"


def _matches(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


_TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "string": (lambda value: isinstance(value, str), "must be a string"),
    "number": (lambda value: isinstance(value, int | float) and not isinstance(value, bool), "must be a number"),
    "boolean": (lambda value: isinstance(value, bool), "must be a boolean"),
    "date": (_matches(r"\d{4}-\d\d-\d\d"), "must be a date"),
    "datetime": (_matches(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"), "must be a date-time"),
    "geopoint": (_matches(r"-?[\d.]+, ?-?[\d.]+"), "must be a geopoint"),
    "image_url": (_matches(r"https?://\S+\.(jpg|jpeg|png)"), "must be a URL pointing to JPG/JPEG or PNG resource"),
    "object": (lambda value: isinstance(value, dict), "must be an object"),
}
