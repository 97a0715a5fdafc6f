"""Processes that begin as copies of one that has imported all they need: for those that need many.

What they carry out, and how they die, is no different; but they begin in some hundredths of a
second of a processor's time instead of in one.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing import reduction
from pathlib import Path
from typing import Any

_COPIES = multiprocessing.get_context("forkserver")
_STARTING = threading.Lock()
"""The first of several threads that start a process starts the one that all are copies of."""
_IMPORTED: list[str] = []


def copied_from(*modules: str) -> None:
    """Let the processes of this one be copies of one that has imported these modules, too."""
    _IMPORTED.extend(modules)
    _COPIES.set_forkserver_preload(_IMPORTED)


class Forked:
    """A process that calls `main` of a module: what those who start one need of `Popen`.

    `handles`: what it has for stdin, stdout and stderr.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        env: Mapping[str, str],
        cwd: Path,
        handles: Sequence[int],
    ) -> None:
        given = (module, arguments, dict(env), str(cwd), [_Handle(each) for each in handles])
        self._process = _COPIES.Process(target=_carry_out, args=given)
        with _STARTING:
            self._process.start()

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("a copy", timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class _Handle:
    """A descriptor that a copy gets."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _detached, (reduction.DupFd(self._number),)


def _detached(sent: Any) -> int:
    number: int = sent.detach()
    return number


def _carry_out(
    module: str, arguments: Sequence[str], env: Mapping[str, str], cwd: str, handles: Sequence[int]
) -> None:
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path[:] = [cwd, *env.get("PYTHONPATH", "").split(os.pathsep), *sys.path]
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    sys.argv = [module, *arguments]
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace")
    importlib.import_module(module).main()
