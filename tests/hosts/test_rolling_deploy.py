"""A rolling deploy under load: every server is replaced, and nobody notices."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.proxy import RoundRobin
from tests.support.server import ServerProcess, client_of

REPLICAS, LOADERS = 3, 4
APP = """
import asyncio
import os
from pathlib import Path

from rewake import parallel, sleep, step, task, workflow

TRACE = Path(os.environ["REWAKE_TRACE"])


def note(what: str) -> None:
    with TRACE.open("a") as file:
        file.write(what + "\\n")


@task(retries=0)
async def part(run: int, number: int) -> int:
    await asyncio.sleep(0.05)
    note(f"part {run} {number}")
    return number


@task(retries=0)
async def long(run: int) -> str:
    note(f"begun {run} long")
    await asyncio.sleep(4)
    note(f"long {run}")
    return "long"


@workflow
async def order(run: int) -> list[object]:
    first = await part(run, 0)
    stamped = await step("stamp", lambda: note(f"stamp {run}"))
    several = await parallel([1, 2], lambda number: part(run, number))
    await sleep(0.3)
    slow = await long(run) if run % 5 == 0 else ""
    return [first, stamped, several, await part(run, 3), slow]
"""


@contextlib.contextmanager
def following(proxy: RoundRobin, servers: list[ServerProcess]) -> Iterator[None]:
    """Let the balancer send requests to those that say that they are ready, as they all do."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            ready = []
            for each in list(servers):
                # One that has ended, or whose client was closed at the end of the test, is not.
                with contextlib.suppress(httpx2.TransportError, RuntimeError):
                    if each.client.get("/readyz", timeout=2).status_code == 200:
                        ready.append(each.port)
            proxy.ports = ready or proxy.ports

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def start(client: httpx2.Client, run: int) -> str:
    """Start a run as a client does: the same again, until it is answered."""
    for _ in range(100):
        with contextlib.suppress(httpx2.TransportError):
            response = client.post(
                "/v1/workflows/order/runs",
                json={"run": run},
                headers={"Idempotency-Key": f"order-{run}"},
            )
            if response.status_code == 202:
                found: str = response.json()["id"]
                return found
            assert response.status_code in (502, 503), response.text
        time.sleep(0.05)
    raise AssertionError(f"nobody starts run {run}")


def finish(client: httpx2.Client, run: str) -> Any:
    """What a run came to."""
    for _ in range(30):
        with contextlib.suppress(httpx2.TransportError):
            response = client.get(f"/v1/runs/{run}/result", params={"wait": 10})
            if response.status_code == 200:
                return response.json()
    raise AssertionError(f"run {run} does not end")


@pytest.mark.long
def test_servers_are_replaced_one_after_the_other(tmp_path: Path) -> None:
    """Each run ends right, no task that had ended is done again, and all end with status 0."""
    app, trace, db = tmp_path / "app.py", tmp_path / "trace", tmp_path / "rewake.db"
    app.write_text(APP)
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(RoundRobin())
        settings = {"dispatcher": "http", "url": proxy.url, "grace": 1, "trace": trace}

        def another() -> ServerProcess:
            return stack.enter_context(ServerProcess(app, db, **settings))

        servers = [another() for _ in range(REPLICAS)]
        proxy.ports = [each.port for each in servers]
        stack.enter_context(following(proxy, servers))
        client = stack.enter_context(client_of(proxy.url))
        pool = stack.enter_context(ThreadPoolExecutor(LOADERS))
        numbers, over = itertools.count(), threading.Event()

        def load() -> list[tuple[int, str]]:
            begun = []
            while not over.is_set():
                number = next(numbers)
                begun.append((number, start(client, number)))
                time.sleep(0.1)
            return begun

        loading = [pool.submit(load) for _ in range(LOADERS)]
        ends = []
        for old in list(servers):
            servers.append(another())
            time.sleep(0.3)
            ends.append(old.terminate())  # as a platform does: the new one is ready, so this goes
            servers.remove(old)
        over.set()
        begun = dict(each for loader in loading for each in loader.result())
        results = list(pool.map(finish, [client] * len(begun), begun.values()))
        ended = dict(zip(begun, results, strict=True))
        told = "".join(each.logs() for each in servers)

    assert ends == [0] * REPLICAS
    assert len(begun) > 30
    assert len(set(begun.values())) == len(begun)
    for number, found in ended.items():
        slow = "long" if number % 5 == 0 else ""
        assert (found["state"], found["result"]) == ("done", [0, None, [1, 2], 3, slow])
    lines = trace.read_text().splitlines()
    done = Counter(line for line in lines if not line.startswith("begun"))
    parts = [f"part {run} {number}" for run in begun for number in range(4)]
    long = [f"long {run}" for run in begun if run % 5 == 0]
    assert done == Counter([*parts, *long, *(f"stamp {run}" for run in begun)])
    # Those that a grace was too short for had not ended, and were begun again by another server.
    assert len(lines) - done.total() > len(long)
    assert "was lost with its process" not in told
    assert "Traceback" not in told
