"""`python -m tests.soak.launcher`: a server on a clock that `clock` in the test's folder sets."""

from __future__ import annotations

import os
from pathlib import Path

from rewake.clock import SystemClock
from rewake.hosts import building, server
from rewake.records import Millis
from tests.soak.notes import FOLDER

SET = "clock"
"""The file with the milliseconds by which the machine's clock is wrong."""


class WrongClock(SystemClock):
    """The machine's clock, as wrong as it was set."""

    def __init__(self) -> None:
        self._set = Path(os.environ[FOLDER]) / SET

    def now(self) -> Millis:
        return super().now() + int(self._set.read_text())


def main() -> None:
    vars(building)["SystemClock"] = WrongClock
    server.main()


if __name__ == "__main__":
    main()
