"""`rewake tables`: a database is made and checked by its address, without an app or a secret."""

from __future__ import annotations

import secrets
import sys
from pathlib import Path

import pytest

from rewake.cli.exits import Exit
from rewake.cli.local.tables import check, create
from rewake.errors import ConfigError
from tests.support.postgres import cluster, needs_postgres


def test_a_file_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`create` says what it made, and nothing the second time; `check` then finds nothing."""
    file = str(tmp_path / "a.db")
    assert check(file) is Exit.FAILED  # as of any other kind of database that has no tables
    assert capsys.readouterr().out.count("\n") == 1
    assert create(file) is Exit.DONE
    assert capsys.readouterr().out == f"made the database {file}\n"
    assert create(file) is Exit.DONE
    assert capsys.readouterr().out == f"nothing is missing of {file}\n"
    assert check(file) is Exit.DONE
    assert capsys.readouterr().out == f"{file} fits\n"


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its extra PostgreSQL is refused, and it is said what to install."""
    monkeypatch.setitem(sys.modules, "rewake.stores.postgres.opening", None)
    with pytest.raises(ConfigError, match=r"pip install 'rewake\[postgres\]'"):
        check("postgresql://app@db.example/shop")


@needs_postgres
def test_a_schema_is_made_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same of PostgreSQL, whose server is checked too: that of these tests does not sync."""
    name = f"t_{secrets.token_hex(6)}"
    monkeypatch.setenv("REWAKE_DB", cluster().address(name))
    where = f"postgresql://127.0.0.1:{cluster().port}/postgres?schema={name}"
    assert check(None) is Exit.FAILED
    assert "run `rewake tables create`" in capsys.readouterr().out
    assert create(None) is Exit.DONE
    made = f"made the schema {name}\nmade layout 1 of the schema {name}\n"
    assert capsys.readouterr().out == made
    assert create(None) is Exit.DONE
    assert capsys.readouterr().out == f"nothing is missing of {where}\n"
    assert check(None) is Exit.FAILED
    assert "the server has fsync = off" in capsys.readouterr().out
