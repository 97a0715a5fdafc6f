"""`rewake runs watch`: a run is followed until it ends, on a server or in a file."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rewake.cli.commands import app
from rewake.cli.exits import Exit
from rewake.cli.output import tell_failure, write_json
from rewake.cli.remote import deliveries
from rewake.cli.remote.client import Client
from rewake.cli.remote.tables import run_details
from rewake.cli.told import Teller
from rewake.client.answers import Reply
from tests.cli.shell import Command, Shell

SECRET = "a secret that only tests may know"
APP = """
from rewake import emit, sleep, step, task_context, workflow


def inside() -> None:
    task_context().emit({"half": True})
    task_context().logger.info("a \\x1b[31mred\\x1b[0m line\\nand another")


@workflow
async def talks(fail: bool = False, pause: float = 0) -> str:
    await emit({"n": 1})
    await sleep(pause)
    await step("work", inside)
    if fail:
        raise ValueError("no more")
    return "told"
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell beside a server."""
    shell = Shell(tmp_path_factory.mktemp("watch"), REWAKE_SECRET=SECRET)
    shell.write("app.py", APP)
    with shell.begin("serve", "app.py", "--port", "0", "--db", "x.db") as command:
        _serving(shell, command)
        yield shell


def _serving(shell: Shell, command: Command) -> None:
    command.says("serving on ")
    found = re.search(r"serving on (http://\S+)", command.stderr)
    assert found is not None
    shell.settings["REWAKE_SERVER"] = found[1]


def rewake(shell: Shell, *command: str) -> Result:
    environment = {"REWAKE_TOKEN": None, **shell.settings}
    return CliRunner().invoke(app, command, prog_name="rewake", env=environment)


def started(shell: Shell, **arguments: object) -> str:
    done = rewake(shell, "start", "talks", "--input", json.dumps(arguments))
    assert done.exit_code == 0, done.stderr
    return done.stdout.strip()


def test_a_run_is_watched_to_its_end(shell: Shell) -> None:
    """Lines for people come as they are told, with who says them; the exit code is that of the
    result.
    """
    run = started(shell, pause=0.5)
    watched = rewake(shell, "runs", "watch", run)
    assert watched.exit_code == 0, watched.stderr
    said = [re.sub(r"^[\d:.]{12}  ", "", line) for line in watched.stdout.splitlines()]
    assert [" ".join(each.split()) for each in said] == [
        "run running",
        'emit {"n":1}',
        "sleep timer started",
        "sleep timer done",
        "work step started",
        'work {"half":true}',
        "work INFO a \x1b[31mred\x1b[0m line",
        "and another",
        "work step done",
        "run done",
    ]
    failed = rewake(shell, "runs", "watch", started(shell, fail=True), "--only", "state")
    assert failed.exit_code == 1
    assert failed.stdout.splitlines()[-1].endswith("failed: ValueError: no more")


def test_a_terminal_is_told_nothing_that_it_obeys(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Control characters in what a run says are shown as escapes."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    at = "2026-01-31T12:00:00.000Z"
    about = {"at": at, "key": "work", "attempt": 1}
    Teller().told(
        [
            {"type": "log", "level": "INFO", "message": "\x1b[31mred\x9b1m", **about},
            {"type": "item", "value": "\x9b2J\x1b", **about},
        ]
    )
    out = capsys.readouterr().out
    assert not {"\x1b", "\x9b"} & set(out)
    assert "\\x1b[31mred\\x9b1m" in out


def test_nor_by_what_strangers_send(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A delivery's query and body, an approval's text, why a run failed: none of it is ours."""
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    hostile = "\x1b[2J\x9b1m"
    found = {
        "method": "POST",
        "hook": "a",
        "query": [["a", hostile]],
        "headers": [["b", hostile]],
        "at": "2026-01-31T12:00:00Z",
        "verdict": "refused",
        "run": None,
        "reason": hostile,
        "body": hostile,
    }

    async def get(*_: Any, **__: Any) -> Reply:
        return Reply(200, found)

    monkeypatch.setattr(Client, "get", get)
    monkeypatch.setenv("REWAKE_TOKEN", "a-token")
    assert deliveries.show("http://x", False, "strangers-1") is Exit.DONE
    approval = {"key": "pay", "name": "pay", "description": hostile}
    about = {"id": "r", "workflow": "main", "state": "suspended", "created": found["at"]}
    run_details({**about, "updated": found["at"], "approvals": [approval]})
    tell_failure("failed", {"type": "ValueError", "message": hostile})
    write_json({"result": hostile})
    told = "".join(capsys.readouterr())
    assert told.count("\\x1b[2J\\x9b1m") == 6
    assert ("\x1b[2J" in told, "\x9b" in told) == (False, False)


def test_columns_stay_where_a_long_key_has_put_them(capsys: pytest.CaptureFixture[str]) -> None:
    """Once a key was longer than the column, the lines after it are as wide."""
    teller = Teller()
    for key in ("short", "a-key-that-is-longer-than-the-column", "short"):
        view = {"type": "item", "value": 1, "attempt": 1, "at": "2026-01-31T12:00:00.000Z"}
        teller.told([{**view, "key": key}])
    first, *rest = capsys.readouterr().out.splitlines()
    assert len(first) < len(rest[0])
    assert {line.rindex("1") for line in rest} == {len(rest[0]) - 1}


def test_for_machines_and_in_a_file(shell: Shell) -> None:
    """With --json each line is an object; --db reads the file that a server has open, and tells
    the same.
    """
    run = started(shell)
    assert rewake(shell, "runs", "result", run, "--wait", "20").exit_code == 0
    remote = rewake(shell, "runs", "watch", run, "--json", "--only", "item,log")
    local = rewake(
        shell, "runs", "watch", run, "--json", "--only", "item,log", "--db", f"{shell.folder}/x.db"
    )
    assert remote.stdout == local.stdout
    assert [json.loads(line).get("value") for line in remote.stdout.splitlines()] == [
        {"n": 1},
        {"half": True},
        None,
    ]


def test_a_run_in_a_file_is_followed_while_another_process_writes(shell: Shell) -> None:
    """It is found by looking, and the end ends the command."""
    run = started(shell, pause=1)
    done: list[Result] = []

    def watch() -> None:
        done.append(rewake(shell, "runs", "watch", run, "--db", f"{shell.folder}/x.db", "--json"))

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join(30)
    assert done[0].exit_code == 0
    assert json.loads(done[0].stdout.splitlines()[-1])["state"] == "done"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "items"], "--only is some of item, state, operation, log"),
        (["--db", "none.db"], "there is no database none.db"),
        (["--db", "x.db", "--server", "http://x"], "either --server or --db"),
    ],
)
def test_what_does_not_fit(shell: Shell, options: list[str], told: str) -> None:
    """One line says what is wrong, and the exit code is 2."""
    refused = rewake(shell, "runs", "watch", "r", *options)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert told in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_run_that_there_is_not(shell: Shell) -> None:
    """It is a wrong use, on a server and in a file."""
    for where in ([], ["--db", f"{shell.folder}/x.db"]):
        refused = rewake(shell, "runs", "watch", "none", *where)
        assert (refused.exit_code, refused.stderr) == (2, "rewake: there is no run 'none'\n")
