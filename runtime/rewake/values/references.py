"""Pickles that every Python minor can read, and that say when they hold code.

A class or function that can be imported is pickled by its name, as the standard protocol does.
Two kinds of names do not last, and are written through `found` instead:

- The standard library moved some classes (`pathlib.Path` lay in `pathlib._local` in 3.13). They are
  written under the name that they have on every minor.
- The entry file of an app is the module `own` if it is loaded as `shop/own.py`, and `shop.own` if
  it is loaded as that. It is written as `own`, and looked up in the entry of the reading process.

An object of a class that lists its fields is written by their names, and those that its class has
got since are given their defaults when it is read.

An exception is written without its origin, a mark of the running workflow.

What cannot be imported (a lambda, a function or class within a function) is carried by value, with
its bytecode. Only the minor that wrote that can read it.
"""

from __future__ import annotations

import importlib
import io
import operator
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from copy import deepcopy
from dataclasses import fields
from functools import reduce
from typing import Any

import cloudpickle
import msgspec

from rewake.values.fields import field_defaults, field_names, tuple_fields

_PROTOCOL = 5

ORIGIN = "_rewake_origin"
"""The attribute of an exception that holds its mark (`rewake.replay.origins`)."""

_MOVED: Mapping[str, str] = {
    "pathlib._local": "pathlib",
    "pathlib._abc": "pathlib",
    "zipfile._path": "zipfile",
    "importlib.resources._functional": "importlib.resources",
    "importlib.resources._legacy": "importlib.resources",
    "_py_warnings": "warnings",
    "annotationlib": "inspect",
    "genericpath": "os.path",
    "_asyncio": "asyncio.tasks",
    "_ctypes": "ctypes",
}
"""Modules of the standard library that some minors keep public names in: the public ones."""

_RENAMED: Mapping[tuple[str, str], tuple[str, str]] = {("re", "PatternError"): ("re", "error")}

_MSGSPEC = "__msgspec_cache__"

_dropped: ContextVar[list[str] | None] = ContextVar("dropped", default=None)

_entries: dict[str, str] = {}
"""Entry modules by the last part of their name."""


def enter(module: str) -> None:
    """Make a module an entry of this process: what it defines is known by its last name."""
    _entries[_last(module)] = module


def found(module: str, qualname: str) -> Any:
    """What a pickle refers to. Raises `ImportError` or `AttributeError` if it is not there."""
    return _in(importlib.import_module(_entries.get(module, module)), qualname)


def dumped(value: Any) -> tuple[bytes, bool]:
    """The pickle of a value, and whether it holds code, so that only this minor can read it."""
    with io.BytesIO() as file:
        pickler = _Pickler(file, protocol=_PROTOCOL)
        pickler.dump(value)
        return file.getvalue(), pickler.holds_code


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's, with names that last."""

    holds_code = False

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.UnionType):  # 3.14 writes it in a way that others cannot read
            return reduce, (operator.or_, obj.__args__)
        if isinstance(obj, BaseException):
            return _without_origin(obj)
        reference = _reference(obj)
        if reference is not None:
            return found, reference
        by_fields = _by_fields(obj)
        if by_fields is not None:
            return by_fields
        reduced = super().reducer_override(obj)
        by_value = reduced is not NotImplemented and reduced[0] not in _BY_NAME
        self.holds_code |= by_value or type(obj) is types.CodeType
        return _without_cache(reduced) if by_value and isinstance(obj, type) else reduced


_BY_NAME = (type, cloudpickle.cloudpickle._builtin_type)


def _reference(obj: Any) -> tuple[str, str] | None:
    """The name that lasts, of what has one and would be pickled under another."""
    try:
        module, qualname = obj.__module__, obj.__qualname__
    except Exception:  # user code's objects may raise anything
        return None
    if type(module) is not str or type(qualname) is not str:
        return None
    if _entries.get(_last(module)) == module:
        name = (_last(module), qualname)
    elif module in _MOVED:
        name = (_MOVED[module], qualname)
    else:
        return _RENAMED.get((module, qualname))
    try:
        loaded = sys.modules.get(module) if module not in _MOVED else None
        owner = loaded or importlib.import_module(name[0])
        return name if _in(owner, qualname) is obj else None
    except (ImportError, AttributeError):
        return None


