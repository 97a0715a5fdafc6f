"""`rewake schedules` against a server."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from rewake.cli.commands import app
from rewake.clock import SystemClock
from tests.cli.shell import Shell

APP = """
from rewake import cron, workflow

@workflow(schedule=cron("0 9 * * mon-fri", tz="Europe/Zurich", name="weekdays"))
async def report(team: str = "all") -> str:
    return team
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in the folder of a server that has a schedule."""
    folder = tmp_path_factory.mktemp("server")
    shell = Shell(folder, REWAKE_SECRET="a secret that only tests may know")
    shell.write("app.py", APP)
    with shell.begin("serve", "app.py", "--port", "0", "--db", "x.db") as command:
        command.says("serving on ")
        found = re.search(r"serving on (http://\S+)", command.stderr)
        assert found is not None
        shell.settings["REWAKE_SERVER"] = found[1]
        yield shell


def rewake(shell: Shell, *command: str) -> Result:
    """Run a command to its end."""
    return CliRunner().invoke(app, ["schedules", *command], prog_name="rewake", env=shell.settings)


def test_the_whole_way_of_a_schedule(shell: Shell) -> None:
    """Made, listed, shown, changed, paused, resumed, started by hand, filled, told ahead, deleted:
    each says in a line what it did.
    """
    made = rewake(shell, "create", "often", "report", "--every", "10m", "--input", '{"team": "x"}')
    assert made.exit_code == 0, made.output
    assert re.match(r"schedule often: next at \d{4}-", made.stdout)
    assert re.search(r"often +report +every 600 s +active", rewake(shell, "list").stdout)
    told = rewake(shell, "show", "often").stdout
    assert "every 600 s" in told
    assert re.search(r"\nnext +\d{4}-", told)
    assert "1 d 0 h" in told
    assert (
        rewake(shell, "change", "often", "--cron", "0 3 * * *", "--tz", "Asia/Tokyo").exit_code == 0
    )
    assert json.loads(rewake(shell, "show", "often", "--json").stdout)["tz"] == "Asia/Tokyo"
    assert "often is paused\n" in rewake(shell, "pause", "--all", "--note", "x").stdout
    assert re.search(r"\nnext +paused\n", rewake(shell, "show", "often").stdout)
    assert "weekdays starts runs again" in rewake(shell, "resume", "--workflow", "report").stdout
    assert rewake(shell, "trigger", "often", "--id", "by-hand").stdout == "by-hand\n"
    told = rewake(shell, "backfill", "often", "--since", "3d", "--dry-run").stdout
    assert len(told.splitlines()) == 3
    assert "3 runs are started" in rewake(shell, "backfill", "often", "--since", "3d").stdout
    assert len(rewake(shell, "next", "weekdays", "--count", "4").stdout.splitlines()) == 4
    assert rewake(shell, "delete", "often").stdout == "schedule often is deleted\n"
    assert "declared in code" in rewake(shell, "delete", "weekdays").stderr


def test_until_now_is_by_the_clock_of_the_server(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command line whose clock is a little ahead fills up to now, as one whose clock is not."""
    assert rewake(shell, "create", "ahead", "report", "--cron", "0 3 * * *").exit_code == 0
    monkeypatch.setattr(SystemClock, "now", lambda _: int((time.time() + 5) * 1000))
    found = rewake(shell, "backfill", "ahead", "--since", "3d", "--dry-run")
    assert (found.exit_code, len(found.stdout.splitlines())) == (0, 3), found.output


@pytest.mark.parametrize(
    "command",
    [
        ["create", "a", "report"],
        ["create", "a", "report", "--every", "10m", "--cron", "* * * * *"],
        ["create", "a", "report", "--every", "soon"],
        ["create", "a", "report", "--cron", "0 0 30 2 *"],
        ["create", "a", "report", "--every", "1m", "--jitter", "2m"],
        ["create", "a", "report", "--every", "1m", "--input", "no"],
        ["change", "a"],
        ["pause"],
        ["pause", "a", "--all"],
        ["backfill", "a", "--since", "soon"],
        ["show", "nowhere"],
        ["pause", "nowhere"],
        ["trigger", "nowhere"],
    ],
)
def test_what_cannot_be_is_said_in_one_line(shell: Shell, command: list[str]) -> None:
    """The exit code is that of wrong use."""
    done = rewake(shell, *command)
    assert done.exit_code == 2, done.output
    assert len(done.stderr.splitlines()) == 1
