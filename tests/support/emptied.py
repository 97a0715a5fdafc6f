"""What bodies of tests write down, emptied around each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest


class _Kept(Protocol):
    def clear(self) -> None:
        """Empty it."""


def emptied(*kept: _Kept) -> Callable[[], Any]:
    """A fixture that empties these before and after each test of the module that has it."""

    @pytest.fixture(autouse=True)
    def empty() -> Iterator[None]:
        for each in kept:
            each.clear()
        yield
        for each in kept:
            each.clear()

    made: Callable[[], Any] = empty
    return made
