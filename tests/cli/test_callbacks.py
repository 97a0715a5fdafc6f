"""`rewake callbacks`: ending a callback in a machine's place, by nothing but its address."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner, Result

from rewake.cli.commands import app
from tests.cli.shell import Shell

APP = """
from pathlib import Path
from rewake import TaskError, callback, step, workflow

@workflow
async def main(name: str) -> object:
    wait = callback("payment", result=int)
    await step("hand on", lambda: Path(name).write_text(wait.url))
    try:
        return await wait
    except TaskError as error:
        return [error.type, error.message]
"""
BASE = "https://app.example/below"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in the folder of a server, whose address it knows."""
    secret = "a secret that only tests may know"
    shell = Shell(tmp_path_factory.mktemp("server"), REWAKE_SECRET=secret, REWAKE_URL=BASE)
    shell.write("app.py", APP)
    with shell.begin("serve", "app.py", "--port", "0", "--db", "x.db") as command:
        command.says("serving on ")
        found = re.search(r"serving on (http://\S+)", command.stderr)
        assert found is not None
        shell.settings["REWAKE_SERVER"] = found[1]
        yield shell


def rewake(shell: Shell, *command: str, **settings: str | None) -> Result:
    """Run a command to its end."""
    environment = {**shell.settings, **settings}
    return CliRunner().invoke(app, command, prog_name="rewake", env=environment)


def handed_on(shell: Shell, name: str) -> tuple[str, str]:
    """A run, and where its callback can be reached: a proxy has it elsewhere."""
    run = rewake(shell, "start", "main", "--input", json.dumps({"name": name})).stdout.strip()
    file, deadline = shell.folder / name, time.monotonic() + 20
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    url = file.read_text()
    assert url.startswith(f"{BASE}/callback/")
    return run, url.replace(BASE, shell.settings["REWAKE_SERVER"])


def test_complete(shell: Shell) -> None:
    """The address is enough: no token. The same again is the same; another one is refused."""
    run, url = handed_on(shell, "complete")
    nobody = {"REWAKE_SECRET": None, "REWAKE_TOKEN": None}
    wrong = rewake(shell, "callbacks", "complete", url, "--value", '"much"', **nobody)
    assert (wrong.exit_code, wrong.stderr) == (2, "rewake: Expected `int`, got `str`\n")
    for _ in range(2):
        done = rewake(shell, "callbacks", "complete", url, "--value", "3", **nobody)
        assert (done.exit_code, done.stdout) == (0, "the callback is completed\n")
    assert rewake(shell, "runs", "result", run, "--wait", "20").stdout == "3\n"
    other = rewake(shell, "callbacks", "complete", url, "--value", "4", "--json")
    assert other.exit_code == 2
    assert "completed by an earlier call" in other.stderr


def test_fail(shell: Shell) -> None:
    """The workflow sees the error; to machines the answer is JSON."""
    run, url = handed_on(shell, "fail")
    told = ("--type", "Declined", "--message", "no cover", "--json")
    done = rewake(shell, "callbacks", "fail", url, *told)
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"state": "failed"})
    result = rewake(shell, "runs", "result", run, "--wait", "20").stdout
    assert json.loads(result) == ["Declined", "no cover"]


def test_what_cannot_be_called(shell: Shell) -> None:
    """One line says what is wrong, and never the token."""
    server = shell.settings["REWAKE_SERVER"]
    for url, told, code in (
        ("nonsense", "URL is no address of a callback", 2),
        (f"{server}/v1/runs", "URL is no address of a callback", 2),
        (f"{server}/callback/forged.token", "/callback/*** is no link", 2),
        ("http://127.0.0.1:1/callback/forged.token", "cannot reach", 6),
    ):
        answer = rewake(shell, "callbacks", "complete", url)
        assert (answer.exit_code, answer.stderr.count("\n")) == (code, 1)
        assert told in answer.stderr
        assert "forged" not in answer.stderr
    answer = rewake(shell, "callbacks", "complete", f"{server}/callback/x", "--value", "{")
    assert (answer.exit_code, "--value is not JSON" in answer.stderr) == (2, True)


def test_a_run_without_a_server_has_addresses_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`rewake run` hands on what `REWAKE_URL` says, or waits and says that it is not set."""
    shell = Shell(tmp_path_factory.mktemp("alone"))
    shell.write("app.py", APP)
    command = ("run", "app.py", "--input", '{"name": "url.txt"}', "--id")
    with shell.begin(*command, "a") as alone:
        alone.says("REWAKE_URL is not set")
    shell.settings["REWAKE_URL"] = BASE
    with shell.begin(*command, "b") as alone:
        alone.says("to be called")
        assert (shell.folder / "url.txt").read_text().startswith(f"{BASE}/callback/")
