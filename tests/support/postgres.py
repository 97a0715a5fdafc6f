"""A PostgreSQL server of our own: a private cluster in a temporary folder, on a free port.

    @needs_postgres
    def test_it() -> None:
        with cluster().schema() as address: ...    # a new one, with tables; dropped afterwards
        with emptied_schema() as address: ...      # this worker's own, emptied: it takes a moment

One cluster serves all workers of a test session: whoever comes first starts it, and it ends with
the process that has the session. Syncs are off, for tests die by their own hand and not by power
cuts; `Cluster.start(durable=True)` has them on, for measuring.
"""

from __future__ import annotations

import functools
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rewake.stores.postgres.opening import create
from rewake.stores.postgres.place import Place, place_of

PATIENCE = 60.0
_USER = "rewake"
_PASSWORD = "a-password-that-no-log-may-have"


@functools.cache
def binaries() -> Path | None:
    """The folder of the server's programs, of the newest version; None: it is not installed."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3])
    )
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).resolve().parent if there else None


needs_postgres = pytest.mark.skipif(binaries() is None, reason="no PostgreSQL server is installed")


@dataclass(frozen=True)
class Cluster:
    """A server that runs. `folder` is all that it has."""

    folder: Path
    port: int

    @classmethod
    def start(cls, *, durable: bool = False, port: int | None = None) -> Cluster:
        """A new server. It refuses to run as root, who lets `postgres` (or `nobody`) do it."""
        folder = Path(tempfile.mkdtemp(prefix="rewake-postgres-"))
        cluster = cls(folder, port or free_port())
        if os.geteuid() == 0:
            shutil.chown(folder, _somebody())
        secret = folder / "password"
        secret.write_text(_PASSWORD)
        secret.chmod(0o644)
        try:
            cluster.do(
                "initdb", "-D", str(cluster.data), "-U", _USER, "-E", "UTF8", "--locale=C.UTF-8",
                "--auth=scram-sha-256", f"--pwfile={secret}", *([] if durable else ["--no-sync"]),
            )  # fmt: skip
            settings = {
                "listen_addresses": "127.0.0.1",
                "port": str(cluster.port),
                "unix_socket_directories": "",
                "max_connections": "200",
                "shared_buffers": "64MB",
            }
            if not durable:
                settings |= dict.fromkeys(("fsync", "full_page_writes"), "off")
            with (cluster.data / "postgresql.conf").open("a") as file:
                file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
            cluster.up()
        except BaseException:
            cluster.end()
            raise
        return cluster

    @property
    def data(self) -> Path:
        """Where its data is."""
        return self.folder / "data"

    def up(self) -> None:
        """Start the server, and wait until it answers."""
        log = str(self.folder / "log")
        self.do("pg_ctl", "-D", str(self.data), "-l", log, "-w", "-t", "30", "start")

    def down(self, mode: str = "immediate") -> None:
        """Stop the server: by default as a power cut does."""
        self.do("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "stop")

    def end(self) -> None:
        """Stop it for good, and remove all it has."""
        with suppress(subprocess.CalledProcessError):
            self.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    def do(self, program: str, *arguments: str) -> None:
        """Run one of the server's programs, as a user that it accepts."""
        folder = binaries()
        assert folder is not None
        line = [*unprivileged(), str(folder / program), *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run(
            line, cwd="/", env=environment, stdin=subprocess.DEVNULL, check=False,
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            told = (done.stdout or b"").decode()
            raise subprocess.CalledProcessError(done.returncode, line, told)

    def address(self, schema: str, database: str = "postgres", **more: str) -> str:
        """`REWAKE_DB` for a schema."""
        query = "".join(f"&{name}={value}" for name, value in more.items())
        place = f"{_USER}:{_PASSWORD}@127.0.0.1:{self.port}/{database}"
        return f"postgresql://{place}?schema={schema}{query}"

    @contextmanager
    def schema(self) -> Iterator[str]:
        """The address of a schema of its own, with tables."""
        name = f"t_{secrets.token_hex(6)}"
        address = self.address(name)
        create(rest_of(address))
        try:
            yield address
        finally:
            with self.connected() as connection:
                connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')

    def connected(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of a user's own."""
        place = f"{_USER}:{_PASSWORD}@127.0.0.1:{self.port}/{database}"
        return psycopg.connect(f"postgresql://{place}", autocommit=True)


def rest_of(address: str) -> str:
    """What follows the scheme of an address."""
    return address.partition(":")[2]


def unprivileged() -> list[str]:
    """What a command begins with that refuses to be root's."""
    if os.geteuid() != 0:
        return []
    who = _somebody()
    return ["setpriv", f"--reuid={who}", f"--regid={who}", "--clear-groups"]


def _somebody() -> str:
    import pwd  # noqa: PLC0415 - POSIX only

    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


# --- one for all workers of a session -------------------------------------------------------------


@functools.cache
def cluster() -> Cluster:
    """The server of this test session: whoever comes first starts it."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    folder = Path(tempfile.gettempdir()) / f"rewake-postgres-of-{session}"
    told = folder / "told"
    try:
        folder.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + PATIENCE
        while not told.exists():
            assert time.monotonic() < deadline, "the worker that starts PostgreSQL does not"
            time.sleep(0.05)
        where, port = told.read_text().split()
        return Cluster(Path(where), int(port))
    made = Cluster.start()
    part = folder / "part"
    part.write_text(f"{made.folder} {made.port}")
    part.rename(told)
    _end_with(os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid(), made, folder)
    return made


def _end_with(pid: int, cluster: Cluster, folder: Path) -> None:
    """End the server once that process is gone, however it ends."""
    watch = (
        "import os, shutil, sys, time\n"
        "pid, folder, port, session, *sys.path[:0] = sys.argv[1:]\n"
        "from pathlib import Path\n"
        "from tests.support.postgres import Cluster\n"
        "while os.path.exists(f'/proc/{pid}'): time.sleep(0.5)\n"
        "Cluster(Path(folder), int(port)).end()\n"
        "shutil.rmtree(session)\n"
    )
    where = [str(pid), str(cluster.folder), str(cluster.port), str(folder), *sys.path]
    watching = subprocess.Popen(
        [sys.executable, "-c", watch, *where],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    watching.returncode = 0  # nobody here waits for it


@functools.cache
def _kept() -> tuple[str, psycopg.Connection[tuple[Any, ...]]]:
    name = f"w_{secrets.token_hex(6)}"
    address = cluster().address(name)
    create(rest_of(address))
    return name, cluster().connected()


@contextmanager
def emptied_schema() -> Iterator[str]:
    """The address of a schema of this process, empty. One at a time."""
    name, connection = _kept()
    connection.execute(f'TRUNCATE "{name}".items, "{name}".blobs')
    yield cluster().address(name)


def emptied_connection() -> tuple[Place, psycopg.Connection[tuple[Any, ...]]]:
    """The same, with a connection that is kept for those who come often."""
    with emptied_schema() as address:
        return place_of(rest_of(address)), _kept()[1]
