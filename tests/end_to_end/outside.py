"""The world outside of the servers: one file that all of them append to, and tests read."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rewake import task_context

VARIABLE = "REWAKE_TEST_OUTSIDE"
"""The variable that names the file."""

T = TypeVar("T")


@functools.cache
def _file() -> int:
    return os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def tell(what: str, **said: Any) -> None:
    """Add a line, whole, whatever happens next."""
    line = {"what": what, "at": time.time() * 1000, "pid": os.getpid(), **said}
    os.write(_file(), json.dumps(line).encode() + b"\n")


@contextmanager
def body() -> Iterator[None]:
    """Around the body of a task or step: that it begins, and that it ends."""
    context = task_context()
    who = {"run": context.run, "key": context.key, "attempt": context.attempt}
    tell("begun", **who)
    try:
        yield
    except BaseException:
        tell("raised", **who)
        raise
    tell("ended", **who)


def within(value: T) -> T:
    """A body that only gives a value."""
    with body():
        return value


def told(file: Path, what: str, run: str | None = None) -> list[dict[str, Any]]:
    """What was told so far, of one run if one is named."""
    lines = file.read_text().splitlines() if file.exists() else []
    found = [json.loads(line) for line in lines]
    return [each for each in found if each["what"] == what and run in (None, each["run"])]
