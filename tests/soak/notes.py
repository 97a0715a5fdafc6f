"""What bodies note when they begin and end, in one file that all servers append to."""

from __future__ import annotations

import functools
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rewake import task_context

FOLDER = "REWAKE_TEST_FOLDER"
"""The variable that names the folder."""


class Note(NamedTuple):
    """One beginning or end of a body: `what` is `begun`, `ended` or `raised`."""

    what: str
    at: float
    """Seconds of the monotonic clock, which all processes of a machine share."""
    pid: int


@functools.cache
def _file() -> int:
    path = Path(os.environ[FOLDER]) / "notes"
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


@contextmanager
def body() -> Iterator[None]:
    """Around the body of a task or step."""
    context = task_context()
    operation = f"{context.run} {context.key}"
    _note("begun", operation)
    try:
        yield
    except BaseException:
        _note("raised", operation)
        raise
    _note("ended", operation)


def _note(what: str, operation: str) -> None:
    os.write(_file(), f"{what} {time.monotonic():.4f} {os.getpid()} {operation}\n".encode())


def read(folder: Path) -> Mapping[str, Sequence[Note]]:
    """The notes of each operation, in their order, by run and key."""
    found: dict[str, list[Note]] = defaultdict(list)
    path = folder / "notes"
    for line in path.read_text().splitlines() if path.exists() else ():
        what, at, pid, operation = line.split(" ", 3)
        found[operation].append(Note(what, float(at), int(pid)))
    return found
