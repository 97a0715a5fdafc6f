"""What a function's signature and type hints say, looked up once."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from rewake.authoring.calling import is_async


@functools.lru_cache(maxsize=4096)
def signature_of(function: Callable[..., Any]) -> inspect.Signature | None:
    """The signature, or None where Python knows none (some built-ins)."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


@functools.lru_cache(maxsize=4096)
def hints_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The type hints by parameter name, `return` among them; none if they cannot be resolved."""
    try:
        return typing.get_type_hints(function, include_extras=True)
    except Exception:
        return {}


def return_hint(function: Callable[..., Any]) -> Any:
    """What the function says that it returns, or None. (For an async one: what awaiting gives.)"""
    hint = hints_of(function).get("return")
    if not is_async(function) and typing.get_origin(hint) in _AWAITABLES:
        return typing.get_args(hint)[-1]
    return hint


_AWAITABLES = {typing.get_origin(typing.Awaitable[Any]), typing.get_origin(
    typing.Coroutine[Any, Any, Any]
)}
