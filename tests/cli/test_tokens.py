"""`rewake tokens` and `rewake audit`, in a database and against a server."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewake.ledger import Audited
from rewake.stores.audit import Wanted
from rewake.stores.reads import Reads
from rewake.stores.sqlite.table import SqliteTable
from tests.cli.apps import APP
from tests.cli.shell import Shell
from tests.support.server import ServerProcess, bearer

FORM = re.compile(r"rewake_[0-9a-f]{16}_[0-9A-Za-z]{49}\n")
APP_FILE = Path(__file__).parents[1] / "support" / "app.py"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that believes a proxy at 127.0.0.1."""
    file = tmp_path_factory.mktemp("tokens") / "rewake.db"
    with ServerProcess(APP_FILE, file, proxies="127.0.0.1, 10.0.0.0/8") as server:
        yield server


@pytest.fixture
def here(shell: Shell) -> Shell:
    """A shell with a database that no server uses."""
    shell.write("app.py", APP)
    done = shell.rewake("run", "app.py:paused", "--input", '{"seconds": 0}')
    assert done.returncode == 0, done.stderr
    return shell


def test_a_token_in_the_database(here: Shell) -> None:
    """A token is made, listed and revoked where no server runs; it alone is printed, once."""
    made = here.rewake(
        "tokens", "create", "--name", "ci", "--scope", "start,read", "--expires", "30d"
    )
    assert made.returncode == 0, made.stderr
    assert FORM.fullmatch(made.stdout)
    assert made.stderr == ""
    listed = here.rewake("tokens", "list", "--json")
    [token] = json.loads(listed.stdout)["tokens"]
    assert (token["name"], token["scopes"], token["used"]) == ("ci", ["read", "start"], None)
    assert token["by"].startswith("local:")
    assert token["expires"] > token["created"]
    secret = made.stdout.strip().rpartition("_")[2]
    with sqlite3.connect(here.folder / ".rewake" / "rewake.db") as database:
        assert secret not in "\n".join(database.iterdump())
    assert "ci" in here.rewake("tokens", "list").stdout
    again = here.rewake("tokens", "create", "--name", "ci", "--scope", "read")
    assert (again.returncode, again.stdout) == (2, "")
    assert len(again.stderr.splitlines()) == 1
    revoked = here.rewake("tokens", "revoke", "ci")
    assert (revoked.returncode, revoked.stdout) == (0, "the token ci is revoked\n")
    assert here.rewake("tokens", "revoke", "ci").returncode == 2
    assert json.loads(here.rewake("tokens", "list", "--json").stdout) == {"tokens": []}
    audited = [(each.action, each.about, each.who == token["by"]) for each in audit_of(here)]
    assert audited == [("token.revoke", "ci", True), ("token.create", "ci", True)]


def test_a_decision_in_the_database_is_written_down(shell: Shell) -> None:
    """Who decides in the database itself is in the audit log like who asks a server."""
    shell.write("app.py", APP)
    with shell.begin("run", "app.py:ask", "--id", "mine") as run:
        run.says("rewake runs approve mine release --db .rewake/rewake.db")
        assert (
            shell.rewake(
                "runs", "approve", "mine", "--db", ".rewake/rewake.db", "--value", "{}"
            ).returncode
            == 0
        )
        assert run.wait() == 0
    [entry] = audit_of(shell)
    assert (entry.action, entry.run, entry.about) == ("approval.decide", "mine", "release")
    assert entry.who.startswith("local:")


