"""Where a server may die. This runs inside it: counting, taking notes, and SIGKILL.

The folder that `REWAKE_TEST_FOLDER` names is shared by all servers of a scenario: `notes` has a
line for each body that begins or ends, `calls/<kind>.<name>` a byte for each call, so that the
n-th is the n-th in all of them together, and `dead` exists once one of them died.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

from rewake import task_context

T = TypeVar("T")

BEFORE, AFTER, INSIDE = "before", "after", "inside"
AFTER_ASKING = 0.05
"""Seconds into a wait at which a server dies."""


class Kill(NamedTuple):
    """A point: the n-th call of `name`, before or after it, or the n-th time inside a body.

    `kind` is `store`, `table`, `dispatch`, `body` (`name` is the operation's key), or `wait`.
    """

    kind: str
    name: str
    nth: int = 1
    when: str = INSIDE

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}:{self.nth}:{self.when}"

    @classmethod
    def read(cls, text: str) -> Self:
        """What `str` made of it."""
        kind, rest = text.split(":", 1)
        name, nth, when = rest.rsplit(":", 2)
        return cls(kind, name, int(nth), when)


class _Here(NamedTuple):
    """This process's part in a scenario."""

    folder: Path
    kill: Kill | None


@functools.cache
def _here() -> _Here | None:
    folder, kill = os.environ.get("REWAKE_TEST_FOLDER"), os.environ.get("REWAKE_TEST_KILL")
    return _Here(Path(folder), Kill.read(kill) if kill else None) if folder else None


@functools.cache
def _file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def note(text: str) -> None:
    """Add a line to the notes, whole, whatever happens next."""
    if here := _here():
        os.write(_file(here.folder / "notes"), f"{text}\n".encode())


def arrive(kind: str, name: str) -> int:
    """Count one call; how many there were by now, in all servers."""
    here = _here()
    if here is None:
        return 0
    calls = _file(here.folder / "calls" / quote(f"{kind}.{name}", safe=""))
    os.write(calls, b".")
    return os.lseek(calls, 0, os.SEEK_CUR)  # what is appended moves the position to its end


def strike(kind: str, name: str, nth: int, when: str) -> None:
    """Die here, if this is the point and nobody has died yet."""
    here = _here()
    if here is not None and here.kill == (kind, name, nth, when):
        die()


def die() -> None:
    """End this process with SIGKILL, unless one has died in this scenario."""
    here = _here()
    assert here is not None
    try:
        os.close(os.open(here.folder / "dead", os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    note(f"killed {os.getpid()} {here.kill}")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


# --- in calls ----------------------------------------------------------------------------------


def counted(kind: str, base: type[T], names: Iterable[str]) -> type[T]:
    """The class with these of its async methods counted, each a point before and after."""
    return type(base.__name__, (base,), {name: _counted(kind, base, name) for name in names})


def _counted(kind: str, base: type[Any], name: str) -> Callable[..., Any]:
    original = getattr(base, name)

    @functools.wraps(original)
    async def method(*args: Any, **kwargs: Any) -> Any:
        nth = arrive(kind, name)
        strike(kind, name, nth, BEFORE)
        try:
            return await original(*args, **kwargs)
        finally:
            strike(kind, name, nth, AFTER)

    return method


# --- in the workflow ---------------------------------------------------------------------------


@contextmanager
def body() -> Iterator[None]:
    """Around the body of a task or step: a point, and two notes."""
    key = task_context().key
    note(f"begun {os.getpid()} {key}")
    strike("body", key, arrive("body", key), INSIDE)
    yield
    note(f"ended {os.getpid()} {key}")


def within(value: T) -> T:
    """A body that only gives a value."""
    with body():
        return value


class _Waiting:
    """Something is about to wait: a point a moment from now, inside the wait.

    No function, for the check of workflows when they are loaded looks into functions.
    """

    def __call__(self, name: str) -> None:
        here = _here()
        with _unguarded():
            nth = arrive("wait", name)
            if here is not None and here.kill == ("wait", name, nth, INSIDE):
                timer = threading.Timer(AFTER_ASKING, die)
                timer.daemon = True
                timer.start()


waiting = _Waiting()


@contextmanager
def _unguarded() -> Iterator[None]:
    """Inside the block a workflow's body may do what it must not."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
