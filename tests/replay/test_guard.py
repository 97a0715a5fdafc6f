"""Blocking I/O in a workflow body is refused, live and on replay alike; what may happen may."""

from __future__ import annotations

import asyncio
import bdb
import concurrent.futures
import ftplib
import gc
import glob
import http.client
import importlib
import inspect
import io
import linecache
import logging
import os
import pdb
import shutil
import smtplib
import socket
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import urllib.request
import warnings
import weakref
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rewake import ForbiddenInWorkflow, now, step, task
from rewake.replay import guard
from tests.support.driver import Run

NOWHERE = "/nowhere/at/all"
HERE = Path(__file__)


@task
async def fetch(x: Any) -> Any:
    return x


def in_a_pool() -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(print)


def over_http() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", 9)
    try:
        connection.request("GET", "/")
    finally:
        connection.close()


def by_datagram() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("127.0.0.1", 9))


def through_a_helper() -> str:
    return HERE.read_text()


REFUSED: list[tuple[str, Callable[[], Any]]] = [
    ("open", lambda: open(NOWHERE)),
    ("open", lambda: open(os.devnull, "w")),
    ("open", lambda: os.open(NOWHERE, os.O_RDONLY)),
    ("open", lambda: io.FileIO(os.devnull)),
    (".read_text", HERE.read_text),
    (".read_text", through_a_helper),
    (".write_text", lambda: Path(NOWHERE).write_text("x")),
    ("os.listdir", lambda: os.listdir("/")),
    ("os.scandir", os.scandir),
    ("os.mkdir", lambda: os.mkdir(NOWHERE)),
    ("os.remove", lambda: os.remove(NOWHERE)),
    (".unlink", Path(NOWHERE).unlink),
    (".rename", lambda: Path(NOWHERE).rename(NOWHERE)),
    ("os.rmdir", lambda: os.rmdir(NOWHERE)),
    ("os.chmod", lambda: os.chmod(NOWHERE, 0)),
    ("os.chdir", lambda: os.chdir("/")),
    ("os.truncate", lambda: os.truncate(NOWHERE, 0)),
    ("glob.glob", lambda: glob.glob("/*")),
    ("shutil.copyfile", lambda: shutil.copyfile(NOWHERE, NOWHERE)),
    ("shutil.rmtree", lambda: shutil.rmtree(NOWHERE)),
    ("tempfile.TemporaryFile", tempfile.TemporaryFile),
    ("tempfile.NamedTemporaryFile", tempfile.NamedTemporaryFile),
    ("tempfile.TemporaryDirectory", tempfile.TemporaryDirectory),
    ("sqlite3", lambda: sqlite3.connect(":memory:")),
    ("socket.create_connection", lambda: socket.create_connection(("127.0.0.1", 9))),
    ("getaddrinfo", lambda: socket.getaddrinfo("localhost", 80)),
    ("socket.gethostbyname", lambda: socket.gethostbyname("localhost")),
    ("socket.gethostname", socket.gethostname),
    ("socket.sendto", by_datagram),
    ("urllib.request.urlopen", lambda: urllib.request.urlopen("http://127.0.0.1:9")),
    ("http.client.HTTPConnection.request", over_http),
    ("httpx2", lambda: httpx2.get("http://127.0.0.1:9")),
    ("smtplib.SMTP", lambda: smtplib.SMTP("127.0.0.1", 9)),
    ("ftplib.FTP", lambda: ftplib.FTP("127.0.0.1")),
    ("subprocess.run", lambda: subprocess.run(["true"], check=True)),
    ("subprocess.check_output", lambda: subprocess.check_output(["true"])),
    ("subprocess.Popen", lambda: subprocess.Popen(["true"])),
    ("os.system", lambda: os.system("true")),
    ("os.exec", lambda: os.execv("/bin/true", ["true"])),
    ("os.fork", os.fork),
    ("os.posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {})),
    ("os.kill", lambda: os.kill(os.getpid(), 0)),
    ("threading.Thread.start", lambda: threading.Thread(target=print).start()),
    ("threading.Thread.start", lambda: threading.Timer(1, print).start()),
    ("ThreadPoolExecutor.submit", in_a_pool),
    ("", lambda: os.environ.update(REWAKE_TEST="1")),
    ("input", input),
]


def refused(what: Callable[[], Any], *, cold: bool) -> str:
    """The message of the refusal; the workflow catches it, and goes on."""

    async def main() -> Any:
        try:
            what()
        except ForbiddenInWorkflow as error:
            return [await fetch(str(error)), await fetch("b")]

    run = Run(main, cold=cold).to_the_end()
    message, went_on = run.result
    assert went_on == "b"
    run.close()
    return str(message)


@pytest.mark.parametrize(
    ("name", "what"), REFUSED, ids=[f"{i}-{name}" for i, (name, _) in enumerate(REFUSED)]
)
def test_it_is_refused(name: str, what: Callable[[], Any]) -> None:
    """An error that can be caught names what was called, and the fix; on replay it is the same."""
    message = refused(what, cold=False)
    assert message.startswith("a workflow body cannot use ")
    assert f"{name})" in message or f"{name}." in message
    assert "Put this into a @task, or into a step()." in message
    assert refused(what, cold=True) == message
    assert "REWAKE_TEST" not in os.environ


@pytest.mark.skipif(sys.version_info < (3, 13), reason="Python does not tell of time.sleep before")
def test_to_sleep_there_is_a_durable_way() -> None:
    """`time.sleep` is refused with the advice to use `sleep`."""
    message = refused(lambda: time.sleep(0.001), cold=True)
    assert "(time.sleep)" in message
    assert message.endswith("To wait, use await sleep().")


def test_what_the_standard_library_tells_of_is_known() -> None:
    """Every audit event of a family that does I/O, as the library's own sources name it."""
    families: tuple[str, ...] = (
        "ftplib",
        "glob",
        "http",
        "imaplib",
        "nntplib",
        "os",
        "poplib",
        "pty",
        "pathlib",
    )
    families += ("shutil", "smtplib", "subprocess", "telnetlib", "tempfile", "urllib", "webbrowser")
    told = set()
    for file in Path(sysconfig.get_path("stdlib")).glob("*.py"):
        for piece in file.read_text(errors="replace").split("sys.audit(")[1:]:
            told.add(piece.strip()[1:].partition(piece.strip()[0])[0])
    ours = {each for each in told if each.partition(".")[0] in families}
    assert len(ours) > 10
    assert {each for each in ours if "/" not in each} <= guard._REFUSED.keys()


def test_branches_are_guarded() -> None:
    """A branch, a callback and an async generator are parts of the body."""
    said: list[str] = []

    def attempt() -> None:
        try:
            HERE.read_text()
        except ForbiddenInWorkflow as error:
            said.append(str(error))

    async def branch() -> None:
        attempt()

    async def numbers() -> Any:
        attempt()
        yield 1

    async def main() -> None:
        asyncio.get_running_loop().call_soon(attempt)
        await asyncio.gather(branch(), branch())
        async for _ in numbers():
            attempt()

    Run(main).to_the_end().close()
    assert len(said) == 5


def test_the_finally_blocks_of_a_dropped_instance_are_guarded(tmp_path: Path) -> None:
    """Dropping an instance runs its cleanup code, which changes nothing outside."""
    file = tmp_path / "file"
    file.write_text("kept")
    reached: list[str] = []

    async def main() -> None:
        try:
            await fetch("a")
        finally:
            reached.append("finally")
            file.unlink()

    run = Run(main)
    run.close()
    assert reached == ["finally"]
    assert file.read_text() == "kept"


def test_tasks_steps_and_plain_code_may_do_anything() -> None:
    """Only the body is guarded."""
    read: list[str] = []

    async def main() -> Any:
        size = await step("read", lambda: len(HERE.read_text()))
        return [size, await task(lambda: len(HERE.read_text()))()]

    run = Run(main).to_the_end()
    assert run.result == [len(HERE.read_text())] * 2
    run.close()

    async def outside() -> None:
        read.append(through_a_helper())

    asyncio.run(outside())
    assert read


def test_other_threads_may_do_anything() -> None:
    """While a body runs, its thread alone is guarded."""
    begin, done = threading.Event(), threading.Event()
    read: list[str] = []

    def work() -> None:
        begin.wait(20)
        read.append(HERE.read_text())
        done.set()

    thread = threading.Thread(target=work)
    thread.start()

    async def main() -> bool:
        begin.set()
        return done.wait(20)

    run = Run(main)
    thread.join()
    assert run.result is True
    assert read
    run.close()


# --- what may happen -----------------------------------------------------------------------------


def allowed(what: Callable[[], Any]) -> Any:
    """What it returns in a workflow body, cold and warm."""

    async def main() -> None:
        seen.append(what())
        await fetch("a")
        seen.append(what())

    seen: list[Any] = []
    Run(main, cold=True).to_the_end().close()
    return seen[0]


def test_imports() -> None:
    """A module may be imported in a body, and do at its top what it likes."""

    def what() -> Any:
        for name in ("json.tool", "this_test_imports_me"):
            sys.modules.pop(name, None)
        import json.tool  # noqa: PLC0415

        return json.tool.main, importlib.import_module("this_test_imports_me").text

    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "this_test_imports_me.py")
        module.write_text("with open(__file__) as file:\n    text = file.read()")
        sys.path.insert(0, folder)
        try:
            assert allowed(what)[1] == module.read_text()
        finally:
            sys.path.remove(folder)
            sys.modules.pop("this_test_imports_me", None)


