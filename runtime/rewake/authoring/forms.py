"""Forms of approvals: a JSON Schema, a property map, or a type, which answers then become.

Recorded is the schema, so that an answer is checked in every process, also in one without the
app. What a type asks beyond its schema (a validator of its own) is found out when it is made.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from rewake.authoring.conversion import Converter, Converters
from rewake.authoring.marking import hidden_in
from rewake.errors import RewakeError, UsageError
from rewake.values.drawn import given_in_full, names_in_json
from rewake.values.fields import drawn_fields
from rewake.values.redaction import secretive, without_secrets
from rewake.values.schemas import checked_schema, schema_of

Form: TypeAlias = Mapping[str, Any] | Any
"""A JSON Schema, a property map, or a type."""


def recorded_form(form: Form | None) -> dict[str, Any] | None:
    """The form as it is recorded, without the defaults of what is secret: people are shown it.

    Raises `UsageError` if it is none.
    """
    if form is None:
        return None
    if not isinstance(form, Mapping):
        _converter(form)
        return without_secrets(checked_schema(_schema(form)))
    plain = checked_schema(form)
    schema = schema_of(plain)
    bare = without_secrets(schema)
    return bare if schema == plain else bare["properties"]


def hidden_in_form(form: Form | None) -> tuple[str, ...]:
    """The secret parts of an answer, as its type says; a schema says it by itself."""
    return () if form is None or isinstance(form, Mapping) else hidden_in(form)


def filled_in(form: Form | None, value: Any) -> Any:
    """An answer as what the form says. Raises `InvalidInput` if it does not become it."""
    if form is None or isinstance(form, Mapping):
        return value
    return given_in_full(_converter(form)(value, "value", False), value, "value")


def _schema(kind: Any) -> dict[str, Any]:
    try:
        found = _by_pydantic(kind) or msgspec.json.schema(kind)
    except Exception as error:
        raise UsageError(f"no form can be made of {kind!r}: {error}") from None
    found = secretive(found, hidden_in(kind))
    reference = found.get("$ref", "")
    inner = found.get("$defs", {}).get(reference.removeprefix("#/$defs/"))
    # The fields of a form are looked for at its top.
    return _in_full({**inner, "$defs": found["$defs"]} if inner else found, kind)


def _in_full(schema: dict[str, Any], kind: Any) -> dict[str, Any]:
    """The schema that asks for each field whose default is drawn (`values/drawn.py`)."""
    if not isinstance(kind, type) or not (drawn := drawn_fields(kind)):
        return schema
    names = names_in_json(kind)
    needed = dict.fromkeys([*schema.get("required", ()), *(names[each] for each in sorted(drawn))])
    return {**schema, "required": list(needed)}


def _by_pydantic(kind: Any) -> dict[str, Any] | None:
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not hasattr(kind, "__pydantic_validator__"):
        return None
    schema: dict[str, Any] = pydantic.TypeAdapter(kind).json_schema()
    return schema


def _converter(kind: Any) -> Converter:
    try:
        return _known_converter(kind)
    except (RewakeError, TypeError) as error:  # what has no hash is no type
        raise UsageError(f"no form can be made of {kind!r}: {error}") from None


@functools.lru_cache(maxsize=256)
def _known_converter(kind: Any) -> Converter:
    return Converters().of(kind)
