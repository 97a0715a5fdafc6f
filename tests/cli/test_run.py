from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import select
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable
from rewake.streamed import LogLine
from tests.cli.apps import APP, CHANGED
from tests.cli.shell import PATIENCE, Shell, clean_environment
from tests.support.stores import reads_of

RESULT = {"pages": ["A", "B"], "stamp": 42, "n": 2}


@pytest.fixture(autouse=True)
def an_app(shell: Shell) -> None:
    """Every test has the app in its folder."""
    shell.write("app.py", APP)


def test_a_run_prints_its_result_and_nothing_else(shell: Shell) -> None:
    """The result is the one line on stdout, as JSON; how it went is on stderr."""
    done = shell.rewake("run", "app.py:main", "--input", '{"urls": ["a", "b"]}')
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == RESULT
    assert done.stdout.count("\n") == 1
    for line in ("parallel[1]/fetch", "stamp", "sleep", "flaky", "attempt 2", "done in"):
        assert line in done.stderr


def test_what_user_code_prints_goes_to_stderr(shell: Shell) -> None:
    """Not even a subprocess of a step can spoil stdout."""
    done = shell.rewake("run", "app.py:noisy")
    assert done.stdout == '"the result"\n'
    for source in ("the body", "a step", "a subprocess", "another"):
        assert f"from {source}" in done.stderr


def test_quiet_is_quiet(shell: Shell) -> None:
    """With --quiet only the result is left."""
    done = shell.rewake("run", "app.py:paused", "--input", '{"seconds": 0.01}', "--quiet")
    assert (done.stdout, done.stderr) == ('"AFTER"\n', "")


READS = """
from rewake import workflow

@workflow
async def main() -> str:
    return open("app.py").read()
"""


