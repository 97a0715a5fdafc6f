"""`@task(cache=...)`: what of a call tells whether another one came to the same.

That is its task, the text of the function, the version, the tenant and the arguments. All of it has
to be known for certain: values that cannot be told apart are refused, for a result would be given
to a call that it is not of.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rewake.authoring.limits import Veil, span_of
from rewake.errors import AppError, UsageError
from rewake.limited import Limited, LimitKind
from rewake.records import Millis
from rewake.values.digests import Indistinct, exact_digest, text_of

_SHOWN = 12
_LONGEST_VERSION = 200


@dataclass(frozen=True, slots=True)
class Caching:
    """How the results of one task are cached. `code`: the digest of its function and version."""

    per: Millis
    code: str

    def limited(
        self,
        name: str,
        arguments: Mapping[str, Any],
        tenant: str,
        veil: Veil,
    ) -> Limited:
        """By what the result of one call is cached. Raises `UsageError` if that cannot be told."""
        try:
            called = exact_digest(arguments)
        except Indistinct as error:
            told = f"cache= of {name}: two values of {error.kind} cannot be told apart"
            more = "give what it is made of, or an id of it"
            raise UsageError(f"{told} (in {error.where!r}): {more}") from None
        parts = f"{self.code}\0{tenant}\0{called}".encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(parts).hexdigest()
        digest = veil(digest) or digest[:32]
        shown, code = digest[:_SHOWN], self.code
        return Limited(LimitKind.CACHE, name, shown, 1, self.per, digest=digest, code=code)


def caching_of(
    name: str, function: Callable[..., Any], cache: object, version: object
) -> Caching | None:
    """How a task is cached that asks for it by these options; None: it is not.

    Raises `ValueError` and `AppError` for what cannot be.
    """
    if cache is None:
        if version is not None:
            raise AppError(f"cache_version of {name} is for a task with cache=")
        return None
    per = span_of(f"cache of {name}", cache)
    is_version = isinstance(version, int | str) and not isinstance(version, bool)
    if version is not None and not (is_version and len(str(version)) <= _LONGEST_VERSION):
        told = f"cache_version of {name} is a whole number or a short text"
        raise ValueError(f"{told}, not {version!r}"[:200])
    return Caching(per, _code(name, function, version))


def _code(name: str, function: Callable[..., Any], version: object) -> str:
    """The digest of all by which two tasks of this name would differ."""
    plain = inspect.unwrap(function)
    if isinstance(plain, functools.partial) or not isinstance(
        plain, types.FunctionType | types.BuiltinFunctionType
    ):
        raise AppError(f"cache= of {name} is for a function, not for {function!r}"[:300])
    if isinstance(plain, types.FunctionType) and plain.__code__.co_freevars:
        captured = ", ".join(plain.__code__.co_freevars)
        told = f"cache= of {name}: its function captures {captured}, which may differ with each"
        raise AppError(f"{told} call: pass it as an argument")
    if not isinstance(plain, types.FunctionType) and version is None:
        told = f"cache= of {name}: nobody can read its function, and tell when it changes"
        raise AppError(f"{told}: give cache_version= as well, and raise it then")
    kind = "" if version is None else type(version).__name__
    defaults = (getattr(plain, each, None) for each in ("__defaults__", "__kwdefaults__"))
    parts = [name, text_of(plain), kind, str(version or ""), *_texts(plain)]
    parts += [*map(text_of, defaults), *_around(function)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _texts(function: types.FunctionType | types.BuiltinFunctionType) -> Iterator[str]:
    """What a function does: its text, as far as there is one, and what was made of it.

    A file may have changed since it was read, so the text alone is not what runs here.
    """
    with suppress(OSError, TypeError):
        yield inspect.cleandoc("\n" + inspect.getsource(function))
    if isinstance(function, types.FunctionType):
        yield from _made(function.__code__)


def _around(function: Any) -> Iterator[str]:
    """What decorators have put around a function, and what these were given."""
    while (within := getattr(function, "__wrapped__", None)) is not None:
        yield text_of(function)
        if isinstance(function, types.FunctionType):
            yield from _texts(function)
            for cell in function.__closure__ or ():
                with suppress(ValueError):  # it is empty
                    yield text_of(cell.cell_contents)
        function = within


def _made(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield " ".join(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _made(constant)
        else:
            yield text_of(constant)
