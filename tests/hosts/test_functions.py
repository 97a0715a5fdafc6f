"""Other hosts of functions, by their own frameworks: each carries a run to its end by itself."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import httpx2
import pytest

from rewake.errors import ConfigError, StoreUnavailable
from rewake.hosts import wsgi
from rewake.hosts.building import app_from_env
from rewake.hosts.hosts import HOSTS
from rewake.hosts.own_loop import OwnLoop
from tests.support.functions import ROOT, held_in
from tests.support.server import APP, SECRET, client_of

PATIENCE = 40.0


def environ(folder: Path, port: int) -> dict[str, str]:
    """What such a function is configured by."""
    return {
        **{k: v for k, v in os.environ.items() if "REWAKE" not in k},
        "PYTHONPATH": os.pathsep.join([str(ROOT / "runtime"), str(ROOT)]),
        "REWAKE_APP": str(APP),
        "REWAKE_DB": str(folder / "rewake.db"),
        "REWAKE_SECRET": SECRET,
        "REWAKE_DISPATCHER": "http",
        "REWAKE_URL": f"http://127.0.0.1:{port}",
        "PORT": str(port),
        "REWAKE_PORT": "",
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def process(arguments: list[str], given: dict[str, str]) -> Iterator[httpx2.Client]:
    """A server of a framework as a process of its own, once it answers."""
    with (
        subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as running,
        client_of(given["REWAKE_URL"]) as client,
    ):
        assert running.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(running.stdout or ()), daemon=True)
        reader.start()
        try:
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    if client.get("/readyz").status_code == 200:
                        break
                except httpx2.TransportError:
                    assert running.poll() is None, "".join(lines)
                    assert time.monotonic() < until, "".join(lines)
                time.sleep(0.1)
            yield client
        finally:
            running.terminate()
            running.wait(PATIENCE)


def carries_a_run(client: httpx2.Client) -> None:
    """Tasks, a sleep and a person: all of it by requests that the function gets."""
    total = client.post("/v1/workflows/total/runs", params={"wait": 30}, json={"numbers": [1, 2]})
    assert (total.status_code, total.json()["result"]) == (200, 3)
    nap = client.post("/v1/workflows/nap/runs", params={"wait": 30}, json={"seconds": 0.5})
    assert nap.json()["result"] == "rested"
    asked = client.post("/v1/workflows/ask/runs", json={"question": "?"}).json()
    until = time.monotonic() + PATIENCE
    while not (found := client.get(asked["links"]["self"]).json()["approvals"]):
        assert time.monotonic() < until
        time.sleep(0.05)
    client.post(found[0]["decide"], json={"approved": True, "approver": "Ada"})
    result = client.get(asked["links"]["result"], params={"wait": 30}).json()["result"]
    assert result["approver"] == "Ada"


def test_google_cloud_functions(tmp_path: Path) -> None:
    """`handlers/cloud_functions.py` under the functions framework, with several threads."""
    given = environ(tmp_path, free_port())
    source = str(ROOT / "handlers" / "cloud_functions.py")
    arguments = ["functions_framework", "--target", "rewake", "--source", source]
    with process([*arguments, "--host", "127.0.0.1", "--port", given["PORT"]], given) as client:
        carries_a_run(client)


def test_google_cloud_run(tmp_path: Path) -> None:
    """A container on a host that stands still between requests, at the port that it is told."""
    given = environ(tmp_path, free_port()) | {"REWAKE_PLATFORM": "cloud-run"}
    with process(["rewake.hosts.server"], given) as client:
        carries_a_run(client)


def test_any_wsgi_server(tmp_path: Path) -> None:
    """`handlers/wsgi.py` under gunicorn's threads: it goes on between requests, and sweeps.

    When it is told to end, it releases what it holds.
    """
    given = environ(tmp_path, free_port()) | {"REWAKE_DISPATCHER": "in-process"}
    given["REWAKE_GRACE"] = "0.1"
    arguments = ["gunicorn", "handlers.wsgi:application", "--threads", "8"]
    with process([*arguments, "--bind", f"127.0.0.1:{given['PORT']}"], given) as client:
        carries_a_run(client)
        trace = tmp_path / "trace"
        client.post("/v1/workflows/held/runs", json={"trace": str(trace)})
        until = time.monotonic() + PATIENCE
        while not (trace.exists() and held_in(tmp_path)):
            assert time.monotonic() < until
            time.sleep(0.05)
    assert held_in(tmp_path) == []


def test_what_cannot_be_opened_is_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request tries again, for as long as a database is away, and none costs a thread."""

    class Away:
        async def __aenter__(self) -> None:
            raise StoreUnavailable("away")

    monkeypatch.setattr(wsgi, "running", lambda _: Away())
    given = environ(tmp_path, 1) | {"REWAKE_DISPATCHER": "in-process"}
    application = wsgi.WsgiApp.from_env(given)
    threads = []
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            application({}, lambda *_: None)
        threads.append(set(threading.enumerate()))
    assert threads[0] == threads[-1]
    made = application._made
    closed = application.served.state.parts.engine.services.store.close()
    asyncio.run_coroutine_threadsafe(closed, made.loop).result()
    made.loop.call_soon_threadsafe(made.loop.stop)
    while made.loop.is_running():
        time.sleep(0.01)
    made.loop.close()