def test_what_a_body_should_not_do_is_said_when_it_is_loaded_and_when_it_does(shell: Shell) -> None:
    """One line before the run; if it does it nevertheless, the run fails and says what to do."""
    shell.write("app.py", READS)
    done = shell.rewake("run", "app.py", "--quiet")
    first, *failure = done.stderr.splitlines()
    assert first == (
        "rewake: app.py:6: workflow 'main' calls open(): replay would do it again; "
        "put it into a @task or a step()"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "a workflow body cannot use files (open)" in failure[-1]


def test_a_warning_may_be_made_an_error(shell: Shell) -> None:
    """Then the app is not run: one line says where and why, exit code 2."""
    shell.write("app.py", READS)
    shell.settings["PYTHONWARNINGS"] = "error"
    refused = shell.rewake("run", "app.py")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert refused.stderr.endswith("app.py, line 6)\n")


def test_the_input_may_come_from_stdin(shell: Shell) -> None:
    """`--input-file -` reads the arguments from stdin."""
    done = shell.rewake("run", "app.py:main", "--input-file", "-", stdin='{"urls": ["a", "b"]}')
    assert json.loads(done.stdout) == RESULT


def test_a_failed_run_shows_its_traceback(shell: Shell) -> None:
    """Exit code 1, nothing on stdout, and where it happened on stderr."""
    failed = shell.rewake("run", "app.py:broken")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert 'raise KeyError("oh no")' in failed.stderr
    assert "rewake/" not in failed.stderr.replace(".rewake/", "")


def test_the_secret_is_made_once_for_its_owner_only(shell: Shell) -> None:
    """`.rewake/secret` is kept over runs, readable by nobody else."""
    shell.rewake("run", "app.py:noisy")
    made = shell.read(".rewake/secret")
    mode = (shell.folder / ".rewake/secret").stat().st_mode
    shell.rewake("run", "app.py:noisy")
    assert stat.S_IMODE(mode) == 0o600
    assert shell.read(".rewake/secret") == made


def test_an_interrupted_run_goes_on_where_it_was(shell: Shell) -> None:
    """Ctrl-C hands over and says how to go on; what was done is not done again."""
    command = ("run", "app.py:paused", "--input", '{"seconds": 1.5}', "--id", "mine")
    with shell.begin(*command) as first:
        first.says("sleeping")
        assert first.signal(signal.SIGINT) == 130
    assert first.stdout == ""
    assert "rewake run app.py:paused --id mine" in first.stderr
    second = shell.rewake("run", "app.py:paused", "--id", "mine")
    assert (second.returncode, second.stdout) == (0, '"AFTER"\n')
    assert shell.read("canary") == "fetch before\nfetch after\n"


def test_a_run_that_is_over_tells_its_result_again(shell: Shell) -> None:
    """The same id never runs twice; with other arguments it is refused."""
    command = ["run", "app.py:paused", "--id", "mine", "--input"]
    first = shell.rewake(*command, '{"seconds": 0.01}')
    again = shell.rewake(*command, '{"seconds": 0.01}')
    other = shell.rewake(*command, '{"seconds": 0.02}')
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert shell.read("canary").count("before") == 1
    assert (other.returncode, other.stdout) == (2, "")
    assert "started with other arguments" in other.stderr


def test_a_sync_task_does_not_hold_up_ctrl_c(shell: Shell) -> None:
    """A thread that cannot be interrupted is left behind; the process ends all the same."""
    shell.write(
        "slow.py",
        "import time\nfrom rewake import task, workflow\n"
        "@task\ndef hold() -> None:\n    print('held', flush=True)\n    time.sleep(60)\n"
        "@workflow\nasync def main() -> None:\n    await hold()\n",
    )
    with shell.begin("run", "slow.py") as command:
        command.says("held")
        began = time.monotonic()
        assert command.signal(signal.SIGINT) == 130
        assert time.monotonic() - began < 10


def test_a_run_leaves_the_others_in_the_file_alone(shell: Shell) -> None:
    """Another app's run that is due is not touched, let alone stuck for want of its workflow."""
    with shell.begin("run", "app.py:paused", "--input", '{"seconds": 0.5}', "--id", "a") as one:
        one.says("sleeping")
        one.signal(signal.SIGINT)
    shell.write("b.py", APP.replace("async def paused", "async def renamed"))
    other = shell.rewake("run", "b.py:renamed", "--input", '{"seconds": 1}')
    assert other.stdout == '"AFTER"\n'
    assert shell.rewake("run", "app.py:paused", "--id", "a").stdout == '"AFTER"\n'


def test_a_stuck_run_is_kept_and_resumed(shell: Shell) -> None:
    """Changed code makes it stuck: exit code 4, and after a fix --resume goes on."""
    command = ("run", "app.py:paused", "--input", '{"seconds": 0.3}', "--id", "mine")
    with shell.begin(*command) as first:
        first.says("sleeping")
        first.signal(signal.SIGINT)
    shell.write("app.py", CHANGED)
    stuck = shell.rewake("run", "app.py:paused", "--id", "mine")
    assert (stuck.returncode, stuck.stdout) == (4, "")
    assert stuck.stderr.count("fetch.2") == stuck.stderr.count("NonDeterminismError: fetch.2") == 1
    assert len(re.findall(r"\bstuck\b", stuck.stderr)) == 2  # how it ended, and why
    assert "--resume" in stuck.stderr
    shell.write("app.py", APP)
    assert shell.rewake("run", "app.py:paused", "--id", "mine").returncode == 4
    mistyped = shell.rewake("run", "app.py:paused", "--id", "mime", "--resume")
    assert (mistyped.returncode, mistyped.stdout) == (2, "")
    assert "there is no run 'mime'" in mistyped.stderr
    resumed = shell.rewake("run", "app.py:paused", "--id", "mine", "--resume")
    assert (resumed.returncode, resumed.stdout) == (0, '"AFTER"\n')


def test_a_cancelled_run_says_so(shell: Shell) -> None:
    """Exit code 3, with the reason."""
    with shell.begin("run", "app.py:paused", "--input", '{"seconds": 60}', "--id", "mine") as run:
        run.says("sleeping")
        asyncio.run(cancel(shell.folder, "mine", "no longer wanted"))
        assert run.wait() == 3
    assert run.stdout == ""
    assert "the run was cancelled: no longer wanted" in run.stderr


async def cancel(folder: Path, run: str, reason: str) -> None:
    """As another process would."""
    table = SqliteTable(folder / ".rewake/rewake.db")
    secret = Secret((folder / ".rewake/secret").read_text())
    engine = Engine(App(), table, InProcessDispatcher(SystemClock()), secret)
    await engine.cancel(run, reason)
    await engine.close()


def test_without_a_terminal_it_says_which_command_approves(shell: Shell) -> None:
    """The command that is shown decides, in the same file, and the run goes on at once."""
    with shell.begin("run", "app.py:ask", "--id", "mine") as run:
        run.says("rewake runs approve mine release --db .rewake/rewake.db")
        decided = shell.rewake(
            *("runs", "approve", "mine", "--db", ".rewake/rewake.db"),
            *("--value", '{"amount": 3}', "--approver", "ada"),
        )
        assert decided.stdout == "release of run mine is approved\n"
        assert run.wait() == 0
    assert json.loads(run.stdout) == {"decision": "approved", "value": {"amount": 3}, "who": "ada"}


def test_on_a_terminal_it_asks(shell: Shell) -> None:
    """Yes or no, then each field of the form, again where the answer does not fit."""
    answers = ["perhaps", "y", "much", "3.5", ""]
    shown, code = on_terminal(shell, ["run", "app.py:ask"], answers)
    assert code == 0, shown
    assert shown.count("approve? [y/n]") == 2
    assert shown.count("amount (number):") == 2
    assert "that is not number" in shown
    assert '"decision": "approved"' in shown
    assert '"amount": 3.5' in shown


PICKY = """
from rewake import wait_for_approval, workflow

@workflow
async def picky() -> float:
    form = {"amount": {"type": "number", "minimum": 5}}
    return (await wait_for_approval(form=form)).value["amount"]
"""


def test_on_a_terminal_it_asks_again_for_what_the_form_refuses(shell: Shell) -> None:
    """It says what does not fit."""
    shell.write("picky.py", PICKY)
    answers = ["y", "3", "", "y", "7", ""]
    shown, code = on_terminal(shell, ["run", "picky.py"], answers)
    assert code == 0, shown
    assert "value.amount: it does not fit: minimum 5" in shown
    assert shown.rstrip().endswith("7")


KIN = """
from rewake import wait_for_approval, workflow

@workflow
async def bill(order: str) -> bool:
    return bool(await wait_for_approval("pay"))

@workflow
async def order() -> list[bool]:
    return [bool(await wait_for_approval("ship")), await bill("B1")]
"""


def test_on_a_terminal_it_asks_for_the_runs_below_too(shell: Shell) -> None:
    """A child that waits for a decision is asked for by the run that it is of."""
    shell.write("kin.py", KIN)
    shown, code = on_terminal(shell, ["run", "kin.py:order", "--id", "o"], ["y", "", "y", ""])
    assert code == 0, shown
    assert "ship (ship) waits for a decision." in shown
    assert re.search(r"pay \(pay\) of run \S+ waits for a decision\.", shown)
    assert "".join(shown.split()).endswith("[true,true]")


def test_on_a_terminal_prints_are_kept_as_they_were_printed(shell: Shell) -> None:
    """Beside a table that moves, what code prints is shown, and kept without what moves it."""
    shown, code = on_terminal(shell, ["run", "app.py:noisy", "--id", "noisy"], [])
    assert code == 0, shown
    assert "from the body" in shown
    assert "from a step" in shown

    async def kept() -> list[tuple[str, list[LogLine]]]:
        store = reads_of(SqliteTable(shell.folder / ".rewake/rewake.db"))
        try:
            batches = await store.logs(await store.header("noisy"))
            return [(batch.key, batch.lines) for batch in batches]
        finally:
            await store.close()

    found = {
        key: [(line.level, line.message) for line in lines] for key, lines in asyncio.run(kept())
    }
    assert found == {"": [("STDOUT", "from the body")], "shout": [("STDOUT", "from a step")]}


def on_terminal(shell: Shell, command: list[str], answers: list[str]) -> tuple[str, int]:
    """Run a command on a terminal, and answer whenever it asks; what was shown, the exit code."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(shell.folder)
        environment = clean_environment(TERM="xterm", USER="ada")
        os.execve(sys.executable, [sys.executable, "-m", "rewake", *command], environment)
    shown, answered = b"", 0
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
        asked = shown.count(b"[y/n] ") + shown.count(b"(number): ") + shown.count(b"empty): ")
        if asked > answered and answers:
            os.write(terminal, answers.pop(0).encode() + b"\n")
            answered += 1
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
