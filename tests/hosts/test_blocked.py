"""A real server whose event loop is blocked: it says by what, and ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from rewake.engine.handover.watchdog import ENDED
from tests.support.server import PATIENCE, ServerProcess

APP = """
import time
from pathlib import Path

from rewake import task, workflow


@workflow
async def spins() -> None:
    while True:
        pass


@task
async def blocks(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).write_text("blocked")
        time.sleep(3600)
    return "done"


@workflow
async def blocked(mark: str) -> str:
    return await blocks(mark)


@task
def long(mark: str) -> str:
    if not Path(mark).exists():
        Path(mark).write_text("begun")
        time.sleep(3600)
    return "done"


@workflow
async def innocent(mark: str) -> str:
    return await long(mark)
"""


def written(folder: Path) -> Path:
    """The app, as a file."""
    app = folder / "app.py"
    app.write_text(APP)
    return app


def wait_for(file: Path) -> None:
    """Wait until the file is there."""
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < deadline, f"nothing was written to {file.name}"
        time.sleep(0.01)


def test_a_body_that_never_ends_ends_its_server_once(tmp_path: Path) -> None:
    """Its run is stuck with the line; what ran beside it goes on at the next server, unharmed."""
    app, mark = written(tmp_path), tmp_path / "mark"
    with ServerProcess(app, tmp_path / "a.db", blocked=2) as server:
        innocent = server.client.post(
            "/v1/workflows/innocent/runs", json={"mark": str(mark)}
        ).json()
        wait_for(mark)
        spins = server.client.post("/v1/workflows/spins/runs", json={}).json()
        assert server.process.wait(PATIENCE) == ENDED
    assert f"by the body of run {spins['id']}, at {app}:1" in server.logs()
    with ServerProcess(app, tmp_path / "a.db", blocked=2) as server:
        stuck = server.client.get(spins["links"]["self"]).json()
        assert (stuck["state"], stuck["error"]["type"]) == ("stuck", "blocked")
        assert f"{app}:1" in stuck["error"]["message"]
        result = server.client.get(innocent["links"]["result"], params={"wait": 20}).json()
        assert result["result"] == "done"
        history = server.client.get(innocent["links"]["history"]).json()
        assert history["operations"][0]["lost"] == 0


def test_a_task_that_blocks_the_loop_is_lost_once(tmp_path: Path) -> None:
    """Its attempt counts as lost, so the next server tries it again, and knows of the loss."""
    app, mark = written(tmp_path), str(tmp_path / "mark")
    with ServerProcess(app, tmp_path / "a.db", blocked=2) as server:
        run = server.client.post("/v1/workflows/blocked/runs", json={"mark": mark}).json()
        assert server.process.wait(PATIENCE) == ENDED
    assert "by task blocks of run" in server.logs()
    with ServerProcess(app, tmp_path / "a.db", blocked=2) as server:
        result = server.client.get(run["links"]["result"], params={"wait": 20}).json()
        assert result["result"] == "done"
        history = server.client.get(run["links"]["history"]).json()
        assert history["operations"][0]["lost"] == 1


def test_a_server_with_a_blocked_loop_obeys_sigterm(tmp_path: Path) -> None:
    """It ends with 0 after its grace; the attempt that blocked is released, and not lost."""
    app, mark = written(tmp_path), tmp_path / "mark"
    with ServerProcess(app, tmp_path / "a.db", grace=0.2) as server:
        run = server.client.post("/v1/workflows/blocked/runs", json={"mark": str(mark)}).json()
        wait_for(mark)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    with ServerProcess(app, tmp_path / "a.db") as server:
        result = server.client.get(run["links"]["result"], params={"wait": 20}).json()
        assert result["result"] == "done"
        history = server.client.get(run["links"]["history"]).json()
        assert history["operations"][0]["lost"] == 0


def test_rewake_run_with_a_blocked_loop_ends(tmp_path: Path) -> None:
    """`rewake run` ends with its own status, and the run is stuck when it is asked again."""
    app = written(tmp_path)
    command = [sys.executable, "-m", "rewake", "run", f"{app}:spins", "--id", "r1"]
    first, again = (
        subprocess.run(
            command,
            check=False,
            cwd=tmp_path,
            env={"REWAKE_BLOCKED": "2"},
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
        )
        for _ in range(2)
    )
    assert first.returncode == ENDED
    assert "the event loop is blocked" in first.stderr
    assert again.returncode == 4
    assert "blocked: it blocked the event loop" in again.stderr
