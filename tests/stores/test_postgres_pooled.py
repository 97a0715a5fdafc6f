"""A PostgreSQL table behind PgBouncer, which gives each transaction another session."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator

import psycopg
import pytest

from rewake.errors import StoreUnavailable
from rewake.records import Header
from rewake.stores.postgres import connecting, opening
from rewake.stores.postgres.place import place_of
from rewake.stores.postgres.table import PostgresTable
from rewake.stores.table import Key
from tests.support.postgres import cluster, free_port, needs_postgres, rest_of, unprivileged

BOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")

pytestmark = [
    needs_postgres,
    pytest.mark.skipif(BOUNCER is None, reason="PgBouncer is not installed"),
]
H = Key("R#1", "H")


@pytest.fixture
def pooled() -> Iterator[str]:
    """The address of a schema with tables, by PgBouncer in transaction mode, of two sessions."""
    port = free_port()
    settings = cluster().folder / f"pgbouncer-{port}.ini"
    with cluster().schema() as address:
        place = psycopg.conninfo.conninfo_to_dict(place_of(rest_of(address)).conninfo)
        server = " ".join(f"{name}={place[name]}" for name in ("host", "port", "user", "password"))
        settings.write_text(
            f"[databases]\npostgres = {server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            "pool_mode = transaction\ndefault_pool_size = 2\n"
        )
        settings.chmod(0o644)
        assert BOUNCER is not None
        process = subprocess.Popen(
            [*unprivileged(), BOUNCER, str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            made = f"postgresql://rewake@127.0.0.1:{port}/postgres?schema={address[-14:]}"
            _wait_for(made)
            yield made
        finally:
            process.kill()
            process.wait()


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            opening.check(rest_of(address))
        except Exception:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def test_it_works_behind_a_pooler(pooled: str) -> None:
    """Nothing is prepared and nothing listened for; reads, writes and all at once come right."""

    async def main() -> None:
        table = opening.open_table(rest_of(pooled))
        try:
            await asyncio.wait_for(table.listen(lambda: None), 5)  # it returns: sweeps find all
            await table.put(H, Header("1", "main", 1, seed=7, runtime=1, due=3))
            adding = [table.update(H, add={"arrivals": 1}) for _ in range(100)]
            reading = [table.get(H) for _ in range(100)]
            await asyncio.gather(*adding, *reading)
            for _ in range(20):
                await table.update(H, add={"arrivals": 1})
            assert (await table.get(H)).arrivals == 120
            assert [each.key for each in await table.due(9, limit=5)] == [H]
        finally:
            await table.close()

    asyncio.run(main())


def test_a_pooler_without_a_free_session_blocks_no_event_loop(
    pooled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets everybody in, and answers when it can: until then all else goes on."""
    monkeypatch.setattr(connecting, "PATIENCE", 0.3)
    place = place_of(rest_of(pooled))

    async def main() -> None:
        table, turns = PostgresTable(place), 0

        async def others() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.01)
                turns += 1

        turning = asyncio.ensure_future(others())
        with psycopg.connect(place.conninfo) as one, psycopg.connect(place.conninfo) as other:
            for each in (one, other):  # both sessions that there are
                each.execute("SELECT")
            with pytest.raises(StoreUnavailable):
                await table.get(H)
        assert turns > 5
        turning.cancel()
        assert await table.get(H) is None
        await table.close()

    asyncio.run(main())
