"""`rewake tables`: a database is made and checked by its address, without an app or a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewake.cli.exits import Exit
from rewake.cli.local.tables import check, create


def test_a_file_is_made_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`create` says what it made, and nothing the second time; `check` then finds nothing."""
    file = str(tmp_path / "a.db")
    assert create(file) is Exit.DONE
    assert capsys.readouterr().out == f"made the database {file}\n"
    assert create(file) is Exit.DONE
    assert capsys.readouterr().out == f"nothing is missing of {file}\n"
    assert check(file) is Exit.DONE
    assert capsys.readouterr().out == f"{file} fits\n"
