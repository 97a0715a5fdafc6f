"""`--whole`: what is long is carried out whole, and not a sample of it (`make verify`)."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="all of what is long, and no sample")


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether all is asked for; without it, tests of hours take a sample."""
    return bool(request.config.getoption("--whole"))
