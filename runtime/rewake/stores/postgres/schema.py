"""What Rewake has in a schema: two tables, three functions, and the version of their layout.

`rewake tables create` makes them and takes older ones on, one step a version, in one transaction
under a lock, so that it can be repeated and several may do it at once. Servers never do: they may
have no right to, and replicas of two versions start side by side.

Keys are bytes, in UTF-8: that orders them by code points whatever the database's collation, and a
text may have a NUL. Bodies are JSON in bytes for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from rewake.errors import StoreUnsuitable
from rewake.stores.postgres.faults import CREATE
from rewake.stores.postgres.place import Place

Row = tuple[Any, ...]

_FIRST: tuple[LiteralString, ...] = (
    "CREATE TABLE {schema}.items (partition bytea NOT NULL, sort bytea NOT NULL, due bigint,"
    " tag bytea NOT NULL, body bytea NOT NULL, PRIMARY KEY (partition, sort))"
    # Most changes of an item leave its due time: with room on its page no index is touched.
    " WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05)",
    "CREATE INDEX items_due ON {schema}.items (tag, due, partition, sort) WHERE due IS NOT NULL",
    "CREATE TABLE {schema}.blobs (run bytea NOT NULL, name bytea NOT NULL, data bytea NOT NULL,"
    " PRIMARY KEY (run, name))",
    # By key, one after another: a plan that reads the whole table is never chosen.
    """CREATE FUNCTION {schema}.found(partitions bytea[], sorts bytea[])
    RETURNS TABLE (number integer, body bytea) LANGUAGE plpgsql STABLE AS $$
    BEGIN
      FOR i IN 1 .. cardinality(partitions) LOOP
        RETURN QUERY SELECT i, items.body FROM {schema}.items
          WHERE items.partition = partitions[i] AND items.sort = sorts[i];
      END LOOP;
    END $$""",
    # Of one item, as most writes are: it takes a third of what arrays take.
    """CREATE FUNCTION {schema}.write_one(place bytea, place_sort bytea, base bytea,
      new_due bigint, new_tag bytea, new_body bytea)
    RETURNS SETOF bytea LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
    BEGIN
      IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
      END IF;
      IF base = '' THEN
        INSERT INTO {schema}.items VALUES (place, place_sort, new_due, new_tag, new_body)
          ON CONFLICT DO NOTHING;
      ELSE
        UPDATE {schema}.items SET due = new_due, tag = new_tag, body = new_body
          WHERE partition = place AND sort = place_sort AND sha256(body) = base;
      END IF;
      IF NOT FOUND THEN
        RETURN NEXT (SELECT body FROM {schema}.items
          WHERE partition = place AND sort = place_sort);
      END IF;
    END $$""",
    # Locks are held for as long as a commit takes, but by people and in users' transactions.
    """CREATE FUNCTION {schema}.write(partitions bytea[], sorts bytea[], bases bytea[],
      dues bigint[], tags bytea[], bodies bytea[], runs bytea[], names bytea[], blobs bytea[])
    RETURNS TABLE (number integer, body bytea) LANGUAGE plpgsql SET lock_timeout = '250ms' AS $$
    DECLARE
      stale integer[] := '{{}}';
    BEGIN
      IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
      END IF;
      BEGIN
        FOR i IN 1 .. cardinality(runs) LOOP
          INSERT INTO {schema}.blobs VALUES (runs[i], names[i], blobs[i]) ON CONFLICT DO NOTHING;
        END LOOP;
        FOR i IN 1 .. cardinality(partitions) LOOP
          IF bodies[i] IS NULL THEN
            DELETE FROM {schema}.items
              WHERE items.partition = partitions[i] AND items.sort = sorts[i]
              AND (bases[i] IS NULL OR sha256(items.body) = bases[i]);
          ELSIF bases[i] IS NULL THEN
            INSERT INTO {schema}.items
              VALUES (partitions[i], sorts[i], dues[i], tags[i], bodies[i])
              ON CONFLICT (partition, sort) DO UPDATE
              SET due = excluded.due, tag = excluded.tag, body = excluded.body;
          ELSIF bases[i] = '' THEN
            INSERT INTO {schema}.items
              VALUES (partitions[i], sorts[i], dues[i], tags[i], bodies[i])
              ON CONFLICT DO NOTHING;
          ELSE
            UPDATE {schema}.items SET due = dues[i], tag = tags[i], body = bodies[i]
              WHERE items.partition = partitions[i] AND items.sort = sorts[i]
              AND sha256(items.body) = bases[i];
          END IF;
          IF bases[i] IS NOT NULL AND NOT FOUND THEN
            stale := stale || i;
          END IF;
        END LOOP;
        IF cardinality(stale) > 0 THEN
          RAISE EXCEPTION USING ERRCODE = 'RW001';
        END IF;
      EXCEPTION WHEN SQLSTATE 'RW001' THEN
        NULL;
      END;
      FOR i IN 1 .. cardinality(stale) LOOP
        RETURN QUERY SELECT stale[i], (SELECT items.body FROM {schema}.items
          WHERE items.partition = partitions[stale[i]] AND items.sort = sorts[stale[i]]);
      END LOOP;
    END $$""",
)

STEPS: tuple[tuple[LiteralString, ...], ...] = (_FIRST,)
"""The statements that lead to each version from the one before."""
VERSION = len(STEPS)
"""The version that this Rewake reads and writes."""

_LOCK = SQL("SELECT pg_advisory_xact_lock(hashtext('rewake'), hashtext(%s))")
_VERSION_THERE = SQL("SELECT max(version) FROM {schema}.layout")
_HAS = SQL("SELECT to_regclass(%s) IS NOT NULL")
_HAS_SCHEMA = SQL("SELECT to_regnamespace(%s) IS NOT NULL")
_SETTING = SQL("SELECT current_setting(%s)")
_REPLICA = SQL("SELECT pg_is_in_recovery()")
_NEW_SCHEMA = SQL("CREATE SCHEMA IF NOT EXISTS {schema}")
_NEW_LAYOUT = SQL(
    "CREATE TABLE {schema}.layout (version integer PRIMARY KEY,"
    " made timestamptz NOT NULL DEFAULT now())"
)
_NOTE = SQL("INSERT INTO {schema}.layout (version) VALUES (%s)")


def named(statement: LiteralString, schema: str) -> Composed:
    """A statement about this schema."""
    return SQL(statement).format(schema=Identifier(schema))


def version_of(connection: Connection[Row], schema: str) -> int | None:
    """The version of what is in the schema; None: nothing of Rewake's."""
    if not _has(connection, schema, "layout"):
        return None
    row = connection.execute(_VERSION_THERE.format(schema=Identifier(schema))).fetchone()
    return (row and row[0]) or 0


