"""Where a server may die. This runs inside it: counting, taking notes, and SIGKILL.

The folder that `REWAKE_TEST_FOLDER` names is shared by all servers of a scenario: `notes` has a
line for each body that begins or ends, `calls/<kind>.<name>` a byte for each call, so that the
n-th is the n-th in all of them together, and `dead-<m>` exists once one of them died at the m-th
of the points. With `REWAKE_TEST_PAUSE` a server does not die there: it stops for so many seconds.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote

from rewake import task_context

ADDRESS = "address"
"""The file that tells the machine where to call."""

T = TypeVar("T")

BEFORE, AFTER, INSIDE = "before", "after", "inside"
AFTER_ASKING = 0.05
"""Seconds into a wait at which a server dies."""
SEPARATOR = ";"
"""Between points where a server is to die."""


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
    kills: tuple[Kill, ...]
    pause: float | None


@functools.cache
def _here() -> _Here | None:
    folder, pause = os.environ.get("REWAKE_TEST_FOLDER"), os.environ.get("REWAKE_TEST_PAUSE")
    if folder is None:
        return None
    kills = os.environ.get("REWAKE_TEST_KILL", "").split(SEPARATOR)
    return _Here(
        Path(folder),
        tuple(Kill.read(kill) for kill in kills if kill),
        None if pause is None else float(pause),
    )


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
    """Die here, if this is a point at which nobody has died yet."""
    here, point = _here(), Kill(kind, name, nth, when)
    if here is not None and point in here.kills:
        die(point)


def die(point: Kill) -> None:
    """End this process with SIGKILL, or pause it, unless one has died at this point."""
    here = _here()
    assert here is not None
    try:
        dead = here.folder / f"dead-{here.kills.index(point)}"
        os.close(os.open(dead, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    if here.pause is not None:
        note(f"paused {os.getpid()} {point}")
        _pause(here.pause)
        return
    note(f"killed {os.getpid()} {point}")
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _pause(seconds: float) -> None:
    """Stop every thread of this process, as a laptop's sleep does."""
    pid = os.getpid()
    script = f"sleep {seconds}; kill -CONT {pid}"
    with subprocess.Popen(["sh", "-c", script]):
        os.kill(pid, signal.SIGSTOP)


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
def body(key: str | None = None) -> Iterator[None]:
    """Around the body of a task or step, or of what is called so: a point, and two notes."""
    key = task_context().key if key is None else key
    note(f"begun {os.getpid()} {key}")
    strike("body", key, arrive("body", key), INSIDE)
    yield
    note(f"ended {os.getpid()} {key}")


def within(value: T) -> T:
    """A body that only gives a value."""
    with body():
        return value


def hand_on(address: str) -> bool:
    """Tell the machine of the scenario where to call: no answer of a server has that."""
    return bool(Path(os.environ["REWAKE_TEST_FOLDER"], ADDRESS).write_text(address))


class _Waiting:
    """Something is about to wait: a point a moment from now, inside the wait.

    No function, for the check of workflows when they are loaded looks into functions.
    """

    def __call__(self, name: str) -> None:
        here = _here()
        with _unguarded():
            nth = arrive("wait", name)
            point = Kill("wait", name, nth, INSIDE)
            if here is not None and point in here.kills:
                timer = threading.Timer(AFTER_ASKING, die, (point,))
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
