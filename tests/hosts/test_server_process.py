"""A real server: a process of its own, a real socket, real signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

import rewake
from tests.support.server import APP, SECRET, ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that these tests share."""
    with ServerProcess(APP, tmp_path_factory.mktemp("server") / "rewake.db") as server:
        yield server


def wait_for(file: Path) -> str:
    """What is in a file once something is."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {file.name}")


def test_start_and_wait(server: ServerProcess) -> None:
    """A run is started and its result awaited in one request."""
    response = server.client.post("/v1/workflows/total/runs?wait=20", json={"numbers": [1, 2, 3]})

    assert (response.status_code, response.json()["result"]) == (200, 6)


def test_long_poll(server: ServerProcess) -> None:
    """A long poll returns when the run ends, not when its time is over."""
    run = server.client.post("/v1/workflows/nap/runs", json={"seconds": 0.3}).json()
    begun = time.monotonic()
    response = server.client.get(run["links"]["result"], params={"wait": 20})

    assert (response.status_code, response.json()["result"]) == (200, "rested")
    assert time.monotonic() - begun < 5


def test_cancel(server: ServerProcess) -> None:
    """A sleeping run is cancelled at once."""
    run = server.client.post("/v1/workflows/nap/runs", json={"seconds": 600}).json()
    server.client.post(run["links"]["cancel"], json={"reason": "enough"})
    result = server.client.get(run["links"]["result"], params={"wait": 20}).json()

    assert result["state"] == "cancelled"


def test_approval_history_and_logs(server: ServerProcess) -> None:
    """A person decides, and everything that happened can be read."""
    path = "/v1/workflows/ask/runs?wait=0.2"
    run = server.client.post(path, json={"question": "sure?"}).json()
    [approval] = server.client.get(run["links"]["self"]).json()["approvals"]
    server.client.post(approval["decide"], json={"approved": True, "approver": "Ada"})
    result = server.client.get(run["links"]["result"], params={"wait": 20}).json()["result"]
    [operation] = server.client.get(run["links"]["history"]).json()["operations"]

    assert result["approver"] == "Ada"
    assert (operation["kind"], operation["state"]) == ("approval", "done")
    patient = server.client.post("/v1/workflows/patient/runs?wait=20").json()
    lines = server.client.get(f"/v1/runs/{patient['id']}/logs").json()["lines"]
    assert [line["message"] for line in lines] == ["attempt 1", "attempt 2"]


def test_a_body_over_the_limit(server: ServerProcess) -> None:
    """A body that is too large is refused before it is sent, and the connection closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        head = (
            "POST /v1/workflows/total/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n"
            f"Content-Type: application/json\r\n"
            f"Authorization: {server.client.headers['Authorization']}\r\n\r\n"
        )
        connection.sendall(head.encode())
        with connection.makefile("rb") as response:
            assert b"413" in response.readline()
            assert response.read().endswith(b"}")  # and then the connection ends


def test_no_secret_in_the_log(server: ServerProcess) -> None:
    """Neither the secret nor a token is ever logged."""
    server.client.get("/v1/runs")
    httpx2.get(f"{server.url}/v1/runs", headers={"Authorization": "Bearer wrong"}, trust_env=False)

    assert SECRET not in server.logs()
    assert server.client.headers["Authorization"].removeprefix("Bearer ") not in server.logs()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_end(tmp_path: Path, sign: signal.Signals) -> None:
    """On a signal, requests that wait return, and the process ends with status 0, soon."""
    with ServerProcess(APP, tmp_path / "rewake.db") as server:
        run = server.client.post("/v1/workflows/nap/runs", json={"seconds": 600}).json()
        with server.client.stream("GET", run["links"]["result"], timeout=30) as poll:
            poll.read()
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            request = (
                f"GET {run['links']['result']}?wait=60 HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {server.client.headers['Authorization']}\r\n\r\n"
            )
            connection.sendall(request.encode())
            server.client.get("/readyz")  # by now the poll has begun
            begun = time.monotonic()
            server.process.send_signal(sign)
            with connection.makefile("rb") as response:
                assert b"202" in response.readline()

        assert server.wait() == 0
        assert time.monotonic() - begun < 5
        assert "Traceback" not in server.logs()


