"""SIGTERM while everything is full."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from tests.kill.fleet import APP
from tests.support.server import PATIENCE, ServerProcess

CROWD = 24
ENDS = 4


def test_a_full_server_hands_over_in_time_and_counts_no_death(tmp_path: Path) -> None:
    """Servers with two slots end again and again; another goes on at once, and nothing is lost."""
    (tmp_path / "calls").mkdir()
    settings = {"tasks": 2, "grace": 0, "lease": 600, "test_folder": tmp_path}
    statuses = []
    for number in range(ENDS):
        with ServerProcess(APP, tmp_path / "rewake.db", **settings) as server:
            if number == 0:
                path = "/v1/workflows/crowd/runs?id=the-run"
                server.client.post(path, json={"number": CROWD}).raise_for_status()
            _wait_for_more(tmp_path / "notes", server.pid)
            statuses.append(server.terminate())
    with ServerProcess(APP, tmp_path / "rewake.db", **settings) as server:
        answer = server.client.get(f"/v1/runs/the-run/result?wait={PATIENCE}").json()
        history = server.client.get("/v1/runs/the-run/history").json()

    assert statuses == [0] * ENDS
    assert answer["result"] == list(range(CROWD))
    assert Counter(each["lost"] for each in history["operations"]) == {0: CROWD}


def _wait_for_more(notes: Path, pid: int) -> None:
    """Until a body has begun in this server."""
    deadline = time.monotonic() + PATIENCE
    while f"begun {pid} " not in (notes.read_text() if notes.exists() else ""):
        assert time.monotonic() < deadline, "no body begins"
        time.sleep(0.01)
