"""The fields of classes that are made of JSON objects: dataclasses, attrs, TypedDict, NamedTuple.

A field of a generic class has the type that stands for its type variable, also where a base class
declares it: in `class Box(Generic[T])`, `class Boxes(Box[list[int]])`, each class has its own.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

Variables = Mapping[Any, Any]
_WRAPPERS = {typing.Required: True, typing.NotRequired: False}


class Field(NamedTuple):
    """A field. `name` is what it is called in JSON, and by the class when it is made."""

    name: str
    hint: Any
    required: bool


def fields_of(kind: type, arguments: tuple[Any, ...]) -> list[Field] | None:
    """The fields of a class, in order; None if it is made of something else.

    `arguments` are those of a generic class. Raises `NameError` or the like for a type that
    cannot be resolved.
    """
    if typing.is_typeddict(kind):
        return _of_typed_dict(kind, arguments)
    aliases: Mapping[str, str] = {}
    if dataclasses.is_dataclass(kind):
        declared = [
            (each.name, _lacks(each.default, each.default_factory)) for each in _init_fields(kind)
        ]
    elif hasattr(kind, "__attrs_attrs__"):
        attributes: Any = kind.__attrs_attrs__
        declared = [(a.name, a.default is _nothing(a)) for a in attributes if a.init]
        aliases = {a.name: a.alias for a in attributes}
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        defaults: Any = getattr(kind, "_field_defaults", {})
        declared = [(name, name not in defaults) for name in kind._fields]
    else:
        return None
    hints, variables = _hints(kind), _variables(kind, arguments)
    return [
        Field(
            aliases.get(name, name),
            substituted(hints.get(name, Any), variables.get(_owner(kind, name), {})),
            required,
        )
        for name, required in declared
    ]


def substituted(hint: Any, variables: Variables) -> Any:
    """The type hint with type variables replaced by what they stand for."""
    if isinstance(hint, TypeVar):
        return variables.get(hint, hint)
    if isinstance(hint, dataclasses.InitVar):
        return substituted(hint.type, variables)
    parameters = getattr(hint, "__parameters__", ())
    if not variables or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(variables.get(each, each) for each in parameters)]


def type_parameters(of: Any) -> dict[str, Any]:
    """By name, what stands in brackets behind the name of a class or function: `class Box[T]`."""
    return {each.__name__: each for each in getattr(of, "__type_params__", ())}


def _of_typed_dict(kind: type, arguments: tuple[Any, ...]) -> list[Field]:
    variables = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    required_keys: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
    found = []
    for name, written in _hints(kind).items():
        hint, required = written, name in required_keys
        # Behind `from __future__ import annotations`, Python does not see these.
        while (origin := typing.get_origin(hint)) in _WRAPPERS or _is_read_only(origin):
            required = _WRAPPERS.get(origin, required)
            hint = typing.get_args(hint)[0]
        found.append(Field(name, substituted(hint, variables), required))
    return found


def _is_read_only(origin: Any) -> bool:
    return origin is not None and getattr(origin, "_name", "") == "ReadOnly"


def _init_fields(kind: type) -> list[dataclasses.Field[Any]]:
    every: Mapping[str, dataclasses.Field[Any]] = kind.__dataclass_fields__  # type: ignore[attr-defined]
    taken = inspect.signature(kind).parameters
    return [each for name, each in every.items() if each.init and name in taken]


def _lacks(default: object, factory: object) -> bool:
    return default is dataclasses.MISSING and factory is dataclasses.MISSING


def _nothing(attribute: Any) -> object:
    """The mark of `attrs` for no default, without importing it."""
    return inspect.getmodule(type(attribute)).NOTHING  # type: ignore[union-attr]


def _hints(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        # Each class by itself, for type parameters of two classes may have one name, and Python
        # 3.12 does not know them where an annotation is a text.
        module = vars(sys.modules.get(base.__module__, typing))
        names = {**vars(base), **module, **type_parameters(base)}
        own = {"__annotations__": inspect.get_annotations(base), "__module__": base.__module__}
        found |= typing.get_type_hints(type(base.__name__, (), own), None, names, True)
    return found


def _owner(kind: type, name: str) -> type:
    """The class that declares the field."""
    for each in kind.__mro__:
        if name in inspect.get_annotations(each):
            return each
    return kind


def _variables(kind: type, arguments: tuple[Any, ...]) -> dict[type, Variables]:
    """By class of a generic one and its bases: what its type variables stand for."""
    own = dict(zip(getattr(kind, "__parameters__", ()), arguments, strict=False))
    found: dict[type, Variables] = {kind: own}
    for base in vars(kind).get("__orig_bases__", kind.__bases__):
        origin = typing.get_origin(base) or base
        if isinstance(origin, type) and origin not in (object, typing.Generic):
            inner = tuple(substituted(each, own) for each in typing.get_args(base))
            found = {**_variables(origin, inner), **found}
    return found