def test_logging_to_a_file(tmp_path: Path) -> None:
    """A handler opens its file when the first line comes, and that may be a body's."""
    handler = logging.FileHandler(tmp_path / "log", delay=True)
    logger = logging.getLogger("tests.guard")
    logger.addHandler(handler)
    try:
        allowed(lambda: logger.warning("said"))
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert "said" in (tmp_path / "log").read_text()


def test_warnings_and_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both read the source of what they are about."""

    def what() -> str:
        linecache.clearcache()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("beware", stacklevel=1)
        linecache.clearcache()
        return inspect.getsource(allowed) + "".join(linecache.getlines(__file__))

    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(warnings, "showwarning", _show_on(shown))
    assert "def allowed" in allowed(what)
    assert 'warnings.warn("beware"' in shown.getvalue()


def _show_on(shown: io.StringIO) -> Any:
    def show(message: Any, category: Any, filename: Any, lineno: Any, *_: Any) -> None:
        shown.write(warnings.formatwarning(message, category, filename, lineno))

    return show


def test_time_zones() -> None:
    """A zone is read from the machine's files once in a process: that must not fail in a body."""
    if not zoneinfo.TZPATH or "Europe/Paris" not in zoneinfo.available_timezones():
        pytest.skip("there are no time zones here")

    def what() -> str:
        return str(now().astimezone(zoneinfo.ZoneInfo.no_cache("Europe/Paris")).tzinfo)

    assert allowed(what) == "Europe/Paris"


