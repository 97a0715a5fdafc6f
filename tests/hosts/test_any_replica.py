"""Any replica takes any message: several processes, one database, one of them killed."""

import contextlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.postgres import cluster, needs_postgres
from tests.support.proxy import RoundRobin
from tests.support.server import APP, ServerProcess, client_of

RUNS, PARTS, REPLICAS = 30, 4, 3


def start(client: httpx2.Client, number: int) -> str:
    """Start a run, again and again until somebody has answered: the key makes it one run."""
    for _ in range(20):
        with contextlib.suppress(httpx2.TransportError):
            response = client.post(
                "/v1/workflows/four/runs",
                json={"run": number},
                headers={"Idempotency-Key": f"run-{number}"},
            )
            if response.status_code == 202:
                found: str = response.json()["id"]
                return found
    raise AssertionError(f"nobody starts run {number}")


def finish(client: httpx2.Client, run: str) -> dict[str, Any]:
    """The result of a run, and its history once it is over."""
    for _ in range(20):
        with contextlib.suppress(httpx2.TransportError):
            result = client.get(f"/v1/runs/{run}/result", params={"wait": 10})
            if result.status_code == 200:
                history = client.get(f"/v1/runs/{run}/history")
                return {**result.json(), **history.json()}
    raise AssertionError(f"run {run} does not end")


@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=needs_postgres)])
def test_a_replica_is_killed(tmp_path: Path, database: str) -> None:
    """With one of three replicas killed under load, all results are right, each outcome is one."""
    with contextlib.ExitStack() as stack:
        db = str(tmp_path / "rewake.db")
        if database == "postgres":
            db = stack.enter_context(cluster().schema())
        proxy = stack.enter_context(RoundRobin())
        settings = {"dispatcher": "http", "url": proxy.url, "lease": 1, "cached": 0}
        replicas = [
            stack.enter_context(ServerProcess(APP, db, **settings)) for _ in range(REPLICAS)
        ]
        proxy.ports = [replica.port for replica in replicas]
        client = stack.enter_context(client_of(proxy.url))
        pool = stack.enter_context(ThreadPoolExecutor(RUNS))

        starting = [pool.submit(start, client, number) for number in range(RUNS)]
        starting[RUNS // 3].result()
        replicas[0].kill()
        runs = [each.result() for each in starting]
        ended = list(pool.map(finish, [client] * RUNS, runs))

        survivors = {replica.pid for replica in replicas[1:]}
        logs = "".join(replica.logs() for replica in replicas)
        workers = {part[2] for found in ended for part in found["result"]}

    assert "a-password" not in logs
    assert len(set(runs)) == RUNS
    for number, found in enumerate(ended):
        assert found["state"] == "done"
        # What the workflow was told is what is recorded: one outcome a key, whoever tried it.
        parts = {each["key"]: each["result"] for each in found["operations"]}
        assert found["result"] == [parts[f"parallel[{part}]/mark"] for part in range(PARTS)]
        assert [each[:2] for each in found["result"]] == [[number, part] for part in range(PARTS)]
        completions = Counter(e["key"] for e in found["entries"] if e["type"] == "completed")
        assert completions == dict.fromkeys(parts, 1)
    assert survivors <= workers
