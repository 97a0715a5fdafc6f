"""Which part of a value cannot be pickled: told by the name that the user gave it."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Iterator
from typing import Any

import cloudpickle

from rewake.values.digests import type_name

_DEEPEST = 8


def told(value: Any) -> str:
    """The end of a sentence that says which part is to blame; empty if none is found."""
    found = _culprit(value, "", _DEEPEST)
    if found is None:
        return ""
    where, culprit = found
    said = f": {where} is a {type_name(type(culprit))}" if where else ""
    if inspect.isawaitable(culprit):
        named = getattr(culprit, "__name__", "")  # a coroutine has one, a branch of a body none
        said += f"; did you forget `await`{f' before {named}(...)' if named else ''}?"
    return said


def _culprit(value: Any, where: str, depth: int) -> tuple[str, Any] | None:
    """The innermost part that cannot be pickled, and what it is called."""
    if _can_be_pickled(value):
        return None
    for name, part in _parts(value) if depth else ():
        found = _culprit(part, name or where, depth - 1)
        if found is not None:
            return found
    return where, value


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of a value that is pickled by its parts; an empty name is that of the whole."""
    match value:
        case dict():
            yield from ((f"the part {key!r}", part) for key, part in value.items())
        case list() | tuple() | set() | frozenset():
            yield from (("", part) for part in value)
        case functools.partial():
            yield from (("", part) for part in (value.func, value.args, value.keywords))
        case types.MethodType():
            yield "", value.__func__
            yield f"the object of the method {value.__func__.__qualname__}", value.__self__
        case types.FunctionType():
            yield from _captured(value)
        case _:
            function = getattr(value, "function", None)  # of a task or a workflow
            if callable(function):
                yield "", function
            for name, part in vars(value).items() if hasattr(value, "__dict__") else ():
                yield f"the attribute {name!r} of a {type_name(type(value))}", part


def _captured(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function that travels by value takes along: its closure, defaults and globals."""
    name = f"{function.__qualname__.rpartition('.')[2].strip('<>')}() captures"
    for variable, cell in zip(
        function.__code__.co_freevars, function.__closure__ or (), strict=True
    ):
        try:
            yield f"{name} {variable!r}, which", cell.cell_contents
        except ValueError:  # an empty cell
            continue
    yield from ((f"{name} a default, which", part) for part in function.__defaults__ or ())
    for variable in function.__code__.co_names:
        if variable in function.__globals__:
            yield f"{name} the global {variable!r}, which", function.__globals__[variable]


def _can_be_pickled(value: Any) -> bool:
    try:
        cloudpickle.dumps(value)
    except Exception:
        return False
    return True