def test_the_data_of_installed_packages() -> None:
    """What was installed with the code may be read, not written."""
    installed = Path(pytest.__file__)
    assert allowed(installed.read_text)
    assert allowed(lambda: os.listdir(installed.parent))
    assert "(open)" in refused(lambda: open(installed, "a"), cold=True)
    assert "remove" in refused(lambda: os.remove(NOWHERE), cold=True)


def test_printing(capfd: pytest.CaptureFixture[str]) -> None:
    """Printing is not noticed."""
    allowed(lambda: print("hello"))  # noqa: T201
    assert "hello" in capfd.readouterr().out


def test_a_debugger(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """At the prompt of a debugger in a body anything goes; the body itself stays guarded."""

    def what() -> Any:
        debugger = pdb.Pdb(
            stdin=io.StringIO(f"p open({str(HERE)!r}).readline()\nc\n"), nosigint=True
        )
        debugger.use_rawinput = False
        debugger.set_trace(sys._getframe())
        return isinstance(debugger, bdb.Bdb)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert allowed(what)
        gc.collect()
    assert "live and on replay alike" in capsys.readouterr().out


def test_finalisers_of_others(tmp_path: Path) -> None:
    """What the collector finds while a body runs is not the body's doing."""

    class Owner:
        def __init__(self, file: Path) -> None:
            self.me = self
            self.file = file

        def __del__(self) -> None:
            self.file.write_text("closed")

    other = tmp_path / "other"
    garbage = Owner(tmp_path / "file")
    weakref.finalize(garbage, lambda: other.write_text("gone"))
    del garbage
    allowed(gc.collect)
    assert (tmp_path / "file").read_text() == "closed"
    assert other.read_text() == "gone"


class Reopened:
    """A value that reads a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.text = file.read_text()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["file"])  # type: ignore[misc]


def test_values_that_do_io_when_they_are_unpickled() -> None:
    """A result is unpickled at each replay, under the workflow's loop: it may be any object."""

    async def main() -> int:
        found = await task(lambda: Reopened(HERE))()
        return len(found.text)

    run = Run(main, cold=True).to_the_end()
    assert run.result == len(HERE.read_text())
    run.close()


def test_a_module_that_is_named_like_machinery_is_guarded() -> None:
    """A user's own `cmd.py` is not the debugger's."""
    names = {"__name__": "cmd", "path": str(HERE)}
    exec("def read():\n    return open(path).read()", names)
    read: Any = names["read"]
    assert "(open)" in refused(read, cold=True)
