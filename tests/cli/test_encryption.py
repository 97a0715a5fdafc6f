"""The command line encrypts what it stores, where the environment has keys."""

from __future__ import annotations

import base64
from pathlib import Path

from tests.cli.shell import Shell

APP = """
from typing import Annotated
from rewake import secret, task, workflow

@task
async def charge(card: Annotated[str, secret], amount: int) -> str:
    return f"charged {amount}"

@workflow
async def pay(card: Annotated[str, secret], amount: int) -> str:
    return await charge(card, amount)
"""
KEYS = "k:" + base64.b64encode(bytes(32)).decode()


def test_the_embedded_database_is_encrypted_too(tmp_path: Path) -> None:
    """`rewake run` stores nothing that can be read, `replay` shows it without what is secret, and
    without keys says what is missing: one line, exit code 4.
    """
    shell = Shell(tmp_path, REWAKE_ENCRYPTION_KEYS=KEYS)
    shell.write("app.py", APP)
    given = ("--input", '{"card": "4111-canary", "amount": 12}', "--id", "mine")
    paid = shell.rewake("run", "app.py", *given)
    assert (paid.returncode, paid.stdout) == (0, '"charged 12"\n'), paid.stderr
    for file in (tmp_path / ".rewake").iterdir():
        assert b"canary" not in file.read_bytes()
        assert b"charged" not in file.read_bytes()
    shown = shell.rewake("replay", "mine")
    assert shown.returncode == 0, shown.stderr
    assert 'task charge("[redacted]", 12)' in shown.stdout
    assert "charged 12" in shown.stdout
    assert "canary" not in shown.stdout
    without = Shell(tmp_path).rewake("replay", "mine")
    assert (without.returncode, without.stdout) == (4, "")
    assert "this process has no keys (REWAKE_ENCRYPTION_KEYS" in without.stderr
    assert without.stderr.count("\n") == 1
