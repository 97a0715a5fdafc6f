"""What tasks and workflows are to others: objects that are called as a coroutine function is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from types import CellType, CodeType
from typing import Any, cast


class AsyncCallable:
    """Says that calling it gives a coroutine, also where its function is sync.

    Libraries that are handed a function ask `inspect.iscoroutinefunction` whether to await it or to
    call it in a thread, which a body may not have: agents of their tools, graphs of their nodes.
    That knows objects by what a function has: `__code__`, and these beside it.
    """

    function: Callable[..., Any]
    __defaults__ = None
    __kwdefaults__ = None

    @property
    def __code__(self) -> CodeType:
        code: CodeType = self.function.__code__
        return code.replace(co_flags=code.co_flags | inspect.CO_COROUTINE)

    @property
    def __closure__(self) -> tuple[CellType, ...] | None:
        return self.function.__closure__

    def _look_like(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(cast("Callable[..., Any]", self), function, updated=())
        with suppress(AttributeError, NameError):  # a built-in, or a name for type checkers alone
            # There the wrapper's own would be found, which are those of its class.
            self.__annotations__ = function.__annotations__
