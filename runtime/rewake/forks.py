"""What a child that a task forks must not inherit of this process: its signals and descriptors.

`multiprocessing` forks by default on Linux. A child starts with everything that its parent has open
and with its signal handlers, so that

- a signal to the child would not end it, or would reach the event loop of the parent;
- a child that outlives a server would keep its port and its clients' connections open;
- a child that goes on as the server would write under the claims of its parent.

So in a child the signals that this process handles mean what they mean to any program, and what it
has open for itself is replaced by `/dev/null`, under the same numbers, so that no other file gets
one that something here still believes in. What a task has opened stays open, as in plain Python.
Programs that a child executes inherit none of this anyway.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

_DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}


class OfThisProcess(Protocol):
    """Something that belongs to this process alone."""

    def after_fork(self) -> Iterable[int]:
        """In a child: let go of what it has; the descriptors that the child must not use."""
        ...


_withheld: weakref.WeakSet[Any] = weakref.WeakSet()
_signals: set[int] = set()


class _Masks(threading.local):
    former: set[Any] | None = None


_masks = _Masks()


def withhold(owner: OfThisProcess) -> None:
    """Let no child have what belongs to this object, which is held weakly."""
    _install()
    _withheld.add(owner)


def withhold_signals(*numbers: int) -> None:
    """Let no child handle these signals as this process does."""
    _install()
    _signals.update(numbers)


def descriptors_of(*files: Path) -> list[int]:
    """The numbers under which this process has these files open."""
    wanted = set()
    for file in files:
        with suppress(OSError):
            found = file.stat()
            wanted.add((found.st_dev, found.st_ino))
    numbers = []
    for entry in Path("/dev/fd").iterdir():
        with suppress(OSError):  # the one that lists them is closed again
            found = os.fstat(int(entry.name))
            if (found.st_dev, found.st_ino) in wanted:
                numbers.append(int(entry.name))
    return numbers


def end_children() -> None:
    """End the daemon children of `multiprocessing`, as Python does where it may end in order."""
    module: Any = sys.modules.get("multiprocessing")
    if module is not None:
        with suppress(Exception):
            for child in module.active_children():
                if child.daemon:
                    child.terminate()


@functools.cache
def _install() -> None:
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    # Until the child has its own handlers, a signal to it would be taken for one to the parent.
    _masks.former = signal.pthread_sigmask(signal.SIG_BLOCK, _signals)


def _in_parent() -> None:
    if _masks.former is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _masks.former)


def _in_child() -> None:
    try:
        if _signals:
            signal.set_wakeup_fd(-1)
        for number in _signals:
            signal.signal(number, _DEFAULTS.get(number, signal.SIG_DFL))
        _cut_off()
    finally:
        # A child of the child inherits nothing that is not the child's own.
        _signals.clear()
        _withheld.clear()
        _in_parent()


def _cut_off() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    try:
        for owner in list(_withheld):
            with suppress(Exception):  # the others are no less important
                for number in owner.after_fork():
                    os.dup2(null, number, inheritable=False)
    finally:
        os.close(null)