def _has(connection: Connection[Row], schema: str, table: str) -> bool:
    return _asked(connection, _HAS, f'"{schema}".{table}') is True


def create(connection: Connection[Row], place: Place) -> list[str]:
    """Make what is missing, and say what that was. Raises `StoreUnsuitable`."""
    made: list[str] = []
    name = Identifier(place.schema)
    with connection.transaction():
        connection.execute(_LOCK, [place.schema])
        version = version_of(connection, place.schema)
        _refuse_newer(version, place)
        if version is None:
            if _has(connection, place.schema, "items"):
                told = f"the schema {place.schema} of {place} belongs to another program"
                raise StoreUnsuitable(f"{told}: name another one with ?schema=")
            if not _schema_is_there(connection, place.schema):
                connection.execute(_NEW_SCHEMA.format(schema=name))
                made.append(f"the schema {place.schema}")
            connection.execute(_NEW_LAYOUT.format(schema=name))
        for number in range(version or 0, VERSION):
            for statement in STEPS[number]:
                connection.execute(named(statement, place.schema))
            connection.execute(_NOTE.format(schema=name), [number + 1])
            made.append(f"layout {number + 1} of the schema {place.schema}")
    return made


def _schema_is_there(connection: Connection[Row], schema: str) -> bool:
    return _asked(connection, _HAS_SCHEMA, f'"{schema}"') is True


def _asked(connection: Connection[Row], question: SQL, *values: str) -> Any:
    row = connection.execute(question, values).fetchone()
    return None if row is None else row[0]


def refuse(version: int | None, place: Place) -> None:
    """Raise `StoreUnsuitable` unless this Rewake can work with this version of a layout."""
    if version is None:
        raise StoreUnsuitable(f"there are no tables of Rewake in {place}: {CREATE}")
    _refuse_newer(version, place)
    if version < VERSION:
        told = f"{place} has layout {version}, and this Rewake needs {VERSION}"
        raise StoreUnsuitable(f"{told}: {CREATE}")


def _refuse_newer(version: int | None, place: Place) -> None:
    if version is not None and version > VERSION:
        raise StoreUnsuitable(f"{place} was made by a newer Rewake (layout {version})")


_READ: Sequence[tuple[str, str]] = (("items", "SELECT"), ("blobs", "SELECT"))
_WRITTEN: Sequence[tuple[str, str]] = (
    *(("items", right) for right in ("INSERT", "UPDATE", "DELETE")),
    *(("blobs", right) for right in ("INSERT", "DELETE")),
)
"""The rights on tables of whoever reads them, and of whoever writes them, too."""
_LACKS = SQL(
    "SELECT needed.r || ' on ' || needed.t FROM unnest(%s::text[], %s::text[]) AS needed(t, r)"
    " WHERE NOT has_table_privilege(quote_ident(%s) || '.' || quote_ident(needed.t), needed.r)"
)
_LACKS_CALLS = SQL(
    "SELECT 'EXECUTE on ' || proname FROM pg_proc WHERE pronamespace = to_regnamespace(%s)"
    " AND proname IN ('found', 'write', 'write_one')"
    " AND NOT has_function_privilege(pg_proc.oid, 'EXECUTE')"
)


def lacking(connection: Connection[Row], place: Place, *, writes: bool = True) -> list[str]:
    """What the role of the connection may not do that it has to, in one line, if anything."""
    tables, rights = zip(*_READ, *(_WRITTEN if writes else ()), strict=True)
    found = connection.execute(_LACKS, [[*tables], [*rights], place.schema]).fetchall()
    if writes:
        found += connection.execute(_LACKS_CALLS, [f'"{place.schema}"']).fetchall()
    lacks = ", ".join(row[0] for row in found)
    return [f"the role has not all rights in {place}: GRANT it {lacks}"] if lacks else []


_HARMFUL: Sequence[tuple[str, str]] = (("fsync", "off"), ("full_page_writes", "off"))
"""Settings of a server with which a power cut may damage it."""


def misfits(connection: Connection[Row]) -> list[str]:
    """What of the server itself does not fit, a line each."""
    found = [
        f"the server has {name} = {value}: a power cut may damage it"
        for name, value in _HARMFUL
        if _asked(connection, _SETTING, name) == value
    ]
    if _asked(connection, _REPLICA):
        found.append("the server is a replica that only reads: name the primary")
    return found
