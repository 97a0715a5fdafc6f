"""A PostgreSQL database of somebody's: his settings, and another role than the one that serves."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg.conninfo import conninfo_to_dict

from rewake.cli.local.watch import watch
from rewake.cli.told import Teller
from rewake.errors import RunNotFound, StoreUnsuitable
from rewake.hosts.databases import Address
from rewake.records import Header
from rewake.stores.keys import header_key
from rewake.stores.postgres import opening
from rewake.stores.postgres.place import place_of
from tests.support.postgres import cluster, needs_postgres, rest_of

pytestmark = needs_postgres


def test_what_libpq_s_variables_say_is_not_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `psql`: a slow network has its time, and a session the name that people look for."""
    ours = conninfo_to_dict(place_of("//h/db").conninfo)
    assert (ours["connect_timeout"], ours["target_session_attrs"]) == ("5", "read-write")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "30")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "any")
    left = conninfo_to_dict(place_of("//h/db").conninfo)
    assert ours.keys() - left.keys() == {"connect_timeout", "target_session_attrs"}
    monkeypatch.setenv("PGAPPNAME", "shop")
    named = "SELECT current_setting('application_name')"
    place = place_of(rest_of(cluster().address("any")))
    with opening.connected(place) as connection:
        assert connection.execute(named).fetchone() == ("shop",)
    monkeypatch.delenv("PGAPPNAME")
    with opening.connected(place) as connection:
        assert connection.execute(named).fetchone() == ("rewake",)


@contextmanager
def role_with(address: str, rights: str) -> Iterator[str]:
    """What follows the scheme of the address for a new role with these rights on the tables."""
    name, schema = f"r_{secrets.token_hex(6)}", place_of(rest_of(address)).schema
    with cluster().connected() as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'a'")
        connection.execute(f'GRANT USAGE ON SCHEMA "{schema}" TO {name}')
        connection.execute(f'GRANT {rights} ON ALL TABLES IN SCHEMA "{schema}" TO {name}')
        yield f"//{name}:a@127.0.0.1:{cluster().port}/postgres?schema={schema}"
        connection.execute(f"DROP OWNED BY {name}")
        connection.execute(f"DROP ROLE {name}")


def test_a_role_that_may_not_write_is_refused_before_it_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told what it lacks: a server was ready, and each write an outage that does not pass."""
    monkeypatch.setenv("REWAKE_SECRET", "s" * 32)
    with cluster().schema() as address, role_with(address, "SELECT, INSERT") as place:
        lacks = "GRANT it UPDATE on items, DELETE on items, DELETE on blobs$"
        with pytest.raises(StoreUnsuitable, match=lacks):
            opening.open_table(place)
        assert "GRANT it" in opening.check(place)[0]
        with pytest.raises(RunNotFound):  # who follows a run need not write
            watch(Address(f"postgresql:{place}"), "none", Teller())


def test_what_a_role_needs_is_what_is_told() -> None:
    """With rights on the tables, and the functions, which everybody may call, it serves."""

    async def served(place: str) -> None:
        table, header = opening.open_table(place), Header("1", "main", 1, seed=7, runtime=1)
        assert (await table.put(header_key("1"), header)).ok
        assert (await table.update(header_key("1"), add={"epoch": 1})).ok
        await table.put_blob("1", "a", b"x")
        assert not await table.delete_blobs("1", limit=9)
        await table.delete([header_key("1")])
        await table.close()

    with cluster().schema() as address:
        schema = place_of(rest_of(address)).schema
        with role_with(address, "SELECT, INSERT, UPDATE, DELETE") as place:
            asyncio.run(served(place))
            with cluster().connected() as connection:
                revoke = "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA"
                connection.execute(f'{revoke} "{schema}" FROM PUBLIC')
            with pytest.raises(StoreUnsuitable, match=r"EXECUTE on write\b"):
                opening.open_table(place)
