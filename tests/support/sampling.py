"""Which of many cases `make test` carries out; the others are left to `make long`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def sampled(cases: Iterable[Any], *, every: int) -> list[Any]:
    """All of these cases of a test, of which all are long but for one in so many."""
    return [
        pytest.param(case, marks=[pytest.mark.long] if number % every else [])
        for number, case in enumerate(cases)
    ]
