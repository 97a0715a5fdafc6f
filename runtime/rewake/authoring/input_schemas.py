"""JSON Schemas of what a workflow takes and returns, made of its type hints.

They tell clients what to send; what is sent is checked by `authoring/conversion.py` alone. What a
hint says that no schema can say is left open (`{}`), so a schema never refuses what would fit.
"""

from __future__ import annotations

import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from rewake.authoring.fields import fields_of
from rewake.authoring.hints import hints_of, return_hint, signature_of
from rewake.authoring.marking import hidden_in

_REFERENCE = "#/$defs/"
_RAW = "raw:"
"""Stands before the name of a class, until it has the name of its definition."""
_NO_NAME = re.compile(r"[^A-Za-z0-9_]")
_NAMED = frozenset({"properties", "patternProperties", "mapping"})
"""What has a schema, or a reference, by any name."""
_DATA = frozenset({"default", "const", "enum", "examples"})
_UNION = (typing.Union, types.UnionType)


class Schemas:
    """Makes schemas, whose classes are `definitions` under `reference`."""

    def __init__(self, reference: str = _REFERENCE) -> None:
        self.definitions: dict[str, Any] = {}
        self._reference = reference

    def of(self, hint: Any) -> dict[str, Any]:
        """The schema of a type hint; empty for one that has none."""
        for make in (self._by_pydantic, self._by_msgspec, self._by_parts):
            with suppress(Exception):  # hints may be anything
                return make(hint)
        return {}

    def of_input(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The schema of the arguments of a function, by name."""
        signature, hints = signature_of(function), hints_of(function)
        properties: dict[str, Any] = {}
        required: list[str] = []
        rest: Any = signature is None
        for each in signature.parameters.values() if signature else ():
            hint = hints.get(each.name, Any)
            if each.kind is each.VAR_POSITIONAL:
                continue
            if each.kind is not each.VAR_KEYWORD:
                hidden = hidden_in(hint)
                default = {} if hidden else _default(each.default, each.empty)
                mark = {"writeOnly": True} if "" in hidden else {}
                properties[each.name] = self.of(hint) | default | mark
                required += [each.name] if each.default is each.empty else []
            elif typing.get_origin(hint) is typing.Unpack:
                self._add_fields(typing.get_args(hint)[0], properties, required)
            else:
                rest = self.of(hint)
        found = {"type": "object", "properties": properties, "additionalProperties": rest}
        return found | ({"required": required} if required else {})

    def of_result(self, function: Callable[..., Any]) -> dict[str, Any]:
        """The schema of what a function returns."""
        if "return" not in hints_of(function):
            return {}
        hint = return_hint(function)
        return {"type": "null"} if hint in (None, types.NoneType) else self.of(hint)

    def _add_fields(self, kind: Any, properties: dict[str, Any], required: list[str]) -> None:
        for each in fields_of(typing.get_origin(kind) or kind, typing.get_args(kind)) or ():
            properties[each.name] = self.of(each.hint)
            required += [each.name] if each.required else []

    def _by_pydantic(self, hint: Any) -> dict[str, Any]:
        pydantic: Any = sys.modules.get("pydantic")
        if pydantic is None or not hasattr(hint, "__pydantic_validator__"):
            raise TypeError
        template = f"{_RAW}{{model}}"
        schema: dict[str, Any] = pydantic.TypeAdapter(hint).json_schema(ref_template=template)
        inner = schema.pop("$defs", {})
        if "$ref" not in schema and "title" in schema:  # one definition, wherever it is used
            name = hint.__name__ + "_" * (hint.__name__ in inner)
            inner[name], schema = schema, {"$ref": f"{_RAW}{name}"}
        return self._defined(schema, inner, hint)

    def _by_msgspec(self, hint: Any) -> dict[str, Any]:
        (schema,), inner = msgspec.json.schema_components(
            [hint], schema_hook=self.of, ref_template=f"{_RAW}{{name}}"
        )
        return self._defined(schema, inner, hint)

    def _defined(self, schema: Any, inner: Mapping[str, Any], hint: Any) -> dict[str, Any]:
        """The schema, when its classes have become definitions."""
        _hide([schema, *inner.values()], hidden_in(hint))
        # Two modules may each have a class of one name.
        for suffix in ("", *(f"_{number}" for number in range(2, 100))):
            names = _names(inner, suffix)
            references = {f"{_RAW}{raw}": self._reference + name for raw, name in names.items()}
            found = {
                name: {**_for_clients(inner[raw], references), "title": name}
                for raw, name in names.items()
            }
            if all(self.definitions.get(name, each) == each for name, each in found.items()):
                self.definitions |= found
                made: dict[str, Any] = _for_clients(schema, references)
                return made
        raise TypeError

    def _by_parts(self, hint: Any) -> dict[str, Any]:
        """Of what msgspec does not know as a whole, such as a union of two dataclasses."""
        origin, inner = typing.get_origin(hint) or hint, typing.get_args(hint)
        if origin is typing.Annotated:
            return self.of(inner[0])
        if origin in _UNION:
            return {"anyOf": [self.of(each) for each in inner]}
        if issubclass(origin, Mapping):
            values = self.of(inner[1]) if len(inner) == 2 else {}
            return {"type": "object", "additionalProperties": values}
        if issubclass(origin, list | set | frozenset):
            return {"type": "array", "items": self.of(inner[0]) if inner else {}}
        raise TypeError


def _names(classes: Iterable[str], suffix: str) -> dict[str, str]:
    """A name for each class that a program that is made of the document can have as well."""
    names: dict[str, str] = {}
    for each in classes:
        name = _NO_NAME.sub("_", each).lstrip("_0123456789") or "Type"
        while f"{name}{suffix}" in names.values():
            name += "_"
        names[each] = f"{name}{suffix}"
    return names


def _for_clients(schema: Any, references: Mapping[str, str]) -> Any:
    """The schema with references to the definitions, and without what generators stumble over."""
    if isinstance(schema, list):
        return [_for_clients(each, references) for each in schema]
    if not isinstance(schema, dict):
        return references.get(schema, schema) if isinstance(schema, str) else schema
    found = {}
    for key, each in schema.items():
        if key in _NAMED:
            found[key] = {name: _for_clients(inner, references) for name, inner in each.items()}
        elif key in _DATA:
            found[key] = each
        elif key != "items" or each is not False or "maxItems" not in schema:  # which says it too
            found[key] = _for_clients(each, references)
    return found


def _hide(schemas: Iterable[dict[str, Any]], hidden: Iterable[str]) -> None:
    """Mark fields that are secret, and say no default of theirs."""
    names = {path.rpartition("/")[2] for path in hidden}
    for schema in schemas:
        for name, each in schema.get("properties", {}).items():
            if name in names:
                each.pop("default", None)
                each["writeOnly"] = True


def _default(default: object, empty: object) -> dict[str, Any]:
    if default is empty:
        return {}
    with suppress(Exception):
        # Through JSON, for what it cannot hold is no default in a document.
        return {"default": msgspec.json.decode(msgspec.json.encode(default))}
    return {}


def with_definitions(make: Callable[[Schemas], dict[str, Any]]) -> dict[str, Any]:
    """A schema that stands by itself, with its definitions in it."""
    schemas = Schemas()
    schema = make(schemas)
    return {**schema, "$defs": schemas.definitions} if schemas.definitions else schema
