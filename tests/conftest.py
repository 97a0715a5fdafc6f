"""What is long: tests that are marked so are carried out by `make long`, or, where they are marked
`verify` too, by `make verify` alone, as what takes hours is (`--whole`).
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="all of what is long, and no sample")


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether all is asked for; without it, tests of hours take a sample."""
    return bool(request.config.getoption("--whole"))