def test_release_at_the_end(tmp_path: Path) -> None:
    """What a server cannot finish in its grace, another takes at once: no lease has to run out.

    The log names it.
    """
    trace, db = tmp_path / "trace", tmp_path / "rewake.db"
    with ServerProcess(APP, db, grace=0.2, lease=600) as first:
        arguments = {"trace": str(trace)}
        run = first.client.post("/v1/workflows/held/runs", json=arguments).json()
        wait_for(trace)
        with ServerProcess(APP, db, grace=0.2, lease=600) as second:
            begun = time.monotonic()
            assert first.terminate() == 0  # although its thread never ends
            assert f"of run {run['id']} is released: this process stops" in first.logs()
            result = second.client.get(run["links"]["result"], params={"wait": 30}).json()

            assert result["result"] == [str(first.pid), str(second.pid)]
            assert time.monotonic() - begun < 10


LEAVES = """
import asyncio
import multiprocessing
import os
import threading
import time
from pathlib import Path

from rewake import task, workflow

fork = multiprocessing.get_context("fork")


def waits_for_its_parent() -> None:
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(0.05)


@task
async def leaves(how: str, mark: str) -> None:
    if how == "thread":
        threading.Thread(target=time.sleep, args=(30,)).start()
    elif how == "child":
        fork.Process(target=waits_for_its_parent).start()
    begun = asyncio.ensure_future(asyncio.to_thread(time.sleep, 30 if how == "to_thread" else 0))
    await asyncio.sleep(0)
    Path(mark).write_text("begun")
    await begun
    await asyncio.sleep(30)


@workflow
async def main(how: str, mark: str) -> None:
    await leaves(how, mark)
"""


@pytest.mark.parametrize("how", ["to_thread", "thread", "child"])
def test_what_python_would_wait_for_does_not_keep_a_server(tmp_path: Path, how: str) -> None:
    """A server ends soon after its grace, whatever a task left running beside the event loop."""
    app, mark = tmp_path / "app.py", tmp_path / "mark"
    app.write_text(LEAVES)
    with ServerProcess(app, tmp_path / "rewake.db", grace=0.2) as server:
        arguments = {"how": how, "mark": str(mark)}
        server.client.post("/v1/workflows/main/runs", json=arguments)
        wait_for(mark)
        begun = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begun < 15
        assert "what does not end is cut off" in server.logs()


WARNS = """
import os
from rewake import workflow

made = 0

@workflow
async def main() -> None:
    global made
    made += 1

async def nothing() -> None: ...
nothing()
"""


def test_the_log_for_machines_has_warnings_too(tmp_path: Path) -> None:
    """With `json` each line is an object: also what loading the app and Python itself warn of."""
    (tmp_path / "app.py").write_text(WARNS)
    with ServerProcess(tmp_path / "app.py", tmp_path / "rewake.db", log_format="json") as server:
        server.process.terminate()
        server.wait()
    told = [json.loads(line) for line in server.logs().splitlines()]
    warned = [each["message"] for each in told if each["logger"] == "py.warnings"]
    assert len(warned) == 2
    assert any("app.py:9: DeterminismWarning: workflow 'main' changes" in each for each in warned)
    assert any("coroutine 'nothing' was never awaited" in each for each in warned)


def test_a_port_that_is_taken() -> None:
    """A port that is in use is one line on stderr and status 2; the database is not touched."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ServerProcess(APP, Path("/nowhere/rewake.db"), port=taken.getsockname()[1])
        server.start()
        assert server.wait() == 2
        server.__exit__(None, None, None)

    assert server.logs().count("\n") == 1
    assert "cannot listen" in server.logs()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"secret": ""}, "REWAKE_SECRET"),
        ({"secret": "short"}, "REWAKE_SECRET"),
        ({"app": "nowhere.py"}, "nowhere.py"),
        ({"dispatcher": "http"}, "REWAKE_URL"),
        ({"token": "short"}, "REWAKE_TOKEN"),
    ],
)
def test_what_cannot_start(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    """What is not configured well does not start: one line that names it, and status 2."""
    given = {"app": str(APP), "db": str(tmp_path / "rewake.db"), **settings}
    server = ServerProcess(Path(given.pop("app")), Path(given.pop("db")), **given)
    server.start()
    assert server.wait() == 2
    server.__exit__(None, None, None)

    assert server.logs().count("\n") == 1
    assert named in server.logs()


def test_any_asgi_server(tmp_path: Path) -> None:
    """`handlers.asgi` is an ASGI app that the environment configures."""
    root = Path(rewake.__file__).parents[2]
    code = (
        "import json; from starlette.testclient import TestClient; from handlers.asgi import app\n"
        "with TestClient(app) as client: print(json.dumps(client.get('/readyz').json()))"
    )
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(root / "runtime"), str(root)]),
        "REWAKE_APP": str(APP),
        "REWAKE_DB": str(tmp_path / "rewake.db"),
        "REWAKE_SECRET": SECRET,
    }
    told = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )

    assert json.loads(told.stdout)["status"] == "ready"
