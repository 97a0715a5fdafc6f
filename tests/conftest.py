"""What is long: `--seeds` simulates all seeds of CI (`make seeds`), `--whole` takes no sample at
all (`make verify`). Without either, a suite of minutes takes a sample of both.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", action="store_true", help="all seeds of CI, and no sample")
    parser.addoption("--whole", action="store_true", help="all of what is long, and no sample")


@pytest.fixture(scope="session")
def every_seed(request: pytest.FixtureRequest, whole: bool) -> bool:
    """Whether all seeds are asked for that CI simulates."""
    return whole or bool(request.config.getoption("--seeds"))


@pytest.fixture(scope="session")
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether all is asked for; without it, tests of hours take a sample."""
    return bool(request.config.getoption("--whole"))
