"""The signature and type hints of functions, looked up once for each function.

The answers are kept only as long as the function: a closure may hold much, and each call may make
a new one.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from rewake.authoring.attempt import is_async
from rewake.authoring.fields import type_parameters

T = TypeVar("T")
_Function = Callable[..., Any]


def _kept(look_up: Callable[[_Function], T]) -> Callable[[_Function], T]:
    known: weakref.WeakKeyDictionary[_Function, T] = weakref.WeakKeyDictionary()

    @functools.wraps(look_up)
    def looked_up(function: _Function) -> T:
        try:
            return known[function]
        except KeyError:
            found = known[function] = look_up(function)
            return found
        except TypeError:  # neither hashable nor weakly referable: a callable object, a built-in
            return look_up(function)

    return looked_up


@_kept
def signature_of(function: _Function) -> inspect.Signature | None:
    """The signature, or None if Python knows none (of some built-ins)."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


@_kept
def hints_of(function: _Function) -> Mapping[str, Any]:
    """The type hints by parameter name and `return`, as far as they can be resolved."""
    annotated = _annotated(function)
    try:
        return typing.get_type_hints(annotated, include_extras=True)
    except Exception:
        return _resolved_apart(annotated)


def return_hint(function: _Function) -> Any:
    """The type hint of the function's result (if async, of the awaited result), or None."""
    # Most steps are lambdas, a new one for each call, which have no hints to look up.
    return _return_hint(function) if getattr(function, "__annotations__", True) else None


@_kept
def _return_hint(function: _Function) -> Any:
    hint = hints_of(function).get("return")
    if not is_async(function) and typing.get_origin(hint) in _AWAITABLES:
        return typing.get_args(hint)[-1]
    return hint


def _resolved_apart(function: _Function) -> dict[str, Any]:
    """The hints, each by itself, so that one that cannot be resolved leaves the others alone.

    A function may name the classes that the function around it defines, if it captures them.
    """
    code = getattr(function, "__code__", None)
    names = {**getattr(function, "__globals__", {}), **type_parameters(function)}
    cells = getattr(function, "__closure__", None) or ()
    for name, cell in zip(code.co_freevars if code is not None else (), cells, strict=False):
        with suppress(ValueError):  # an empty cell
            names[name] = cell.cell_contents
    found: dict[str, Any] = {}
    for name, annotation in _annotations(function).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        with suppress(Exception):
            found |= typing.get_type_hints(holder, names, include_extras=True)
    return found


def _annotations(function: _Function) -> Mapping[str, Any]:
    """The annotations as they are written, also where a name in one of them is unknown."""
    if sys.version_info >= (3, 14):
        import annotationlib  # noqa: PLC0415 - it begins with this Python

        return annotationlib.get_annotations(function, format=annotationlib.Format.STRING)
    return getattr(function, "__annotations__", {})


def _annotated(function: _Function) -> _Function:
    """The function whose annotations count: inside a partial, or the `__call__` of an object."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return type(function).__call__


_AWAITABLES = {
    typing.get_origin(typing.Awaitable[Any]),
    typing.get_origin(typing.Coroutine[Any, Any, Any]),
}
