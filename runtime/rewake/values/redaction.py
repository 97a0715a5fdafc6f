"""Redaction: what is marked as secret is hidden from who looks, and not from code.

Which parts of a value are secret is told with it, when it is stored (`Value.hidden`), so that every
process hides them, also one without the app. A part is named by a JSON pointer, in which `*` is any
item or key; the empty one is the whole value. `rewake.authoring.marking` finds them in types.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rewake.values.pointers import parts_of, pointed, pointer

REDACTED = "[redacted]"
"""What is shown instead."""
ANY = "*"


def redacted(body: msgspec.Raw, hidden: Collection[str]) -> msgspec.Raw:
    """A value as JSON, in which these parts are hidden."""
    if not hidden:
        return body
    data = msgspec.json.decode(body)
    for each in hidden:
        data = _hide(data, parts_of(each))
    return msgspec.Raw(msgspec.json.encode(data))


def _hide(data: Any, parts: Sequence[str]) -> Any:
    if not parts:
        return REDACTED
    part, rest = parts[0], parts[1:]
    if isinstance(data, list):
        return [
            _hide(each, rest) if part in (ANY, str(index)) else each
            for index, each in enumerate(data)
        ]
    if not isinstance(data, dict):
        return data
    if data.keys() == {"$type", "repr"}:  # of an object's text nobody knows what is in it
        return {**data, "repr": REDACTED}
    return {name: _hide(each, rest) if part in (ANY, name) else each for name, each in data.items()}


def hidden_in_schema(schema: Any) -> tuple[str, ...]:
    """The parts of what fits a JSON Schema that are `writeOnly`, or of the format `password`."""
    return tuple(dict.fromkeys(_in_schema(schema, schema, ())))


def _in_schema(schema: Any, root: Any, above: tuple[int, ...]) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    if schema.get("writeOnly") is True or schema.get("format") == "password":
        yield ""
        return
    if id(schema) in above:
        return
    within = (*above, id(schema))
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        yield from _in_schema(pointed(root, reference), root, within)
    for name, each in _mapping(schema, "properties"):
        yield from (pointer(name) + path for path in _in_schema(each, root, within))
    for keyword in ("items", "additionalProperties"):
        inner = schema.get(keyword)
        yield from (pointer(ANY) + path for path in _in_schema(inner, root, within))
    for keyword in ("allOf", "anyOf", "oneOf", "prefixItems"):
        inner = schema.get(keyword)
        for each in inner if isinstance(inner, list) else ():
            under = pointer(ANY) if keyword == "prefixItems" else ""
            yield from (under + path for path in _in_schema(each, root, within))


def _mapping(schema: Mapping[str, Any], keyword: str) -> Iterator[tuple[str, Any]]:
    found = schema.get(keyword)
    if isinstance(found, Mapping):
        yield from found.items()


# --- secrets in the schema itself ----------------------------------------------------------------

_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_MEMBERS = ("allOf", "anyOf", "oneOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "contains", "not", "if", "then", "else")


def secretive(schema: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """The schema of a type, in which the secret parts of the type say so: they are passwords."""
    made = copy.deepcopy(dict(schema))
    for each in hidden:
        _mark(made, made, parts_of(each))
    return made


def _mark(schema: Any, root: Any, parts: Sequence[str]) -> None:
    if not isinstance(schema, dict):
        return
    if not parts:
        schema |= {"writeOnly": True, "format": "password"}
        return
    part, rest = parts[0], parts[1:]
    if isinstance(reference := schema.get("$ref"), str):
        _mark(pointed(root, reference), root, parts)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for member in schema.get(keyword, ()):
            _mark(member, root, parts)
    _mark(schema.get("properties", {}).get(part), root, rest)
    for index, member in enumerate(schema.get("prefixItems", ())):
        if part in (ANY, str(index)):
            _mark(member, root, rest)
    for keyword in ("items", "additionalProperties") if part == ANY else ():
        _mark(schema.get(keyword), root, rest)


def without_secrets(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without the defaults and examples of what is secret in what fits it."""
    made: dict[str, Any] = _bare(schema, schema)
    return made


def _bare(schema: Any, root: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    made = {keyword: _bare_within(keyword, each, root) for keyword, each in schema.items()}
    for path in _in_schema(schema, root, ()):
        made.pop("examples", None)
        if path == "":
            made.pop("default", None)
        elif "default" in made:
            made["default"] = _without(made["default"], parts_of(path))
    return made


def _bare_within(keyword: str, value: Any, root: Any) -> Any:
    if keyword in _MAPS and isinstance(value, Mapping):
        return {name: _bare(each, root) for name, each in value.items()}
    if keyword in _MEMBERS and isinstance(value, list):
        return [_bare(each, root) for each in value]
    return _bare(value, root) if keyword in _SINGLE else value


def _without(data: Any, parts: Sequence[str]) -> Any:
    """The data, in which this part is left out."""
    part, rest = parts[0], parts[1:]
    if isinstance(data, dict):
        kept = {n: each for n, each in data.items() if rest or part not in (ANY, n)}
        return {n: _without(e, rest) if part in (ANY, n) else e for n, e in kept.items()}
    if isinstance(data, list):
        return [_without(each, rest) for each in data] if rest else []
    return data
