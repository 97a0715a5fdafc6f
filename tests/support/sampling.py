"""Which of many cases `make test` carries out, and which `make long` and `make verify` do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], *, every: int, long: int = 1) -> list[Any]:
    """All of these cases of a test: one in `every` as it is, and the others long.

    Of these one in `long` is left to `make long`, and what then is left to `make verify` alone.
    """
    return [
        pytest.param(case, marks=_marks(number, every, long)) for number, case in enumerate(cases)
    ]


def _marks(number: int, every: int, long: int) -> list[pytest.MarkDecorator]:
    if number % every == 0:
        return []
    return [pytest.mark.long] if number % long == 0 else [pytest.mark.long, pytest.mark.verify]
