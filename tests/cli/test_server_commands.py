from __future__ import annotations

import http.server
import json
import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rewake.cli.commands import app
from tests.cli.apps import APP
from tests.cli.shell import Command, Shell

SECRET = "a secret that only tests may know"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shell, Command]]:
    """A production server on a free port, and a shell that is told its address and secret."""
    shell = Shell(tmp_path_factory.mktemp("server"), REWAKE_SECRET=SECRET)
    shell.write("app.py", APP)
    (shell.folder / "x").mkdir()
    with shell.begin("serve", "app.py", "--port", "0", "--db", "x/y.db") as command:
        command.says("serving on ")
        found = re.search(r"serving on (http://\S+)", command.stderr)
        assert found is not None
        shell.settings["REWAKE_SERVER"] = found[1]
        yield shell, command


class Client:
    """Commands that ask the server: without a process of their own, since there are many."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    def rewake(self, *command: str, **settings: str) -> Result:
        """Run a command to its end."""
        environment = {"REWAKE_TOKEN": None, **self.shell.settings, **settings}
        return CliRunner().invoke(app, command, prog_name="rewake", env=environment)

    def started(self, workflow: str, arguments: object) -> str:
        """The id of a run that is started."""
        run = self.rewake("start", workflow, "--input", json.dumps(arguments))
        assert run.exit_code == 0, run.stderr
        return run.stdout.strip()

    def json(self, *command: str) -> Any:
        """What a command answers to machines."""
        done = self.rewake(*command, "--json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def shell(serving: tuple[Shell, Command]) -> Shell:
    """A shell in the server's folder."""
    return serving[0]


@pytest.fixture
def client(shell: Shell) -> Client:
    """Commands that ask the server."""
    return Client(shell)


def test_a_run_is_started_and_waited_for(shell: Shell) -> None:
    """With --wait the result is the one thing on stdout."""
    done = shell.rewake("start", "main", "--input", '{"urls": ["a"]}', "--wait", "20")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"pages": ["A"], "stamp": 42, "n": 1}


def test_a_key_starts_only_one_run(client: Client) -> None:
    """The same --key gives the same run; with other arguments it is a conflict."""
    first = client.rewake("start", "paused", "--input", '{"seconds": 0}', "--key", "k")
    again = client.rewake("start", "paused", "--input", '{"seconds": 0}', "--key", "k")
    other = client.rewake("start", "paused", "--input", '{"seconds": 1}', "--key", "k")
    assert first.stdout == again.stdout
    assert other.exit_code == 2
    assert "started with other arguments" in other.stderr
    for _ in range(2):
        named = client.rewake("start", "paused", "--input", '{"seconds": 0}', "--id", "by-name")
        assert named.stdout == "by-name\n"


def test_a_key_starts_anew_where_that_is_asked_for(client: Client) -> None:
    """While the key's run waits it is given or refused; after its end a new one follows."""
    command = ("start", "paused", "--input", '{"seconds": 60}', "--key", "n")
    restart = (*command, "--if-finished", "restart")
    first = client.rewake(*restart).stdout.strip()
    assert client.rewake(*restart).stdout.strip() == first
    refused = client.rewake(*command, "--if-running", "reject")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == f"rewake: run '{first}' has not ended (if_running=reject)\n"
    assert client.rewake("runs", "cancel", first).exit_code == 0
    assert client.rewake("runs", "result", first, "--wait", "20").exit_code == 3
    ended = client.rewake(*command, "--if-finished", "reject")
    assert ended.stderr == f"rewake: run '{first}' has ended already (if_finished=reject)\n"
    second = client.rewake(*command, "--if-finished", "restart_failed").stdout.strip()
    assert second == f"{first}.2"
    assert client.rewake(*command).stdout.strip() == second


def test_a_run_is_shown_from_all_sides(client: Client) -> None:
    """list, show, history, logs and result, for people and for machines."""
    run = client.started("main", {"urls": ["a"]})
    assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 0
    assert run in client.rewake("runs", "list", "--workflow", "main", "--state", "done").stdout
    assert "done" in client.rewake("runs", "show", run).stdout
    history = client.rewake("runs", "history", run).stdout
    assert re.search(r"flaky +task +done .* 2", history)
    assert "flaky#2  attempt 2" in client.rewake("runs", "logs", run, "--key", "flaky").stdout
    assert [each["id"] for each in client.json("runs", "list", "--limit", "1")["runs"]] == [run]
    assert client.json("runs", "show", run)["state"] == "done"
    assert client.json("runs", "history", run)["operations"][-1]["attempts"] == 2
    assert len(client.json("runs", "logs", run)["lines"]) == 2
    assert client.json("runs", "result", run)["result"]["n"] == 1


