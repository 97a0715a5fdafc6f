"""Two versions beside each other on one database, as while one replaces the other."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.app import ADA
from tests.end_to_end.deployments import APP, Servers
from tests.end_to_end.front import Front
from tests.end_to_end.judge import World, faults
from tests.end_to_end.newer import KEPT, NewerServer, made
from tests.end_to_end.places import LEASE
from tests.end_to_end.playing import Play, caller, under_load
from tests.support.hooks import SECRETS
from tests.support.server import ServerProcess

OLD, NEW = "old", "new"


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment of a server holds."""
    for name, text in SECRETS.items():
        monkeypatch.setenv(name, text)


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """From where the next version is imported."""
    return made(tmp_path_factory.mktemp("newer"))


class Versions(Servers):
    """Servers of these versions, in this order; `versions` may be changed before one is begun."""

    def __init__(self, folder: Path, root: Path, versions: list[str], dispatcher: str) -> None:
        super().__init__(folder, len(versions), dispatcher)
        self.root = root
        self.versions = versions

    def server(self, number: int, db: Path, **settings: Any) -> ServerProcess:
        if self.versions[number] == NEW:
            return NewerServer(self.root, APP, db, **settings)
        return super().server(number, db, **settings)

    def make_due(self, *runs: str) -> None:
        """Let the time of these runs come."""
        now = time.time_ns() // 1_000_000
        statement = (
            "UPDATE items SET due = :now, body = CAST(json_set(CAST(body AS TEXT), '$.due', :now,"
            " '$.wake', :now) AS BLOB) WHERE partition = :run AND sort = 'H'"
        )
        with closing(sqlite3.connect(self.folder / "rewake.db")) as connection, connection:
            connection.executemany(statement, [{"now": now, "run": f"R#{run}"} for run in runs])

    def items(self, letter: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is stored under sort keys of this letter: partition and attributes."""
        with closing(sqlite3.connect(self.folder / "rewake.db")) as connection:
            found = connection.execute("SELECT partition, sort, body FROM items").fetchall()
        for partition, sort, body in found:
            if partition.startswith("R#") and sort.startswith(letter):
                yield partition, json.loads(body)


@pytest.mark.timeout(180)
@pytest.mark.long
def test_every_scenario_on_two_versions_at_once(newer: Path, tmp_path: Path) -> None:
    """Two servers, one of which is of the next version, send each other messages: all scenarios
    come right. What the next version wrote, and this one does not know, is there at the end.
    """
    with (
        Versions(tmp_path, newer, [OLD, NEW], "http") as servers,
        caller(servers) as client,
    ):
        try:
            with Play(servers, client, calm=True) as play:
                pass
            world, front = World.seen(servers.outside), Front(client, servers.outside)
            assert not list(faults(front, play.runs, world, calm=True))
            headers = dict(servers.items("H"))
            ours = {where for where, each in headers.items() if each["runtime"] == 2}
            assert 0 < len(ours) < len(headers), "each version begins some of the runs"
            assert all(headers[each].get("novelty") == KEPT for each in ours)
            assert {where for where, _ in servers.items("z")} >= ours
            assert not [each for each in headers.values() if each.get("state") == "stuck"]
            kept = [each for _, each in servers.items("O") if each.get("novelty") == KEPT]
            assert any("outcome" in each for each in kept)
        except BaseException as error:
            error.add_note(servers.logs())
            raise


@pytest.mark.timeout(180)
def test_a_deploy_of_the_next_version_and_back(newer: Path, tmp_path: Path) -> None:
    """The next version takes over under load, with what this one had begun. After a way back, what
    the next one had begun waits: it is in no false state, nothing of it is lost or done again, and
    it ends once a server of the next version is there.
    """
    with Versions(tmp_path, newer, [OLD, OLD], "in-process") as servers, caller(servers) as client:
        try:
            front = Front(client, servers.outside, calm=True)
            begun = front.start("approves", amount=7)
            link = front.links(begun)[ADA]
            servers.versions = [NEW, NEW]
            load = under_load(servers, client, servers.roll)
            front.decide(link, decision="approve", **{"value.amount": "7"})
            assert front.result(begun)[:2] == ["approved", 7]

            asks, sleeps = front.start("approves", amount=8), front.start("naps", seconds=3600)
            link = front.links(asks)[ADA]
            front.until(lambda: front.get(f"/v1/runs/{sleeps}")["state"] == "suspended")
            servers.versions = [OLD, OLD]
            servers.roll()
            servers.make_due(asks, sleeps)
            time.sleep(2 * LEASE)
            for run, workflow in ((asks, "approves"), (sleeps, "naps")):
                listed = front.get(f"/v1/runs?workflow={workflow}")["runs"]
                shown = {each["id"]: each["state"] for each in listed}
                [header] = [each for where, each in servers.items("H") if where == f"R#{run}"]
                assert header.get("state", "ready") in ("parked", "ready", "running"), header
                assert not header.keys() & {"strikes", "deaths"}, header
                assert shown[run] in ("suspended", "ready", "running")
            refused = client.get(f"/v1/runs/{asks}/history")
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")

            servers.versions = [NEW, OLD]
            servers.roll()
            front.decide(link, decision="approve", **{"value.amount": "8"})
            assert front.result(asks)[:2] == ["approved", 8]
            front.ask("POST", f"/v1/runs/{sleeps}/cancel", json={}, again=frozenset({409}))
            assert front.ended(sleeps)["state"] == "cancelled"
            world, runs = World.seen(servers.outside), [*front.runs, *load.runs]
            assert not list(faults(front, runs, world, calm=True))
        except BaseException as error:
            error.add_note(servers.logs())
            raise
