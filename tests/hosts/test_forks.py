"""Children that tasks fork, in a real server: what they do not inherit."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import ServerProcess

APP = """
import asyncio
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

from rewake import forks, task, workflow

fork = multiprocessing.get_context("fork")


def tell(file: str, db: str) -> None:
    handlers = [str(signal.getsignal(each)) for each in (signal.SIGTERM, signal.SIGINT)]
    files = [Path(f"{db}{end}") for end in ("", "-wal", "-shm")]
    told = {
        "pid": os.getpid(),
        "handlers": handlers,
        "plain": [str(signal.SIG_DFL), str(signal.default_int_handler)],
        "databases": forks.descriptors_of(*files),
        "blocked": [str(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
    }
    Path(f"{file}.new").write_text(json.dumps(told))
    os.rename(f"{file}.new", file)
    time.sleep(60)


def has_told(file: str) -> None:
    while not Path(file).exists():
        time.sleep(0.01)


@task
def ends(file: str, db: str) -> int:
    child = fork.Process(target=tell, args=(file, db))
    child.start()
    has_told(file)
    child.terminate()
    child.join(20)
    return child.exitcode


@task
async def ends_async(file: str, db: str) -> int:
    child = fork.Process(target=tell, args=(file, db))
    child.start()
    await asyncio.to_thread(has_told, file)
    child.terminate()
    await asyncio.to_thread(child.join, 20)
    return child.exitcode


@task
def outlives(file: str, db: str) -> int:
    fork.Process(target=tell, args=(file, db)).start()
    has_told(file)
    return 0


@task
async def returns(file: str, db: str) -> int:
    child = os.fork()
    if child == 0:
        await asyncio.sleep(0)
        Path(file).write_text("the child went on in the event loop")
        return 0
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    return os.waitstatus_to_exitcode(status)


TASKS = {each.name: each for each in (ends, ends_async, outlives, returns)}


@workflow
async def main(name: str, file: str, db: str) -> int:
    return await TASKS[name](file, db)
"""


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """A server of this app, which the test enters."""
    app = tmp_path / "app.py"
    app.write_text(APP)
    return ServerProcess(app, tmp_path / "a.db")


def outcome(server: ServerProcess, name: str, folder: Path) -> object:
    """What the task of this name returned."""
    given = {"name": name, "file": str(folder / "told"), "db": str(folder / "a.db")}
    done = server.client.post("/v1/workflows/main/runs?wait=25", json=given).json()
    return done.get("result", done)


@pytest.mark.parametrize("name", ["ends", "ends_async"])
def test_a_child_has_plain_signals_and_no_database(
    server: ServerProcess, tmp_path: Path, name: str
) -> None:
    """SIGTERM ends the child, and the server does not hear of it."""
    with server:
        assert outcome(server, name, tmp_path) == -signal.SIGTERM
        told = json.loads((tmp_path / "told").read_text())
        assert told["handlers"] == told["plain"]
        assert told["databases"] == []
        assert told["blocked"] == []
        assert server.client.get("/readyz").status_code == 200


def test_a_child_does_not_keep_the_port(server: ServerProcess, tmp_path: Path) -> None:
    """A child that outlives a killed server holds neither its port nor its clients."""
    with server:
        assert outcome(server, "outlives", tmp_path) == 0
        child = json.loads((tmp_path / "told").read_text())["pid"]
        try:
            server.kill()
            server.process.wait()
            socket.create_server(("127.0.0.1", server.port)).close()
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_does_not_go_on_as_the_server(server: ServerProcess, tmp_path: Path) -> None:
    """A child that is forked in the event loop ends where it would give way to the loop."""
    with server:
        assert outcome(server, "returns", tmp_path) == 1
        assert not (tmp_path / "told").exists()


PRELOADED = """
import asyncio
import os
import sys

from rewake.embed import App, Engine, InProcessDispatcher, MemoryTable, Secret, SystemClock
from rewake.errors import ConfigError


async def serve() -> None:
    engine.open()
    await engine.close()


engine = Engine(App(), MemoryTable(), InProcessDispatcher(SystemClock()), Secret("s" * 32))
if os.fork() == 0:
    try:
        asyncio.run(serve())
    except ConfigError as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)
os.wait()
asyncio.run(serve())
print("the parent serves")
"""


def test_an_engine_is_of_the_process_that_made_it() -> None:
    """Children of one parent would make the same names for what they hold, and share it."""
    done = subprocess.run(
        [sys.executable, "-c", PRELOADED], capture_output=True, text=True, timeout=60, check=True
    )
    refused, parent = done.stdout.splitlines()
    assert "before a fork" in refused
    assert parent == "the parent serves"
