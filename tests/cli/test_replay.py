from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.apps import APP, CHANGED
from tests.cli.shell import Shell


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, `mine`, that is done; then its canary is taken away."""
    shell = Shell(tmp_path_factory.mktemp("template"))
    shell.write("app.py", APP)
    run = shell.rewake("run", "app.py:main", "--input", '{"urls": ["a", "b"]}', "--id", "mine")
    assert run.returncode == 0, run.stderr
    (shell.folder / "canary").unlink()
    return shell.folder


@pytest.fixture
def done(template: Path, shell: Shell) -> Shell:
    """A shell in a copy of that folder."""
    shutil.copytree(template, shell.folder, dirs_exist_ok=True)
    return shell


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of the database, its log and whatever is beside them."""
    files = sorted((folder / ".rewake").iterdir())
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def test_the_same_code_does_the_same(done: Shell) -> None:
    """Exit code 0, and every event is shown with its key and what was recorded."""
    replay = done.rewake("replay", "mine")
    assert replay.returncode == 0, replay.stderr
    for line in (
        'started      {"urls":["a","b"]}',
        'asks for   parallel[1]/fetch  task fetch("b")',
        'completed  parallel[0]/fetch  ok "A"',
        "stepped    stamp  ok 42",
        "fired      sleep",
        "completed  flaky  ok 2",
        "same: the code does what the history says",
    ):
        assert line in replay.stdout


def test_a_replay_writes_nothing_and_runs_no_body_of_a_task_or_step(done: Shell) -> None:
    """Not a byte beside the database changes, no file appears, no canary sings."""
    before = contents(done.folder)
    assert done.rewake("replay", "mine").returncode == 0
    assert contents(done.folder) == before
    assert done.read("canary") == ""


def test_a_run_of_a_process_that_was_killed_can_be_replayed(shell: Shell) -> None:
    """What is in the log of the database is read where it is, and stays there."""
    shell.write("app.py", APP)
    command = ("run", "app.py:paused", "--input", '{"seconds": 60}', "--id", "mine")
    with shell.begin(*command) as run:
        run.says("sleeping")
        run.process.kill()
        run.wait()
    before = contents(shell.folder)
    assert before["rewake.db-wal"][0]
    replay = shell.rewake("replay", "mine")
    assert replay.returncode == 0, replay.stderr
    assert "it waits for: sleep" in replay.stdout
    after = contents(shell.folder)
    # The -shm file is no data: it is how processes agree on what to read.
    assert {name: after[name] for name in after if not name.endswith("-shm")} == {
        name: before[name] for name in before if not name.endswith("-shm")
    }


def test_a_run_can_be_replayed_while_it_runs(shell: Shell) -> None:
    """The process that has it does not notice."""
    shell.write("app.py", APP)
    command = ("run", "app.py:paused", "--input", '{"seconds": 10}', "--id", "mine")
    with shell.begin(*command) as run:
        run.says("sleeping")
        assert "it waits for: sleep" in shell.rewake("replay", "mine").stdout
        assert run.wait() == 0
    assert run.stdout == '"AFTER"\n'


@pytest.mark.parametrize(
    ("old", "new", "key", "recorded", "asked"),
    [
        ("fetch, conc", "lambda u: fetch(u + '!'), conc", "parallel[0]/fetch", '"a"', '"a!"'),
        ("sleep(0.05)", "sleep(0)", "flaky", "(50 ms)", "flaky(2)"),
        ("flaky(len(urls))", "flaky(9)", "flaky", "flaky(2)", "flaky(9)"),
        ("await flaky(len(urls))", "2", "flaky", "task flaky(2)", "the end"),
        ("    stamp =", '    await fetch("c")\n    stamp =', "fetch", "step stamp", 'fetch("c")'),
        ('"n":', '"m":', "the end", '"n":2', '"m":2'),
    ],
)
def test_the_first_difference_is_named(
    done: Shell, old: str, new: str, key: str, recorded: str, asked: str
) -> None:
    """Exit code 5: at which key, what was recorded there, and what the code asks for now."""
    done.write("app.py", APP.replace(old, new, 1))
    replay = done.rewake("replay", "mine")
    assert replay.returncode == 5, replay.stdout + replay.stderr
    *_, where, first, second = replay.stdout.splitlines()
    assert where == f"the code differs from the history at {key}"
    assert first.startswith("  recorded")
    assert recorded in first
    assert second.startswith("  asked")
    assert asked in second
    assert done.read("canary") == ""


def test_an_app_elsewhere_can_be_tried_on_the_history(done: Shell) -> None:
    """--app names the code, --db the file: new code is tried before it is deployed."""
    (done.folder / "next").mkdir()
    done.write("next/app.py", APP.replace("flaky(len(urls))", "flaky(9)"))
    assert done.rewake("replay", "mine", "--app", "next/app.py").returncode == 5
    assert done.rewake("replay", "mine", "--db", ".rewake/rewake.db").returncode == 0


