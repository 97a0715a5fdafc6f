"""`rewake runs hold|unhold|erase|purge|export`, against a server."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rewake.cli.remote import keeping
from rewake.cli.remote.client import Client as Asks
from rewake.cli.remote.pages import history_of
from rewake.errors import StuckError
from tests.cli.shell import Command, Shell
from tests.cli.test_server_commands import Client, serving

__all__ = ["serving"]


@pytest.fixture
def client(serving: tuple[Shell, Command]) -> Client:
    """Commands that ask the server."""
    return Client(serving[0])


def ended(client: Client, key: str = "") -> str:
    """The id of a run that has ended."""
    named = ("--key", key) if key else ()
    command = ("start", "paused", "--input", '{"seconds": 0}', *named)
    run = client.rewake(*command).stdout.strip()
    assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 0
    return run


def test_a_held_run_is_not_purged(client: Client) -> None:
    """Until it is held no more."""
    run = ended(client)
    assert "is held" in client.rewake("runs", "hold", run).stdout
    purge = ("runs", "purge", "--older-than", "0s", "--workflow", "paused")
    assert "1 held" in client.rewake(*purge).stderr
    assert client.rewake("runs", "erase", run).exit_code == 1
    assert client.rewake("runs", "unhold", run).exit_code == 0
    assert client.json(*purge, "--dry-run")["runs"][0]["id"] == run
    assert client.rewake(*purge).stderr == "1 removed\n"
    assert client.rewake("runs", "show", run).exit_code == 2


def test_runs_are_erased_by_id_or_key(client: Client) -> None:
    """Each is named; one that is not there is told, and hinders none."""
    one, two, keyed = ended(client), ended(client), ended(client, "of Ada")
    found = client.rewake("runs", "erase", one, "none", two)
    assert found.stdout == f"run {one} is erased\nrun {two} is erased\n"
    assert (found.exit_code, "none" in found.stderr) == (1, True)
    assert "would be" in client.rewake("runs", "erase", "--key", "of Ada", "--dry-run").stdout
    assert client.rewake("runs", "erase", "--key", "of Ada").stdout == f"run {keyed} is erased\n"
    assert client.rewake("runs", "erase").exit_code == 2


def test_a_key_of_a_tenant_is_erased_with_its_name(client: Client) -> None:
    """Each tenant has keys of its own: only the runs of the one that is named go."""
    start = ("start", "paused", "--input", '{"seconds": 0}', "--key", "of Bob")
    ours, theirs = (
        client.rewake(*start, *more).stdout.strip() for more in ((), ("--tenant", "acme"))
    )
    for run in (ours, theirs):
        assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 0
    erase = ("runs", "erase", "--key", "of Bob")
    assert client.rewake(*erase, "--tenant", "acme").stdout == f"run {theirs} is erased\n"
    assert client.rewake(*erase).stdout == f"run {ours} is erased\n"


def test_the_runs_of_a_tenant_are_exported_a_line_each(client: Client, tmp_path: Path) -> None:
    """Those of others are not among them; without a run or a tenant there is nothing to do."""
    start = ("start", "paused", "--input", '{"seconds": 0}', "--tenant")
    mine = {client.rewake(*start, "acme").stdout.strip() for _ in range(2)}
    client.rewake(*start, "other")
    lines = client.rewake("runs", "export", "--tenant", "acme")
    assert {json.loads(each)["run"]["id"] for each in lines.stdout.splitlines()} == mine
    assert lines.stderr == "2 of acme exported\n"
    file = tmp_path / "acme.jsonl.gz"
    assert client.rewake("runs", "export", "--tenant", "acme", "-o", str(file)).exit_code == 0
    assert len(gzip.decompress(file.read_bytes()).splitlines()) == 2
    assert client.rewake("runs", "export").exit_code == 2


def test_a_run_that_cannot_be_read_keeps_no_other_from_being_exported(
    client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is named, and the exit code says that there was one."""
    start = ("start", "paused", "--input", '{"seconds": 0}', "--tenant", "half")
    runs = [client.rewake(*start).stdout.strip() for _ in range(3)]

    async def read(asks: Asks, run: str) -> dict[str, Any]:
        if run == runs[1]:
            raise StuckError("its key is gone")
        return await history_of(asks, run)

    monkeypatch.setattr(keeping, "history_of", read)
    file = tmp_path / "half.jsonl"
    found = client.rewake("runs", "export", "--tenant", "half", "-o", str(file))
    assert found.exit_code == 4
    told = f"{runs[1]} cannot be read: its key is gone\n2 of half exported, 1 cannot be read\n"
    assert found.stderr == told
    lines = [json.loads(each)["run"]["id"] for each in file.read_text().splitlines()]
    assert set(lines) == {runs[0], runs[2]}


def test_a_run_is_exported_whole(client: Client, tmp_path: Path) -> None:
    """As one document: to stdout, or to a file that only its owner reads."""
    run = client.started("main", {"urls": ["a"]})
    assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 0
    shown = json.loads(client.rewake("runs", "export", run).stdout)
    file = tmp_path / "run.json.gz"
    assert client.rewake("runs", "export", run, "-o", str(file)).exit_code == 0
    assert json.loads(gzip.decompress(file.read_bytes())) == shown
    assert file.stat().st_mode & 0o777 == 0o600
    assert shown["run"]["id"] == run
    assert {"flaky", "fetch"} <= {each["name"] for each in shown["operations"]}
    assert any("attempt" in line["message"] for line in shown["lines"])
