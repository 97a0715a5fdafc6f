"""Redaction: what is marked as secret is hidden from who looks, and not from code.

Which parts of a value are secret is told with it, when it is stored (`Value.hidden`), so that every
process hides them, also one without the app. A part is named by a JSON pointer, in which `*` is any
item or key; the empty one is the whole value. `rewake.authoring.marking` finds them in types.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec

REDACTED = "[redacted]"
"""What is shown instead."""
ANY = "*"


def pointer(*parts: str | int) -> str:
    """The JSON pointer of these keys and indexes."""
    return "".join(f"/{str(each).replace('~', '~0').replace('/', '~1')}" for each in parts)


def redacted(body: msgspec.Raw, hidden: Collection[str]) -> msgspec.Raw:
    """A value as JSON, in which these parts are hidden."""
    if not hidden:
        return body
    data = msgspec.json.decode(body)
    for each in hidden:
        data = _hide(data, [_name(part) for part in each.split("/")[1:]])
    return msgspec.Raw(msgspec.json.encode(data))


def _name(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


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
        yield from _in_schema(_at(root, reference), root, within)
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


def _at(root: Any, reference: str) -> Any:
    for part in reference.split("/")[1:]:
        root = root.get(_name(part)) if isinstance(root, Mapping) else None
    return root
