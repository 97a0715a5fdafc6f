from __future__ import annotations

import http.client
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.shell import Command, Shell, eventually

APP = """
from rewake import sleep, task, workflow

from beside import WORD

@task
async def word() -> str:
    return WORD

@workflow
async def main() -> str:
    return await word()

@workflow
async def nap(seconds: float) -> str:
    await sleep(seconds)
    return await word()
"""

# What a client sees of it depends on how much it had sent by then.
CLOSED = (BrokenPipeError, ConnectionResetError, http.client.RemoteDisconnected)


class Server:
    """A `rewake dev` under way, and requests to it."""

    def __init__(self, shell: Shell, command: Command) -> None:
        self.shell = shell
        self.command = command
        command.says("workflows")
        found = re.search(r"on (http://\S+)", command.stdout)
        assert found is not None
        self.url = found[1]
        self.token = shell.rewake("token").stdout.strip()

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """One request over a connection of its own.

        Repeated, as HTTP clients do, if the server closed the connection before it read it.
        """
        while True:
            try:
                return self._ask(method, path, body)
            except CLOSED:
                continue
            except urllib.error.URLError as error:
                if not isinstance(error.reason, CLOSED):
                    raise

    def _ask(self, method: str, path: str, body: object) -> Any:
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def run(self) -> str:
        """The result of a run that is started now."""
        answer = self.ask("POST", "/v1/workflows/main/runs?wait=20", {})
        while "result" not in answer:  # a server that ends does not let anybody wait
            answer = self.ask("GET", f"/v1/runs/{answer['id']}/result?wait=20")
        result: str = answer["result"]
        return result

    def becomes(self, word: str) -> None:
        """Wait until runs that are started say that."""
        eventually(lambda: self.run() == word, f"{word}:\n{self.command.stderr}")


@pytest.fixture
def server(shell: Shell) -> Iterator[Server]:
    """A development server on a free port."""
    shell.write("app.py", APP)
    shell.write("beside.py", "WORD = 'one'")
    with shell.begin("dev", "app.py", "--port", "0") as command:
        yield Server(shell, command)


def test_it_says_how_to_use_it(server: Server) -> None:
    """The banner has the URL, where the token is, and for each workflow a line for any curl."""
    banner = server.command.stdout
    assert "$(rewake token)" in banner
    for name, body in (("main", "{}"), ("nap", '{"seconds": 1.5}')):
        start = f"curl {server.url}/v1/workflows/{name}/runs"
        assert re.search(rf"{re.escape(start)} .*/json\" -d '{re.escape(body)}'", banner)
    assert server.run() == "one"


def test_without_the_token_nobody_gets_in(server: Server) -> None:
    """A development server asks for its token like any other."""
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{server.url}/v1/runs", timeout=30)
    refused.value.close()
    assert refused.value.code == 401


def test_a_change_is_served_at_once_and_runs_go_on(server: Server) -> None:
    """A module beside the app changes: new runs use it, and a run that sleeps wakes up in it."""
    run = server.ask("POST", "/v1/workflows/nap/runs", {"seconds": 6})["id"]
    server.shell.write("beside.py", "WORD = 'two'")
    server.becomes("two")
    assert server.ask("GET", f"/v1/runs/{run}/result?wait=20")["result"] == "two"


def test_no_connection_is_refused_while_it_restarts(server: Server) -> None:
    """Requests made during a restart wait for the new version; none fails."""
    answers = set()
    for version in range(2):
        server.shell.write("beside.py", f"WORD = 'version {version}'")
        deadline = time.monotonic() + 30
        while f"version {version}" not in answers and time.monotonic() < deadline:
            server.ask("GET", "/v1/workflows")
            answers.add(server.run())
    assert answers == {"one", "version 0", "version 1"}


def test_a_syntax_error_is_said_and_the_old_version_stays(server: Server) -> None:
    """One line names file and line; runs are still served, until the next change mends it."""
    server.shell.write("beside.py", "WORD = 'two")
    server.command.says("waiting for the next change")
    said = [line for line in server.command.stderr.splitlines() if line.startswith("rewake: ")]
    assert len(said) == 1
    assert "SyntaxError" in said[0]
    assert "beside.py, line 1" in said[0]
    assert "Traceback" not in server.command.stderr
    assert server.run() == "one"
    server.shell.write("beside.py", "WORD = 'three'")
    server.becomes("three")


def test_a_warning_is_one_line_at_each_load(shell: Shell) -> None:
    """What a workflow should not do is said when it is loaded, once, and again after a change."""
    body = APP.replace("return await word()", "return str(time.time())", 1)
    shell.write("app.py", f"import time\n{body}")
    shell.write("beside.py", "WORD = 'one'")

    def said() -> list[str]:
        return [line for line in command.stderr.splitlines() if "time.time()" in line]

    with shell.begin("dev", "app.py", "--port", "0") as command:
        server = Server(shell, command)
        server.run()
        once = "rewake: app.py:13: workflow 'main' calls time.time(): replay would see another time"
        assert [line.partition(";")[0] for line in said()] == [once]
        shell.write("beside.py", "WORD = 'two'")
        command.says("reloaded app.py")
        server.run()
        assert len(said()) == 2


def test_a_webhook_whose_secret_is_missing_is_shut(shell: Shell) -> None:
    """A developer is told which to set, and that webhook alone answers 503; others are open, and
    `serve` does not begin.
    """
    hooks = (
        "from rewake.webhooks import anyone, bearer, webhook\n"
        "HOOKS = [webhook('a', verify=bearer('SOME_TOKEN')), webhook('b', verify=anyone())]\n"
    )
    body = APP.replace("@workflow", "@workflow(webhook=HOOKS)", 1)
    shell.write("app.py", f"{hooks}{body}")
    shell.write("beside.py", "WORD = 'one'")
    with shell.begin("dev", "app.py", "--port", "0") as command:
        server = Server(shell, command)
        assert server.ask("POST", "/hooks/b?wait=20", {})["result"] == "one"
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.ask("POST", "/hooks/a", {})
        refused.value.close()
        assert refused.value.code == 503
        assert "the secret of the hook a is missing: set SOME_TOKEN" in command.stderr
        assert "anyone" not in command.stderr
    shell.settings["REWAKE_SECRET"] = "a secret of this test alone"
    ended = shell.rewake("serve", "app.py", "--port", "0")
    told = "rewake: the secret of the hook a is missing: set SOME_TOKEN\n"
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.endswith(told)


def test_ctrl_c_ends_it_in_order(server: Server) -> None:
    """Exit code 0, nothing is left behind."""
    assert server.command.signal(signal.SIGINT) == 0
    with pytest.raises(urllib.error.URLError):
        server.ask("GET", "/readyz")


def test_the_serving_process_ends_with_its_supervisor(server: Server) -> None:
    """Even kill -9 leaves no server behind that holds the port."""
    os.kill(server.command.process.pid, signal.SIGKILL)
    server.command.wait()

    def is_gone() -> bool:
        try:
            server.ask("GET", "/readyz")
        except OSError:
            return True
        return False

    eventually(is_gone, "the port is free")


def test_an_app_that_never_worked_is_refused(shell: Shell) -> None:
    """At the start there is nothing to fall back on: one line, exit code 2."""
    shell.write("app.py", "def (:")
    refused = shell.rewake("dev", "app.py", "--port", "0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert "app.py cannot be imported: SyntaxError: invalid syntax (line 1)" in refused.stderr
