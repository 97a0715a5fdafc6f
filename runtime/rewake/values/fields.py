"""The fields of a class that lists them: dataclass, named tuple, msgspec, attrs, pydantic.

A field may have a default. Calling a factory of defaults could have an effect (one that draws an
id), so only one that cannot is called: a type of plain containers, or a function of no parameters
that names nothing (`lambda: ["a"]`).
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

__all__ = [
    "all_field_names",
    "drawn_fields",
    "field_defaults",
    "field_names",
    "fields_with_default",
    "tuple_fields",
]

_EMPTY: frozenset[object] = frozenset(
    {list, dict, set, frozenset, tuple, str, bytes, bytearray, int, float, bool}
)


class _Made:
    """A default that a factory makes."""

    def __init__(self, factory: Any) -> None:
        self.factory = factory


def field_names(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a struct, dataclass, attrs or pydantic class that are compared where two
    objects are; None for other classes.
    """
    return _field_names(kind, compared=True)


def all_field_names(kind: type) -> tuple[str, ...] | None:
    """The same, and those that are not compared."""
    return _field_names(kind, compared=False)


def _field_names(kind: type, *, compared: bool) -> tuple[str, ...] | None:
    if issubclass(kind, msgspec.Struct):
        return kind.__struct_fields__
    if dataclasses.is_dataclass(kind):
        return tuple(f.name for f in dataclasses.fields(kind) if f.compare or not compared)
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        return tuple(f.name for f in attributes if f.eq or not compared)
    fields = getattr(kind, "__pydantic_fields__", None)
    return None if fields is None else tuple(fields)


def tuple_fields(kind: type) -> tuple[str, ...] | None:
    """Return the fields of a named tuple; None for other classes."""
    return getattr(kind, "_fields", None) if issubclass(kind, tuple) else None


def field_defaults(kind: type) -> dict[str, Any]:
    """The defaults by field, where they are known without an effect."""
    found: dict[str, Any] = {}
    for name, default in _defaults(kind):
        if not isinstance(default, _Made):
            found[name] = default
        elif _is_harmless(default.factory):
            found[name] = default.factory()
    return found


@lru_cache(maxsize=512)
def drawn_fields(kind: type) -> frozenset[str]:
    """The fields whose default a factory makes that may make another one each time."""
    made = ((name, each.factory) for name, each in _defaults(kind) if isinstance(each, _Made))
    return frozenset(name for name, factory in made if not _is_constant(factory))


def _is_constant(factory: Any) -> bool:
    """Whether a factory makes the same each time: also a class whose fields all have defaults."""
    if _is_harmless(factory):
        return True
    names = all_field_names(factory) if isinstance(factory, type) else None
    return names is not None and not drawn_fields(factory)


def fields_with_default(kind: type) -> frozenset[str]:
    """The fields that need not be given."""
    return frozenset(name for name, _ in _defaults(kind))


def _defaults(kind: type) -> Iterator[tuple[str, Any]]:
    if issubclass(kind, msgspec.Struct):
        names, defaults = kind.__struct_fields__, kind.__struct_defaults__
        found = zip(names[len(names) - len(defaults) :], defaults, strict=True)
        return ((n, _unmarked(d)) for n, d in found if d is not msgspec.NODEFAULT)
    if dataclasses.is_dataclass(kind):
        return _of_dataclass(kind)
    if issubclass(kind, tuple):
        return iter(getattr(kind, "_field_defaults", {}).items())
    attributes = getattr(kind, "__attrs_attrs__", None)
    if attributes is not None:
        marked = ((a.name, a.default) for a in attributes if hasattr(a, "default"))
        return ((n, _unmarked(d)) for n, d in marked if getattr(d, "name", "") != "NOTHING")
    return _of_pydantic(getattr(kind, "__pydantic_fields__", {}))


def _of_dataclass(kind: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            yield field.name, _Made(field.default_factory)
        elif field.default is not dataclasses.MISSING:
            yield field.name, field.default


def _of_pydantic(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, field in fields.items():
        factory = getattr(field, "default_factory", None)
        if factory is not None:
            yield name, _Made(factory)
        elif field is not None and not field.is_required():
            yield name, field.default


def _unmarked(default: Any) -> Any:
    """The default that msgspec or attrs keeps; each has a class `Factory` of its own."""
    return _Made(default.factory) if type(default).__name__ == "Factory" else default


def _is_harmless(factory: Any) -> bool:
    if type(factory) is not types.FunctionType:
        return factory in _EMPTY if isinstance(factory, type) else False
    code = factory.__code__
    return not (code.co_names or code.co_freevars or code.co_argcount or code.co_kwonlyargcount)
