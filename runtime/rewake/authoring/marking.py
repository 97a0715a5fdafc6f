"""What is secret: how a parameter, a result or a field is marked, and which parts of a type are.

    password: Annotated[str, secret]          a parameter, a result, a field of any class
    password: pydantic.SecretStr              as it is
    password: str = field(metadata={"secret": True})      of a dataclass, or of an attrs class
    password: str = Field(json_schema_extra={"writeOnly": True})      of a pydantic model

What is marked is hidden from who looks (`values/redaction.py`); a body gets the value. A type that
contains itself is hidden from there on, if anything in it is secret.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from rewake.authoring.fields import fields_of
from rewake.authoring.hints import hints_of, signature_of
from rewake.values.pointers import pointer
from rewake.values.redaction import ANY

__all__ = ["hidden_in", "hidden_in_call", "hidden_in_value", "names_in_json", "secret"]


class _Secret:
    """The mark."""

    def __repr__(self) -> str:
        return "secret"

    def __reduce__(self) -> str:
        return "secret"  # the one that there is, also in a class that is pickled with its code


secret: Final = _Secret()
"""Marks what is secret: `Annotated[str, secret]`. It is hidden in the API, pages and the log."""

_AGAIN = "/\0"
_ALL = ("",)
_MOST = 100_000
"""Most objects of a value that are looked at; of a larger one nothing is shown."""


class _Field(NamedTuple):
    names: tuple[str | int, ...]
    """What it may be called in JSON."""
    hint: Any
    marked: bool


def hidden_in(hint: Any) -> tuple[str, ...]:
    """The secret parts of what this type hint stands for."""
    if hint is None:
        return ()
    try:
        return _hidden_in(hint)
    except TypeError:  # it has no hash
        return _found(hint)


def hidden_in_call(function: Callable[..., Any], under: int = 0) -> tuple[str, ...]:
    """The secret parts of a call that is stored as `[args, kwargs]`, behind `under` others."""
    if not getattr(function, "__annotations__", True):
        return ()
    signature, hints = signature_of(function), hints_of(function)
    found: list[str] = []
    for index, each in enumerate(signature.parameters.values() if signature else ()):
        for path in hidden_in(hints.get(each.name)):
            if each.kind is not each.KEYWORD_ONLY and each.kind is not each.VAR_KEYWORD:
                at = ANY if each.kind is each.VAR_POSITIONAL else index
                found.append(pointer(under, at) + path)
            if each.kind is not each.VAR_POSITIONAL:
                name = ANY if each.kind is each.VAR_KEYWORD else each.name
                found.append(pointer(under + 1, name) + path)
    return tuple(found)


def hidden_in_value(value: Any) -> tuple[str, ...]:
    """The secret parts of an object that was pickled, by the classes of what is in it."""
    try:
        return _in_value(value)
    except Exception:  # code of the user's own
        return _ALL


def _in_value(value: Any) -> tuple[str, ...]:
    found: list[str] = []
    left: list[tuple[str, Any]] = [("", value)]
    looked, opaque = 0, set[int]()
    while left:
        path, each = left.pop()
        if (looked := looked + 1) > _MOST:
            return _ALL
        if type(each).__module__ != "builtins":
            found += [path + inner for inner in hidden_in(type(each))]
        left += [(path + name, inner) for name, inner in (*_items(each), *_attributes(each))]
        if _is_opaque(each) and id(each) not in opaque:  # it may contain itself
            opaque.add(id(each))
            left += [(path + pointer(ANY), inner) for inner in _behind(each)]
    return tuple(found)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((pointer(_key(name)), inner) for name, inner in value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        yield from ((pointer(index), inner) for index, inner in enumerate(value))


def _attributes(value: Any) -> Iterator[tuple[str, Any]]:
    """The fields of an object, under each name that they may have in JSON."""
    kind = type(value)
    if kind.__module__ == "builtins":
        return
    models = getattr(kind, "__pydantic_fields__", {})
    for name in _names(kind):
        if hasattr(value, name):
            for called in names_in_json(name, models[name]) if name in models else (name,):
                yield pointer(called), getattr(value, name)
    for name, more in (getattr(value, "__pydantic_extra__", None) or {}).items():
        yield pointer(name), more


def _is_opaque(value: Any) -> bool:
    """Whether an object is shown by its text, which may tell what is in it."""
    return not isinstance(value, _SEEN_THROUGH) and not _names(type(value))


def _behind(value: Any) -> Iterator[Any]:
    """What is in an object that is shown by its text."""
    yield from (getattr(value, "__dict__", None) or {}).values()
    if isinstance(value, BaseException):
        yield value.args
    elif isinstance(value, collections.deque):
        yield from value


_SEEN_THROUGH = (
    str,
    int,
    float,
    bytes,
    dict,
    list,
    tuple,
    set,
    frozenset,
    type,
    types.FunctionType,
)


def _key(name: object) -> str:
    """The key of a dict as JSON has it; any of them for one that JSON may spell otherwise."""
    return str(name) if type(name) in (str, int) else ANY


# --- types ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def _hidden_in(hint: Any) -> tuple[str, ...]:
    return _found(hint)


def _found(hint: Any) -> tuple[str, ...]:
    try:
        paths = dict.fromkeys(_walk(hint, ()))
    except Exception:  # a class whose own code raises: what cannot be known is not shown
        return _ALL
    if all(path.endswith(_AGAIN) for path in paths):
        return ()
    return tuple(path.removesuffix(_AGAIN) for path in paths)


def _walk(hint: Any, above: tuple[Any, ...]) -> Iterator[str]:
    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Annotated:
        if any(each is secret for each in hint.__metadata__):
            yield ""
        else:
            yield from _walk(hint.__origin__, above)
    elif (inside := _inside(hint, origin)) is not None:
        yield from _walk(inside, above)
    elif origin in _TRANSPARENT:
        for each in arguments:
            yield from _walk(each, above)
    elif isinstance(origin, type):
        yield from _in_class(origin, arguments, above)


def _in_class(kind: type, arguments: tuple[Any, ...], above: tuple[Any, ...]) -> Iterator[str]:
    if hasattr(kind, "get_secret_value"):  # of pydantic
        yield ""
    elif _contains(kind):
        for each in arguments:
            yield from (pointer(ANY) + path for path in _walk(each, above))
    elif kind in above:
        yield _AGAIN
    else:
        yield from _in_fields(kind, arguments, (*above, kind))


def _in_fields(kind: type, arguments: tuple[Any, ...], above: tuple[Any, ...]) -> Iterator[str]:
    for field in _fields(kind, arguments):
        for path in ("",) if field.marked else _walk(field.hint, above):
            yield from (pointer(name) + path for name in field.names)


_TRANSPARENT = (
    typing.Union,
    types.UnionType,
    typing.Required,
    typing.NotRequired,
    typing.Final,
    collections.abc.Awaitable,
    collections.abc.Coroutine,
)


def _inside(hint: Any, origin: Any) -> Any:
    """What a hint stands for that is another name of a type; else None."""
    if isinstance(hint, typing.TypeVar):
        return typing.Union[hint.__constraints__] if hint.__constraints__ else hint.__bound__  # noqa: UP007
    if hasattr(hint, "__supertype__"):
        return hint.__supertype__
    return origin.__value__ if type(origin).__name__ == "TypeAliasType" else None


def _contains(kind: type) -> bool:
    """Whether the arguments of the type are those of its items."""
    return issubclass(kind, collections.abc.Iterable) and not (
        hasattr(kind, "_fields") or typing.is_typeddict(kind) or _names(kind)
    )


def _fields(kind: Any, arguments: tuple[Any, ...]) -> Iterator[_Field]:
    if issubclass(kind, msgspec.Struct):
        for index, info in enumerate(msgspec.structs.fields(kind)):
            yield _Field((info.encode_name, info.name, index), info.type, False)
        return
    if isinstance(models := getattr(kind, "__pydantic_fields__", None), dict):
        for name, model in models.items():
            yield _of_pydantic(name, model)
        return
    marked = _marked(kind)
    try:
        known = fields_of(kind, arguments) or ()
    except Exception:  # a type that cannot be resolved is refused where it counts
        known = ()
    for index, each in enumerate(known):
        place = (index,) if issubclass(kind, tuple) else ()
        yield _Field((each.name, *place), each.hint, each.name in marked)
    for name in marked - {each.name for each in known}:
        yield _Field((name,), None, True)


def _marked(kind: Any) -> set[str]:
    """The fields of a dataclass or an attrs class whose metadata says so."""
    named = list(dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else []
    attributes: Any = getattr(kind, "__attrs_attrs__", ())
    marked = {each.name for each in (*named, *attributes) if each.metadata.get("secret")}
    return marked | {each.alias for each in attributes if each.name in marked and each.alias}


def _of_pydantic(name: str, info: Any) -> _Field:
    extra = info.json_schema_extra
    marked = any(each is secret for each in info.metadata) or (
        isinstance(extra, dict)
        and (extra.get("writeOnly") is True or extra.get("format") == "password")
    )
    return _Field(names_in_json(name, info), info.annotation, marked)


def names_in_json(name: str, info: Any) -> tuple[str, ...]:
    """What a field of a pydantic model may be called in JSON; first, as it is in its schema."""
    wanted = info.validation_alias
    choices = getattr(wanted, "choices", (wanted,))
    aliases = (*choices, info.alias, info.serialization_alias, name)
    return tuple(dict.fromkeys(each for each in aliases if isinstance(each, str)))


def _names(kind: type) -> tuple[str, ...]:
    """The names of the fields of a class; none if it lists none."""
    for attribute in (
        "__struct_fields__",
        "__dataclass_fields__",
        "__pydantic_fields__",
        "_fields",
    ):
        if not inspect.isdatadescriptor(found := getattr(kind, attribute, None)) and found:
            return tuple(found)
    return tuple(each.name for each in getattr(kind, "__attrs_attrs__", ()))