def audit_of(shell: Shell) -> list[Audited]:
    """The audit log in a shell's database."""

    async def main() -> list[Audited]:
        table = SqliteTable(shell.folder / ".rewake" / "rewake.db")
        try:
            return (await Reads(table, table).audit.page(Wanted(), limit=100)).entries
        finally:
            await table.close()

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--scope", "read"], "--name"),
        (["--name", "ci"], "--scope"),
        (["--name", "ci", "--scope", "reed"], "reed"),
        (["--name", "c i", "--scope", "read"], "name"),
        (["--name", "ci", "--scope", "read", "--expires", "soon"], "--expires"),
        (["--name", "ci", "--scope", "read", "--expires", "0d"], "--expires"),
        (["--name", "ci", "--scope", "admin", "--workflow", "a"], "workflows"),
        (["--name", "ci", "--scope", "read", "--server", "x", "--db", "y"], "--server"),
        (["--name", "ci", "--scope", "read", "--db", "none.db"], "none.db"),
        (["--name", "ci", "--scope", "read", "--server", "ftp://x"], "ftp://x"),
    ],
)
def test_bad_input(shell: Shell, options: list[str], told: str) -> None:
    """What does not fit is named in one line, and nothing is made."""
    shell.settings["REWAKE_SECRET"] = "a secret that only tests may know"
    done = shell.rewake("tokens", "create", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (shell.folder / "none.db").exists()


def test_a_token_on_a_server(shell: Shell, server: ServerProcess) -> None:
    """A running server takes a new token at once and refuses a revoked one at once."""
    admin = {"REWAKE_SECRET": "a secret that only tests may know", "REWAKE_SERVER": server.url}
    shell.settings = admin
    made = shell.rewake("tokens", "create", "--name", "ci", "--scope", "read", "--expires", "1h")
    assert FORM.fullmatch(made.stdout), made.stderr
    shell.settings = {"REWAKE_TOKEN": made.stdout.strip(), "REWAKE_SERVER": server.url}
    assert shell.rewake("runs", "list").returncode == 0
    refused = shell.rewake("start", "total", "--input", '{"numbers": []}')
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "rewake: this token lacks the scope start\n"
    shell.settings = admin
    assert "ci" in shell.rewake("tokens", "list").stdout
    odd = ("--name", "odd", "--scope", "read", "--workflow", "nope", "--workflow", "total")
    warned = shell.rewake("tokens", "create", *odd)
    assert (warned.returncode, warned.stdout.count("\n")) == (0, 1)
    assert warned.stderr == "warning: this server has no workflow nope\n"
    assert shell.rewake("tokens", "revoke", "ci").returncode == 0
    shell.settings = {"REWAKE_TOKEN": made.stdout.strip(), "REWAKE_SERVER": server.url}
    assert shell.rewake("runs", "list").returncode == 2
    shell.settings = admin
    run = shell.rewake("start", "total", "--input", '{"numbers": []}').stdout.strip()
    shown = shell.rewake("runs", "show", run).stdout
    assert re.search(r"started by +bootstrap, the server's own token", shown)
    listed = shell.rewake("audit", "list", "--since", "1h")
    assert listed.returncode == 0, listed.stderr
    assert re.search(r"token:ci +run\.start +refused 403 +total +127\.0\.0\.1", listed.stdout)
    only = json.loads(shell.rewake("audit", "list", "--who", "token:ci", "--json").stdout)
    assert [each["action"] for each in only["entries"]] == ["run.start"]
    assert made.stdout.strip() not in server.logs()
    assert server.client.get("/v1/runs", headers={"Authorization": "none"}).status_code == 401
    strangers = shell.rewake("audit", "list", "--who", "a stranger").stdout.splitlines()[1:]
    assert strangers
    assert all("a stranger" in each for each in strangers)


def test_a_trusted_proxy_says_where_a_request_comes_from(server: ServerProcess) -> None:
    """What a proxy that is trusted says is the address; what its client claims is not."""
    for name, claimed in (("p1", "203.0.113.7"), ("p2", "198.51.100.1, 203.0.113.7, 10.0.0.3")):
        body = {"name": name, "scopes": ["read"]}
        headers = {**bearer(), "X-Forwarded-For": claimed}
        assert server.client.post("/v1/tokens", json=body, headers=headers).status_code == 201
    entries = server.client.get("/v1/audit").json()["entries"]
    found = {each["about"]: each["client"] for each in entries if "about" in each}
    assert found["p1"] == found["p2"] == "203.0.113.7"


def test_nobody_else_is_believed(tmp_path: Path) -> None:
    """Without trusted proxies, what headers say of the address counts for nothing."""
    with ServerProcess(APP_FILE, tmp_path / "rewake.db") as server:
        headers = {**bearer(), "X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
        server.client.post("/v1/tokens", json={"name": "a", "scopes": ["read"]}, headers=headers)
        [entry] = server.client.get("/v1/audit").json()["entries"]
        assert entry["client"] == "127.0.0.1"


def test_proxies_are_addresses(shell: Shell) -> None:
    """Everybody cannot be trusted, and a name is no address."""
    shell.write("app.py", APP)
    shell.settings["REWAKE_SECRET"] = "a secret that only tests may know"
    for wrong in ("*", "proxy.example.com", "10.0.0.1/8"):
        shell.settings["REWAKE_PROXIES"] = wrong
        done = shell.rewake("serve", "app.py", "--port", "0")
        assert done.returncode == 2
        assert "REWAKE_PROXIES" in done.stderr
