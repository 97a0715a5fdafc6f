"""Servers of a tag as processes of their own, beside an untagged one on the same database."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from rewake.cli.remote.tables import run_details
from tests.support.server import PATIENCE, ServerProcess

APP = Path(__file__).parents[1] / "support" / "tagged_app.py"


def start(server: ServerProcess, workflow: str, **arguments: Any) -> str:
    """Start a run; its id."""
    answer = server.client.post(f"/v1/workflows/{workflow}/runs", json=arguments)
    assert answer.status_code == 202, answer.text
    run: str = answer.json()["id"]
    return run


def result(client: httpx2.Client, run: str) -> Any:
    """What a run came to."""
    answer = client.get(f"/v1/runs/{run}/result", params={"wait": PATIENCE})
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def until(seen: Callable[[], bool]) -> float:
    """Wait until something is seen; how many seconds that took."""
    began = time.monotonic()
    while not seen():
        assert time.monotonic() - began < PATIENCE, "it is not seen"
        time.sleep(0.05)
    return time.monotonic() - began


def test_each_task_runs_where_it_belongs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two servers on one file each begins its own, within a second; what a killed one held
    waits for the next of its tag, and who asks is told that nobody serves it.
    """
    db, trace = tmp_path / "rewake.db", tmp_path / "trace"
    with ServerProcess(APP, db, lease=1) as plain:
        with ServerProcess(APP, db, lease=1, tags="gpu") as gpu:
            began = time.monotonic()
            assert result(plain.client, start(plain, "mixed")) == [plain.pid, gpu.pid, plain.pid]
            took = time.monotonic() - began
            assert took < 3, "it waits for a sweep of the one, and then of the other"
            assert result(gpu.client, start(gpu, "mixed")) == [plain.pid, gpu.pid, plain.pid]
            run = start(plain, "waits", trace=str(trace))
            until(lambda: trace.exists() and trace.read_text() == f"{gpu.pid}\n")
            gpu.kill()
        until(lambda: plain.client.get("/readyz").json().get("unserved_tags") == ["gpu"])
        seen = plain.client.get(f"/v1/runs/{run}").json()
        assert seen["state"] == "suspended"
        assert seen["unserved_tags"] == ["gpu"]
        run_details(seen)
        assert "rewake serve --tags gpu" in capsys.readouterr().out
        assert plain.logs().count("tasks wait for the tag gpu, which no server serves") == 1
        findings = plain.client.post("/v1/doctor", json={}).json()["findings"]
        assert ["gpu" in each["told"] for each in findings if each["check"] == "tags"] == [True]
        assert trace.read_text() == f"{gpu.pid}\n"
        with ServerProcess(APP, db, lease=1, tags="gpu") as again:
            assert result(plain.client, run) == again.pid
            until(lambda: "unserved_tags" not in plain.client.get("/readyz").json())
            history = plain.client.get(f"/v1/runs/{run}/history").json()
            [operation] = history["operations"]
            assert operation["tag"] == "gpu"
            assert operation["tries"][-1]["where"].endswith(f":{again.pid}")


def test_a_route_leads_to_another_server(tmp_path: Path) -> None:
    """A message for a task of a tag goes to the address of its route, and is not offered."""
    db = tmp_path / "rewake.db"
    with (
        ServerProcess(APP, db, tags="gpu") as gpu,
        ServerProcess(APP, db, routes=f"gpu={gpu.url}") as plain,
    ):
        run = start(plain, "mixed")
        assert result(plain.client, run) == [plain.pid, gpu.pid, plain.pid]