def test_the_exit_code_says_how_a_run_ended(client: Client) -> None:
    """1 failed, 3 cancelled, 7 not over yet; stdout stays empty."""
    failed = client.rewake("start", "broken", "--wait", "20")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert 'KeyError("oh no")' in failed.stderr
    run = client.started("paused", {"seconds": 60})
    pending = client.rewake("runs", "result", run)
    assert (pending.exit_code, pending.stdout) == (7, "")
    assert client.rewake("runs", "cancel", run, "--reason", "enough").exit_code == 0
    cancelled = client.rewake("runs", "result", run, "--wait", "20")
    assert (cancelled.exit_code, cancelled.stdout) == (3, "")
    assert "the run was cancelled: enough" in cancelled.stderr
    again = client.rewake("runs", "cancel", run)
    assert (again.exit_code, again.stderr.count("\n")) == (2, 1)


def test_many_runs_at_once(client: Client) -> None:
    """Options name many runs: one line each, none is touched in a dry run, 1 if one is refused or
    would be.
    """
    runs = [client.started("paused", {"seconds": 60}) for _ in range(2)]
    chosen = ("--workflow", "paused", "--since", "10m")
    dry = client.rewake("runs", "kill", *chosen, "--dry-run")
    assert (dry.exit_code, dry.stdout.count(": would be killed\n")) == (
        0,
        len(dry.stdout.splitlines()),
    )
    assert all(run in dry.stdout for run in runs)
    assert client.json("runs", "show", runs[0])["state"] in ("ready", "running", "suspended")
    for dry_run in ([], ["--dry-run"]):
        refused = client.rewake("runs", "resume", *chosen, "--state", "suspended", *dry_run)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "is neither stuck nor paused" in refused.stderr
    labelled = client.rewake("runs", "kill", "--label", "customer=c1", "--tenant", "t1")
    assert (labelled.exit_code, labelled.stderr) == (0, "no run to kill\n")
    killed = client.rewake("runs", "kill", *chosen, "--reason", "enough")
    assert killed.exit_code == 0
    assert all(f"{run} paused cancelled: kill" in killed.stdout for run in runs)
    none = client.rewake("runs", "kill", *chosen)
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "no run to kill\n")
    assert client.rewake("runs", "kill", runs[0]).exit_code == 2


def test_a_run_is_started_later(client: Client) -> None:
    """With --delay or --at it is shown as delayed; what is no moment is refused in one line."""
    begin = ("start", "paused", "--input", '{"seconds": 0}')
    run = client.rewake(*begin, "--delay", "2h").stdout.strip()
    assert client.json("runs", "show", run)["state"] == "delayed"
    at = client.rewake(*begin, "--at", "2050-01-31T12:00").stdout.strip()
    assert client.json("runs", "show", at)["wake"] > "2050-01-30"
    for bad in (("--delay", "soon"), ("--at", "soon"), ("--delay", "1h", "--at", "2050-01-01")):
        refused = client.rewake(*begin, *bad)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert client.rewake("runs", "kill", run).exit_code == 0
    assert client.rewake("runs", "kill", at).exit_code == 0


def test_runs_are_paused_and_resumed(client: Client) -> None:
    """One, or all that are named, wait until they are resumed; a list shows them as paused."""
    runs = [client.started("paused", {"seconds": 600}) for _ in range(2)]
    one = client.rewake("runs", "pause", runs[0])
    assert (one.exit_code, one.stdout) == (0, f"run {runs[0]} is asked to pause\n")
    chosen = ("--workflow", "paused", "--since", "10m")
    assert f"{runs[1]} paused" in client.rewake("runs", "pause", *chosen).stdout
    listed = client.json("runs", "list", "--state", "paused")["runs"]
    assert {run["id"] for run in listed} >= set(runs)
    resumed = client.rewake("runs", "resume", *chosen)
    assert all(f"{run} paused ready: resume" in resumed.stdout for run in runs)
    killed = client.rewake("runs", "kill", *chosen)
    assert all(f"{run} paused cancelled: kill" in killed.stdout for run in runs)
    over = client.rewake("runs", "pause", runs[0])
    assert (over.exit_code, over.stderr.count("\n")) == (2, 1)