@pytest.mark.parametrize(
    ("said", "known", "platform"),
    [("", "", "wsgi"), ("cloud-run", "", "cloud-run"), ("container", "vercel", "vercel")],
)
def test_a_wsgi_server_runs_where_its_settings_say(
    tmp_path: Path, said: str, known: str, platform: str
) -> None:
    """Also on one that stands still between requests, unless whoever makes it knows better."""
    given = environ(tmp_path, 1) | {"REWAKE_DISPATCHER": "http", "REWAKE_PLATFORM": said}
    assert wsgi.WsgiApp.from_env(given, platform=known)._config.platform == platform


def test_a_wsgi_server_ends_in_order(tmp_path: Path) -> None:
    """What it closes may need a thread: to look a database up, or to wait for one that ends."""
    code = """
import asyncio
from wsgiref.util import setup_testing_defaults
from rewake.engine.engine import Engine
from rewake.hosts.wsgi import WsgiApp

close = Engine.close

async def told(engine, grace):
    await asyncio.to_thread(print, "closes")
    await close(engine, grace)
    print("is closed")

Engine.close = told
asked = {"PATH_INFO": "/healthz"}
setup_testing_defaults(asked)
print(*WsgiApp.from_env()(asked, lambda *_: None))
"""
    given = environ(tmp_path, 1) | {"REWAKE_DISPATCHER": "in-process", "REWAKE_GRACE": "0.1"}
    arguments = [sys.executable, "-c", code]
    ended = subprocess.run(arguments, env=given, capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[1:] == ["closes", "is closed"], ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_client_of_a_wsgi_server_that_goes_away_ends_its_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What streams to it would wait for ever for somebody who reads, and take a reader's place."""
    ended = threading.Event()

    async def streams(_: Any, __: Any, send: Any) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"one", "more_body": True})
        finally:
            ended.set()

    monkeypatch.setattr(wsgi, "build_app", lambda *_: streams)
    monkeypatch.setattr(wsgi, "running", lambda _: nullcontext())
    application = wsgi.WsgiApp.from_env(environ(tmp_path, 1) | {"REWAKE_DISPATCHER": "in-process"})
    asked: dict[str, Any] = {}
    setup_testing_defaults(asked)

    chunks = application(asked, lambda *_: None)
    assert next(iter(chunks)) == b"one"
    chunks.close()

    assert ended.wait(5)
    loop = application._made.loop
    loop.call_soon_threadsafe(loop.stop)


def test_vercel(tmp_path: Path) -> None:
    """`handlers/vercel.py`, whose server may make an event loop for each request."""
    given = environ(tmp_path, free_port())
    code = "tests.support.loop_per_request"
    with process([code, "handlers.vercel:app", given["PORT"]], given) as client:
        carries_a_run(client)


def test_azure_functions(tmp_path: Path) -> None:
    """`handlers/azure_functions.py` by the adapter of Azure's own package."""
    given = environ(tmp_path, free_port())
    code = "tests.support.azure_host"
    with process([code, "handlers.azure_functions", given["PORT"]], given) as client:
        carries_a_run(client)


@pytest.mark.parametrize("name", [name for name, host in HOSTS.items() if not host.goes_on])
def test_what_would_stand_still_is_refused(name: str, tmp_path: Path) -> None:
    """On a host that stands still between requests, the in-process dispatcher does not start."""
    given = environ(tmp_path, 8000) | {"REWAKE_DISPATCHER": "in-process"}
    with pytest.raises(ConfigError, match="stands still once it has answered"):
        app_from_env(given, platform=name)


def test_an_app_keeps_its_loop_whoever_asks() -> None:
    """Requests from two event loops are answered in a third, and may wait for each other there."""
    loops: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        loops.append(asyncio.get_running_loop())
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": []})

    kept, sent = OwnLoop(app), list[Any]()

    async def ask() -> None:
        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append((message["type"], asyncio.get_running_loop()))

        loops.append(asyncio.get_running_loop())
        await kept({"type": "http"}, receive, send)

    asyncio.run(ask())
    asyncio.run(ask())
    first, inside, second, inside_again = loops
    assert inside is inside_again
    assert len({first, second, inside}) == 3
    assert [loop for _, loop in sent] == [first, second]