def _without_cache(reduced: Any) -> Any:
    """How to write a class by value, without what msgspec has noted in it, which has no pickle."""
    make, given, (attributes, slots), *more = reduced
    kept = {name: each for name, each in attributes.items() if name != _MSGSPEC}
    return make, given, (kept, slots), *more


def _without_origin(error: BaseException) -> Any:
    """How to write an exception that has a mark; `NotImplemented`: as it writes itself."""
    if ORIGIN not in BaseException.__getattribute__(error, "__dict__"):
        return NotImplemented
    reduced: Any = error.__reduce_ex__(_PROTOCOL)
    if len(reduced) < 3 or not isinstance(reduced[2], dict):
        return reduced
    make, given, state, *items = reduced
    return make, given, {name: state[name] for name in state if name != ORIGIN}, *items


def _by_fields(obj: Any) -> tuple[Any, ...] | None:
    """How to write an object of a class that lists its fields, and reduces as objects do."""
    kind: Any = type(obj)
    names = tuple_fields(kind)
    if kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    if issubclass(kind, msgspec.Struct):
        ours = kind.__reduce__ is msgspec.Struct.__reduce__ and not kind.__struct_config__.dict
        names = kind.__struct_fields__ if ours else None
    elif kind.__reduce__ is not object.__reduce__:
        return None
    if names is not None and not getattr(obj, "__dict__", None):
        return made, (kind, {name: getattr(obj, name) for name in names})
    if issubclass(kind, tuple | type | msgspec.Struct) or field_names(kind) is None:
        return None
    make, given, state, *items = obj.__reduce_ex__(_PROTOCOL)
    if state is None:
        return None
    if _is_of_dataclasses(getattr(kind, "__getstate__", None)):  # a list, by position
        state = (None, dict(zip((f.name for f in fields(kind)), state, strict=False)))
    return make, given, state, *items, restored


def made(kind: Any, values: dict[str, Any]) -> Any:
    """A struct or named tuple of these values, and of the defaults of fields that came since."""
    names = tuple_fields(kind)
    _note_dropped(kind, values.keys() - set(names or kind.__struct_fields__))
    if names is None:
        return kind(**{name: values[name] for name in kind.__struct_fields__ if name in values})
    given = field_defaults(kind) | values
    return tuple.__new__(kind, [given[name] for name in names])


def restored(obj: Any, state: Any) -> None:
    """Give an object its state, and the fields that it lacks their defaults."""
    kind: Any = type(obj)
    setter: Any = getattr(kind, "__setstate__", None)
    whole, slots = state if isinstance(state, tuple) else (state, None)
    found: dict[str, Any] = {**(whole or {}), **(slots or {})}
    if setter is not None and not _is_of_dataclasses(setter):
        setter(obj, state)
    else:
        for name, value in found.items():
            with suppress(AttributeError):  # a slot that the class has no more
                object.__setattr__(obj, name, value)
    _note_dropped(kind, [name for name in found if not hasattr(obj, name)])
    for name, default in field_defaults(kind).items():
        if not hasattr(obj, name):
            object.__setattr__(obj, name, deepcopy(default))


@contextmanager
def noting_dropped() -> Iterator[list[str]]:
    """Note the fields that objects lose as they are read, for their classes have them no more."""
    dropped: list[str] = []
    token = _dropped.set(dropped)
    try:
        yield dropped
    finally:
        _dropped.reset(token)


def _note_dropped(kind: type, names: Iterable[str]) -> None:
    noted = _dropped.get()
    if noted is not None:
        noted += [f"{kind.__name__}.{name}" for name in names]


def _is_of_dataclasses(method: Any) -> bool:
    return getattr(method, "__module__", "") == "dataclasses"


def _in(module: Any, qualname: str) -> Any:
    return reduce(getattr, qualname.split("."), module)


def _last(module: str) -> str:
    return module.rpartition(".")[2]
