"""Links do not reach the log of a server, its access log included."""

from __future__ import annotations

import time
from pathlib import Path

import httpx2

from tests.support.server import ServerProcess

APP = """
from pathlib import Path
from rewake import approval, step, workflow

@workflow
async def main(file: str) -> str:
    ask = approval("boss", approvers=["ann"])
    link = ask.link()
    await step("write", lambda: Path(file).write_text(link))
    return (await ask).decision
"""
URL = "https://app.example/below"


def test_no_log_has_a_link(tmp_path: Path) -> None:
    """At the most talkative level each request is there, with `***` where its token was."""
    app, file = tmp_path / "app.py", tmp_path / "link.txt"
    app.write_text(APP)
    with ServerProcess(app, tmp_path / "rewake.db", log_level="debug", url=URL) as server:
        started = server.client.post("/v1/workflows/main/runs", json={"file": str(file)})
        deadline = time.monotonic() + 20
        while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        link = file.read_text()
        assert link.startswith(f"{URL}/approve/")
        token = link.rpartition("/")[2]
        here = f"{server.url}/approve/{token}"
        with httpx2.Client(trust_env=False) as stranger:
            answers = [
                stranger.get(here, params={"utm": "x"}),
                stranger.head(here),
                stranger.put(here),
                stranger.get(f"{here}/deeper"),
                stranger.get(f"{server.url}//approve/{token}"),
                stranger.post(here, json={"approved": "yes"}),
                stranger.post(here, json={"approved": True}),
            ]
        assert [each.status_code for each in answers] == [200, 200, 405, 404, 401, 422, 200]
        result = server.client.get(f"/v1/runs/{started.json()['id']}/result?wait=20").json()
        assert result["result"] == "approved"
        server.terminate()
        logs = server.logs()
        assert logs.count("/approve/***") == len(answers)
        assert token not in logs
        assert token.partition(".")[0] not in logs


def test_a_server_without_an_address_says_so(tmp_path: Path) -> None:
    """Once, when it starts: a run that reads a link waits there, and the log says for what."""
    app, file = tmp_path / "app.py", tmp_path / "link.txt"
    app.write_text(APP)
    with ServerProcess(app, tmp_path / "rewake.db") as server:
        started = server.client.post("/v1/workflows/main/runs", json={"file": str(file)}).json()
        deadline = time.monotonic() + 20
        while "put back" not in server.logs() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "is put back for another process: it reads a link" in server.logs()
        assert server.logs().count("REWAKE_URL is not set: a run") == 1
        run = f"/v1/runs/{started['id']}"
        assert server.client.get(run).json()["state"] in ("ready", "running", "suspended")
        server.terminate()
    with ServerProcess(app, tmp_path / "rewake.db", url=URL) as server:
        while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        path = file.read_text().removeprefix(URL)
        answer = httpx2.post(f"{server.url}{path}", json={"approved": False}, trust_env=False)
        assert answer.json()["decision"] == "rejected"
        assert server.client.get(f"{run}/result?wait=20").json()["result"] == "rejected"
        assert "REWAKE_URL is not set" not in server.logs()