def test_a_run_is_begun_once_more(client: Client) -> None:
    """From its beginning or before an operation, also with another input; the new id is told."""
    run = client.started("paused", {"seconds": 0})
    assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 0
    anew = client.rewake("runs", "rerun", run, "--input", '{"seconds": 0}')
    assert (anew.exit_code, anew.stdout.count(run)) == (0, 0)
    key = client.json("runs", "history", run)["operations"][0]["key"]
    fork = client.json("runs", "fork", run, "--at", key)
    assert fork["origin"] == {"run": run, "key": key}
    assert client.rewake("runs", "result", fork["id"], "--wait", "20").exit_code == 0
    missing = client.rewake("runs", "fork", run, "--at", "nothing")
    assert (missing.exit_code, missing.stderr.count("\n")) == (2, 1)
    assert key in missing.stderr
    wrong = client.rewake("runs", "fork", run, "--at", key, "--input", '{"seconds": "x"}')
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)
    dry = client.rewake("runs", "fork", run, "--at", key, "--dry-run")
    assert dry.stdout == f"run {run} would be forked\n"


def test_failed_runs_are_retried(client: Client) -> None:
    """One, or all that failed, goes on; what has not failed is refused, and not meant."""
    run, going = client.started("broken", {}), client.started("paused", {"seconds": 60})
    assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 1
    assert f"rewake runs retry {run}" in client.rewake("runs", "show", run).stdout
    one = client.rewake("runs", "retry", run)
    assert (one.exit_code, one.stdout) == (0, f"run {run} goes on\n")
    assert client.rewake("runs", "result", run, "--wait", "20").exit_code == 1
    history = client.json("runs", "history", run)
    [retried] = [each for each in history["entries"] if each["type"] == "started"][1:] or [None]
    assert retried is None  # its first segment raised, so that it began anew
    many = client.rewake("runs", "retry", "--since", "10m", "--dry-run")
    assert f"{run} broken failed: would be retried" in many.stdout
    assert going not in many.stdout
    one = client.rewake("runs", "retry", run, "--dry-run")
    assert (one.exit_code, one.stdout) == (0, f"run {run} would be retried\n")
    refused = client.rewake("runs", "retry", going)
    assert refused.exit_code == 2
    assert "has not failed" in refused.stderr
    assert client.rewake("runs", "kill", going).exit_code == 0


def test_many_runs_at_once_for_machines(client: Client) -> None:
    """With --json the answer is one document, of a dry run, a refusal and a success alike."""
    runs = {client.started("paused", {"seconds": 60}) for _ in range(2)}
    chosen = ("--workflow", "paused", "--since", "10m")
    dry = client.json("runs", "kill", *chosen, "--dry-run")
    assert (dry["action"], dry["dry_run"], dry["refused"]) == ("kill", True, [])
    assert runs <= {run["id"] for run in dry["runs"]}
    refused = client.rewake("runs", "resume", *chosen, "--state", "suspended", "--json")
    assert (refused.exit_code, refused.stderr) == (1, "")
    told = json.loads(refused.stdout)
    assert (told["runs"], told["dry_run"]) == ([], False)
    assert all("is neither stuck nor paused" in run["error"] for run in told["refused"])
    assert runs <= {run["id"] for run in told["refused"]}
    killed = client.json("runs", "kill", *chosen)
    assert runs <= {run["id"] for run in killed["runs"] if run["state"] == "cancelled"}
    assert client.json("runs", "kill", *chosen)["runs"] == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "give a RUN, or name many"),
        (("--dry-run",), "give a RUN, or name many"),
        (("r1", "--state", "stuck"), "give either a RUN, or"),
        (("--since", "yesterday"), "--since is 30m"),
        (("--since", "999999d"), "--since is 30m"),
    ],
)
def test_what_names_no_runs(client: Client, options: tuple[str, ...], told: str) -> None:
    """A command that means no run, or one and many, is refused before it asks anything."""
    for command in ("cancel", "kill", "resume", "retry"):
        answer = client.rewake("runs", command, *options)
        assert answer.exit_code == 2
        assert told in answer.stderr