def test_who_asks_for_an_unknown_run_is_told(done: Shell) -> None:
    """One line, exit code 2."""
    replay = done.rewake("replay", "yours")
    assert (replay.returncode, replay.stdout) == (2, "")
    assert replay.stderr == "rewake: there is no run 'yours'\n"


def test_a_debugger_is_fed_the_past(done: Shell) -> None:
    """--pdb stops at the body's first line; stepping on, awaits return what was recorded."""
    before = contents(done.folder)
    commands = "p 'at', urls\nn\np 'got', pages\nn\np 'got', stamp\nw\nc\n"
    replay = done.rewake("replay", "mine", "--pdb", stdin=commands)
    assert replay.returncode == 0, replay.stderr
    assert "-> pages = await parallel(urls, fetch, concurrency=2)" in replay.stdout
    assert "('at', ['a', 'b'])" in replay.stdout
    assert "('got', ['A', 'B'])" in replay.stdout
    assert "('got', 42)" in replay.stdout
    assert "runtime/rewake" not in replay.stdout
    assert "same: the code does what the history says" in replay.stdout
    assert contents(done.folder) == before
    assert done.read("canary") == ""


def test_at_the_prompt_of_the_debugger_files_may_be_read(done: Shell) -> None:
    """What a body may not do, the person at the prompt may."""
    look = "p 'first', open('app.py').readlines()[1]"
    replay = done.rewake("replay", "mine", "--pdb", stdin=f"{look}\nn\n{look}\nc\n")
    assert replay.returncode == 0, replay.stderr
    assert replay.stdout.count("('first', 'import asyncio\\n')") == 2


def test_a_debugger_stops_at_the_difference(done: Shell) -> None:
    """Where the code asks for something else, the debugger is in that very line."""
    done.write("app.py", APP.replace("flaky(len(urls))", "flaky(9)"))
    replay = done.rewake("replay", "mine", "--pdb", stdin="c\np 'here', pages\nq\n")
    assert replay.returncode == 5
    difference, _, after = replay.stdout.partition("the code differs from the history at flaky")
    assert "-> pages = " in difference
    assert "await flaky(9)}" in after
    assert "('here', ['A', 'B'])" in after


@pytest.mark.parametrize("leave", ["q\n", ""])
def test_a_debugger_can_be_left(done: Shell, leave: str) -> None:
    """Whoever quits, or goes away, gets the verdict and no traceback."""
    replay = done.rewake("replay", "mine", "--pdb", stdin=leave)
    assert replay.returncode == 0
    assert "same: the code does what the history says" in replay.stdout
    assert "Traceback" not in replay.stdout + replay.stderr


def test_a_stuck_run_says_why_it_is_stuck(shell: Shell) -> None:
    """What made a run stuck is found on one's own machine."""
    shell.write("app.py", APP)
    command = ("run", "app.py:paused", "--input", '{"seconds": 0.01}', "--id", "mine")
    assert shell.rewake(*command).returncode == 0
    shell.write("app.py", CHANGED)
    replay = shell.rewake("replay", "mine")
    assert replay.returncode == 5
    assert 'asked     task fetch("more")' in replay.stdout


TALKS = """
import asyncio, logging
from rewake import sleep, wait_for_approval, wait_for_signal, workflow

@workflow
async def main() -> None:
    print("begun")
    try:
        await sleep(0.01)
        logging.error("slept")
        await asyncio.gather(wait_for_approval("boss"), wait_for_signal("go", type=int))
    except BaseException as error:
        print("undoing", type(error).__name__)
        raise
"""


def test_a_replay_says_nothing_of_the_bodys_own(shell: Shell) -> None:
    """What a body printed and logged when the run was new is not said again, nor what its cleanup
    says when the replay is over; `--logs` lets the body speak. The state is named as for users.
    """
    shell.write("app.py", TALKS)
    with shell.begin("run", "app.py", "--id", "mine") as run:
        run.says("boss")
        run.process.kill()

    quiet = shell.rewake("replay", "mine")
    assert quiet.returncode == 0, quiet.stderr
    assert "run mine of main: suspended," in quiet.stdout
    assert "signal go\n" in quiet.stdout  # the type that it takes is for no reader
    said = quiet.stdout + quiet.stderr
    assert not any(word in said for word in ("begun", "undoing", "slept"))

    loud = shell.rewake("replay", "mine", "--logs")
    assert loud.stdout.count("begun") == 1
    assert loud.stderr.count("slept") == 1
    assert "undoing" not in loud.stdout
