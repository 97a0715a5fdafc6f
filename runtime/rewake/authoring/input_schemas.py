"""JSON Schemas of what a workflow takes and returns, made of its type hints.

They tell clients what to send; what is sent is checked by `authoring/conversion.py` alone. What a
hint says that no schema can say is left open (`{}`), so a schema never refuses what would fit.
"""

from __future__ import annotations

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
        made = f"{hint.__module__}.{hint.__qualname__}.".replace("<locals>.", "")
        template = f"{self._reference}{made}{{model}}"
        schema: dict[str, Any] = pydantic.TypeAdapter(hint).json_schema(ref_template=template)
        inner = schema.pop("$defs", {})
        _hide([schema, *inner.values()], hidden_in(hint))
        self.definitions |= {f"{made}{name}": each for name, each in inner.items()}
        return schema

    def _by_msgspec(self, hint: Any) -> dict[str, Any]:
        for prefix in ("", *(f"{number}." for number in range(2, 100))):
            template = f"{self._reference}{prefix}{{name}}"
            (schema,), inner = msgspec.json.schema_components(
                [hint], schema_hook=self.of, ref_template=template
            )
            found = {f"{prefix}{name}": each for name, each in inner.items()}
            _hide([schema, *found.values()], hidden_in(hint))
            # Two modules may each have a class of one name.
            if all(self.definitions.get(name, each) == each for name, each in found.items()):
                self.definitions |= found
                return schema
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
