"""A shell in a folder of its own: writes files, and runs `rewake` there as a user does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Self

import rewake
from tests.support.forked import Forked, copied_from

copied_from("rewake.cli.commands", "rewake.hosts.server", "rewake.client")

PATIENCE = 30.0
"""Seconds after which a test gives up waiting."""
_ROOT = Path(rewake.__file__).parents[1]


def clean_environment(**settings: str) -> dict[str, str]:
    """The environment without what a developer may have set of Rewake's."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("REWAKE_")}
    return {**kept, "PYTHONPATH": str(_ROOT), "PYTHONDONTWRITEBYTECODE": "1", **settings}


def eventually(holds: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def begun(
    shell: Shell, arguments: Sequence[str], handles: Sequence[int]
) -> subprocess.Popen[bytes] | Forked:
    """A command that has begun in a shell. `handles`: its stdin, stdout and stderr."""
    env = clean_environment(PYTHONUNBUFFERED="1", **shell.settings)
    if not any(name.startswith("PYTHON") for name in shell.settings):
        return Forked("rewake.cli", *arguments, env=env, cwd=shell.folder, handles=handles)
    command, (stdin, stdout, stderr) = [sys.executable, "-m", "rewake", *arguments], handles
    return subprocess.Popen(
        command, cwd=shell.folder, env=env, stdin=stdin, stdout=stdout, stderr=stderr
    )


def _whole(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


class Shell:
    """Commands in `folder`, with `settings` as further environment variables."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.settings = settings

    def write(self, name: str, text: str) -> None:
        """Write a file, as an editor does."""
        (self.folder / name).write_text(text)

    def read(self, name: str) -> str:
        """A file's text; none is empty."""
        file = self.folder / name
        return file.read_text() if file.exists() else ""

    def rewake(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Without `stdin` there is nothing to read."""
        with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as error:
            given.write((stdin or "").encode())
            given.seek(0)
            process = begun(self, arguments, [each.fileno() for each in (given, out, error)])
            try:
                status = process.wait(PATIENCE)
            finally:
                process.kill()
            told = [_whole(each) for each in (out, error)]
        return subprocess.CompletedProcess(arguments, status, *told)

    def begin(self, *arguments: str) -> Command:
        """Start a command; to be used as a context manager."""
        return Command(self, arguments)


class Command:
    """A command that is running, and what it has said so far."""

    def __init__(self, shell: Shell, arguments: tuple[str, ...]) -> None:
        self._said: dict[str, list[str]] = {"stdout": [], "stderr": []}
        pipes = [os.pipe() for _ in self._said]
        with Path(os.devnull).open() as nothing:
            handles = [nothing.fileno(), *(writing for _, writing in pipes)]
            self.process = begun(shell, arguments, handles)
        for _, writing in pipes:
            os.close(writing)
        self._readers = [
            threading.Thread(target=self._read, args=(name, reading), daemon=True)
            for name, (reading, _) in zip(self._said, pipes, strict=True)
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, name: str, reading: int) -> None:
        with os.fdopen(reading) as lines:
            for line in lines:
                self._said[name].append(line)

    @property
    def stdout(self) -> str:
        """What it has written there so far."""
        return "".join(self._said["stdout"])

    @property
    def stderr(self) -> str:
        """What it has written there so far."""
        return "".join(self._said["stderr"])

    def says(self, text: str) -> None:
        """Wait until it has said that."""
        eventually(
            lambda: text in self.stdout + self.stderr or self.process.poll() is not None, text
        )
        assert text in self.stdout + self.stderr, self.stdout + self.stderr

    def signal(self, number: signal.Signals) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        code = self.process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.wait()
