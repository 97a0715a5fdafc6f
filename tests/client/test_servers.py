"""Both kinds of client and a server that is killed and comes back."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rewake import AsyncClient, Client, TaskError
from rewake.errors import Unauthentic
from tests.support import app
from tests.support.server import APP, TOKEN, ServerProcess


def test_a_result_and_a_stream_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    """Whoever waits for a result, or follows a stream, is told all once it is back; a start that
    finds nobody waits for it too.
    """
    database = tmp_path / "rewake.db"
    with ServerProcess(APP, database, lease=1) as first:
        url, port = first.url, first.port
        client = Client(url, TOKEN)
        run = client.start(app.nap, 2.0)
        followed: list[str] = []
        told_once = threading.Event()

        def follow() -> None:
            for each in run.watch(only=["state"]):
                followed.append(each["state"])
                told_once.set()

        async def wait() -> str:
            async with AsyncClient(url, TOKEN) as waiting:
                return await (await waiting.run(app.nap, run.id)).result()

        with ThreadPoolExecutor(4) as pool:
            follower, waiter = pool.submit(follow), pool.submit(asyncio.run, wait())
            blocking = pool.submit(run.result)
            assert told_once.wait(20)
            first.kill()
            started = pool.submit(client.start, app.total, [1, 2])
            with ServerProcess(APP, database, lease=1, port=port):
                assert waiter.result(30) == "rested"
                assert blocking.result(30) == "rested"
                assert started.result(30).result() == 3
                follower.result(30)
                assert followed == ["running", "done"]
                with pytest.raises(TaskError, match="it broke"):
                    client.start(app.broken).result()
                with (
                    Client(url, "another-token") as stranger,
                    pytest.raises(Unauthentic, match="does not accept this token"),
                ):
                    stranger.get(run.id)
        client.close()
