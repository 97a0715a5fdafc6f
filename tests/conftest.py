"""What is long: tests that are marked so are carried out by `-m long` (`make long`), and what takes
hours by `--whole` (`make verify`). Without either, a suite of minutes takes a sample of both.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="all of what is long, and no sample")


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether all is asked for; without it, tests of hours take a sample."""
    return bool(request.config.getoption("--whole"))
