"""A process that dies leaves coroutines behind that nobody will ever await: no news here."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

LEFT_BEHIND = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "simulation" in item.path.parts:
            item.add_marker(LEFT_BEHIND)


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Collect them here, and not in a test that would mind."""
    yield
    gc.collect()