def test_an_approval_is_decided(client: Client) -> None:
    """Without a key, the only one that is waited for is meant; it is decided once."""
    run = client.started("ask", {})
    assert client.rewake("runs", "result", run, "--wait", "0.3").exit_code == 7
    assert "waits for a decision on release" in client.rewake("runs", "show", run).stdout
    command = ("runs", "approve", run, "--reject", "--approver", "ada")
    assert client.rewake(*command).stdout == f"release of run {run} is rejected\n"
    result = json.loads(client.rewake("runs", "result", run, "--wait", "20").stdout)
    assert result == {"decision": "rejected", "value": None, "who": "ada"}
    late = client.rewake(*command)
    assert (late.exit_code, late.stderr) == (2, f"rewake: run {run} waits for no decision\n")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["start", "gone"], "there is no workflow 'gone'"),
        (["start", "main", "--input", '{"urls": [1]}'], "urls[0]"),
        (["runs", "show", "gone"], "there is no run 'gone'"),
        (["runs", "list", "--state", "odd"], "state must be one of ready, running, suspended"),
        (["runs", "resume", "gone"], "there is no run 'gone'"),
        (["runs", "cancel", "gone", "--reason", "é" * 101], "at most 200 bytes of UTF-8"),
        (["runs", "cancel", "gone", "--reason", "\udcff"], r"'\udcff' is no text in UTF-8"),
        (["start", "main", "--key", ""], "has 1 to 255 bytes"),
        (["start", "main", "--key", "a\nb"], "--key must be one line of text"),
        (["start", "main", "--key", "\udcff"], "--key must be one line of text"),
    ],
)
def test_what_the_server_refuses_is_one_line(client: Client, command: list[str], says: str) -> None:
    """A problem that the server answers is told in its words, with exit code 2."""
    refused = client.rewake(*command)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert says in refused.stderr


def test_a_wrong_token_is_one_line(client: Client) -> None:
    """Exit code 2; the token itself is not repeated."""
    refused = client.rewake("runs", "list", REWAKE_TOKEN="x" * 20)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "does not accept this token" in refused.stderr
    assert "xxx" not in refused.stderr


def test_a_server_that_is_not_there_is_one_line(client: Client) -> None:
    """Exit code 6, with the address."""
    gone = client.rewake("runs", "list", "--server", "http://127.0.0.1:1")
    assert gone.exit_code == 6
    assert gone.stderr == "rewake: cannot reach http://127.0.0.1:1: Connection refused\n"


def test_a_server_of_another_kind_is_one_line(client: Client) -> None:
    """Exit code 6; whatever it answers is not shown."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        found = client.rewake("runs", "list", "--server", url)
        server.shutdown()
    assert found.exit_code == 6
    assert found.stderr == f"rewake: {url} is not a Rewake server (status 200)\n"


def test_states_are_listed_read_written_and_removed(client: Client) -> None:
    """Refused are a write of another version, a value that is no JSON and one that is missing."""
    assert (
        client.rewake("state", "set", "cart", "ann/1", '["tea"]', "--version", "0").exit_code == 0
    )
    assert client.rewake("state", "get", "cart", "ann/1").stdout == '["tea"]\n'
    assert client.json("state", "get", "cart", "ann/1")["version"] == 1
    assert (
        "version 1" in client.rewake("state", "set", "cart", "ann/1", "1", "--version", "0").stderr
    )
    assert "VALUE is not JSON" in client.rewake("state", "set", "cart", "ann/1", "tea").stderr
    assert client.rewake("state", "set", "cart", "x", "1", "--tenant", "t1").exit_code == 0
    assert re.search(r"cart +ann/1 +1\n", client.rewake("state", "list", "--name", "cart").stdout)
    [found] = client.json("state", "list", "--tenant", "t1")["states"]
    assert found == {"name": "cart", "key": "x", "version": 1, "held_by": None, "waiting": 0}
    assert client.rewake("state", "remove", "cart", "ann/1").exit_code == 0
    assert client.rewake("state", "get", "cart", "ann/1").exit_code == 2


def test_the_server_ends_in_order(serving: tuple[Shell, Command]) -> None:
    """SIGTERM is not an error, and what --db named is where the runs are."""
    shell, command = serving
    assert (shell.folder / "x/y.db").exists()
    assert command.signal(signal.SIGTERM) == 0
