from __future__ import annotations

import asyncio
import socket
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rewake.cli.commands import app
from rewake.stores.sqlite.table import SqliteTable

APP = """
from rewake import workflow

@workflow
async def main(urls: list[str], n: int = 1) -> int:
    return len(urls)

@workflow
async def other() -> None: ...
"""
SECRET = "a secret that only tests may know"


@dataclass(frozen=True)
class Case:
    """A wrong command, and what is said about it. `prepare` is given the folder."""

    name: str
    command: Sequence[str]
    says: Sequence[str]
    prepare: Callable[[Path], object] = lambda folder: None
    settings: dict[str, str] = field(default_factory=dict)


def write(name: str, text: str | bytes) -> Callable[[Path], object]:
    """Put a file into the folder."""
    data = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(data)


def halves(folder: Path) -> None:
    """An app that imports a module that fails."""
    (folder / "broken.py").write_text("import halves\n")
    (folder / "halves.py").write_text("\nhalf = 1 / 0\n")


def foreign(folder: Path) -> None:
    """A database of another program."""
    connection = sqlite3.connect(folder / "x.db")
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()


def newer(folder: Path) -> None:
    """A database of a Rewake to come."""
    asyncio.run(SqliteTable(folder / "x.db").close())
    connection = sqlite3.connect(folder / "x.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()


def run(*more: str) -> list[str]:
    """`rewake run` of the workflow that there is."""
    return ["run", "app.py:main", *more]


GOOD = ("--input", '{"urls": []}')
CASES = (
    Case("no command", ["walk"], ["No such command 'walk'"]),
    Case("no such option", run("--fast"), ["No such option: --fast", "rewake run --help"]),
    Case("no argument", ["run"], ["Missing argument 'APP'"]),
    Case("no app file", ["run", "gone.py:main"], ["there is no file gone.py"]),
    Case("no such module", ["run", "gone_module:main"], ["gone_module cannot be imported"]),
    Case(
        "a module of the app's fails",
        ["run", "broken.py"],
        ["broken.py cannot be imported", "ZeroDivisionError", "(halves.py, line 2)"],
        halves,
    ),
    Case(
        "syntax error",
        ["run", "bad.py"],
        ["bad.py", "SyntaxError", "line 2"],
        write("bad.py", "\ndef (:\n"),
    ),
    Case(
        "syntax error in a module beside it",
        ["run", "bad.py"],
        ["bad.py", "SyntaxError", "beside.py, line 1"],
        lambda folder: [
            write("bad.py", "import beside")(folder),
            write("beside.py", "def (:")(folder),
        ],
    ),
    Case(
        "error while importing",
        ["run", "bad.py"],
        ["ZeroDivisionError", "line 3"],
        write("bad.py", "\n\n1 / 0\n"),
    ),
    Case("app without a workflow", ["run", "e.py"], ["has no @workflow"], write("e.py", "")),
    Case("no such workflow", ["run", "app.py:nope"], ["no workflow 'nope'", "main, other"]),
    Case("several workflows", ["run", "app.py"], ["say which: app.py:main"]),
    Case("input is no JSON", run("--input", "{urls"), ["--input is not JSON", "char 1"]),
    Case("input is NaN", run("--input", '{"urls": NaN}'), ["--input is not JSON", "NaN"]),
    Case("input is no object", run("--input", "[1]"), ["must be a JSON object"]),
    Case("input does not fit", run("--input", '{"urls": ["a", 2]}'), ["urls[1]", "Expected `str`"]),
    Case("an argument is missing", run(), ["'urls' is missing"]),
    Case("an argument is unknown", run("--input", '{"url": []}'), ["no parameter 'url'"]),
    Case("two inputs", run(*GOOD, "--input-file", "-"), ["not both"]),
    Case("no input file", run("--input-file", "gone.json"), ["gone.json: No such file"]),
    Case("resume without a run", run(*GOOD, "--resume"), ["--resume needs --id"]),
    Case(
        "resume in no database",
        run("--resume", "--id", "x", "--db", "gone.db"),
        ["there is no database gone.db"],
    ),
    Case(
        "discard without resume",
        run(*GOOD, "--discard-cleanup"),
        ["--discard-cleanup needs --resume"],
    ),
    Case("a bad id", run(*GOOD, "--id", "a/b"), ["a run id is 1 to 128"]),
    Case(
        "not a database",
        run(*GOOD, "--db", "x.db"),
        ["x.db", "not a database"],
        write("x.db", b"just some text, long enough" * 50),
    ),
    Case(
        "another program's database",
        run(*GOOD, "--db", "x.db"),
        ["x.db belongs to another program"],
        foreign,
    ),
    Case("a newer database", run(*GOOD, "--db", "x.db"), ["written by a newer Rewake"], newer),
    Case(
        "a short secret",
        run(*GOOD),
        ["REWAKE_SECRET", "at least 16"],
        settings={"REWAKE_SECRET": "short"},
    ),
    Case("serve without a secret", ["serve", "app.py", "--port", "0"], ["set REWAKE_SECRET"]),
    Case("serve http without a URL", ["serve", "app.py", "--dispatcher", "http"], ["REWAKE_URL"]),
    Case("serve at no port", ["serve", "app.py", "--port", "99999"], ["REWAKE_PORT must be"]),
    Case("dev without a file", ["dev", "gone.py"], ["there is no file gone.py"]),
    Case("token without a secret", ["token"], ["set REWAKE_TOKEN or REWAKE_SECRET"]),
    Case("replay without a secret", ["replay", "x"], ["set REWAKE_SECRET"]),
    Case(
        "replay without a database",
        ["replay", "x", "--db", "gone.db"],
        ["there is no database", "gone.db"],
        settings={"REWAKE_SECRET": SECRET},
    ),
    Case(
        "replay of another program's database",
        ["replay", "x", "--db", "x.db"],
        ["x.db belongs to another program"],
        foreign,
        {"REWAKE_SECRET": SECRET},
    ),
    Case("start without a token", ["start", "main"], ["there is no token"]),
    Case(
        "start at no URL",
        ["start", "main", "--server", "localhost:1"],
        ["needs http:// or https://"],
        settings={"REWAKE_SECRET": SECRET},
    ),
    Case(
        "start at a URL without a host",
        ["start", "main", "--server", "http://"],
        ["http:", "a host"],
        settings={"REWAKE_SECRET": SECRET},
    ),
    Case("a bad wait", ["start", "main", "--wait", "-1"], ["--wait"]),
    Case(
        "no such policy",
        ["start", "main", "--key", "k", "--if-running", "kill"],
        ["--if-running", "'kill' is not one of 'attach', 'reject'"],
    ),
    Case(
        "no such policy for the end",
        ["start", "main", "--key", "k", "--if-finished", "again"],
        ["--if-finished", "'attach', 'reject', 'restart', 'restart_failed'"],
    ),
    Case(
        "a policy without a key",
        ["start", "main", "--if-finished", "restart"],
        ["--if-finished needs --key or --id"],
    ),
    Case(
        "two names for a run",
        ["start", "main", "--key", "k", "--id", "i"],
        ["give either --id or --key, not both"],
    ),
    Case("a value is no JSON", ["runs", "approve", "x", "--value", "{"], ["--value is not JSON"]),
    Case(
        "approve in no database",
        ["runs", "approve", "x", "--db", "gone.db"],
        ["there is no database gone.db"],
        settings={"REWAKE_SECRET": SECRET},
    ),
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory but for an app; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    for name in ("SECRET", "TOKEN", "URL", "DB", "APP", "PORT"):
        monkeypatch.delenv(f"REWAKE_{name}", raising=False)
    (tmp_path / "app.py").write_text(APP)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_answered_in_one_line(
    case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with a command is said in one line, with exit code 2 and no change."""
    case.prepare(folder)
    for name, value in case.settings.items():
        monkeypatch.setenv(name, value)
    before = contents(folder)
    result = CliRunner().invoke(app, list(case.command), prog_name="rewake")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("rewake: ")
    assert result.stderr.count("\n") == 1
    for text in case.says:
        assert text in result.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("command", ["serve", "dev"])
def test_a_port_in_use_is_said(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot listen says where and why, before it touches anything."""
    monkeypatch.setenv("REWAKE_SECRET", SECRET)
    before = contents(folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, [command, "app.py", "--port", port])
    assert result.exit_code == 2
    assert f"cannot listen on 127.0.0.1 port {port}: Address already in use" in result.stderr
    assert result.stderr.count("\n") == 1
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    """All files."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
