"""Before a deploy: every run is replayed, in one line each."""

from __future__ import annotations

import asyncio

import pytest

from rewake.hosts.databases import Address, open_existing
from rewake.ledger import View
from rewake.stores.keys import view_key
from tests.cli.shell import Shell

APP = """
import logging
from dataclasses import dataclass
from rewake import sleep, task, wait_for_approval, workflow


@dataclass
class Order:
    note: str


@task
async def ship(order: Order) -> Order:
    return order


@workflow
async def quick(note: str) -> Order:
    print("the body speaks")
    return await ship(Order(note))


@workflow
async def slow() -> None:
    try:
        await ship(Order("x"))
        await sleep(3600)
    except BaseException as error:
        print("undoing")
        logging.error("undoing %r", error)
        raise
    finally:
        print("cleaning up")
"""


FAMILY = """
from rewake import task, workflow


@task
async def ship(n: int) -> int:
    return n


@workflow
async def child() -> int:
    return await ship(1)


@workflow
async def parent() -> int:
    return await child()
"""


@pytest.fixture
def served(shell: Shell) -> Shell:
    """A folder with a run that is done and one that is suspended."""
    shell.write("app.py", APP)
    done = shell.rewake("run", "app.py:quick", "--input", '{"note": "a"}', "--id", "one")
    assert done.returncode == 0, done.stderr
    with shell.begin("run", "app.py:slow", "--id", "two") as run:
        run.says("sleeping")
        run.process.kill()
        run.wait()
    return shell


def test_every_run_has_a_line(served: Shell) -> None:
    """Exit code 0 and one line a run, of what the body says or cleans up nothing."""
    replay = served.rewake("replay", "--all")
    assert replay.returncode == 0, replay.stderr
    one, two = replay.stdout.splitlines()
    assert one.split() == ["same", "one", "quick", "done"]
    assert two.split() == ["same", "two", "slow", "suspended", "waits", "for", "sleep"]
    assert replay.stderr == "2 replayed: 2 same\n"


def test_any_difference_is_exit_code_5(served: Shell) -> None:
    """What differs is named; a change that only ended runs feel is left out by --state."""
    served.write("app.py", APP.replace("Order(note)", "Order(note.upper())"))
    replay = served.rewake("replay", "--all")
    assert replay.returncode == 5
    one, two = replay.stdout.splitlines()
    assert one.startswith("differs     one  quick  done  ship: ")
    assert ": order.note differs (recorded a str of length 1" in one
    assert two.startswith("same        two")
    replay = served.rewake("replay", "--all", "--state", "suspended")
    assert (replay.returncode, len(replay.stdout.splitlines())) == (0, 1)


def test_a_workflow_that_is_gone_strands_its_runs(served: Shell) -> None:
    """A run whose workflow the code no longer has differs."""
    served.write("app.py", APP.replace("def slow", "def slower"))
    replay = served.rewake("replay", "--all", "--state", "suspended", "--state", "stuck")
    assert replay.returncode == 5
    assert "there is no workflow 'slow'" in replay.stdout


def test_runs_of_runs_are_replayed_too(shell: Shell) -> None:
    """A change that strands only runs that runs have begun is found as well."""
    shell.write("app.py", FAMILY)
    assert shell.rewake("run", "app.py:parent", "--id", "one").returncode == 0
    replay = shell.rewake("replay", "--all")
    assert replay.returncode == 0, replay.stderr
    assert [each.split()[2] for each in replay.stdout.splitlines()] == ["parent", "child"]
    shell.write("app.py", FAMILY.replace("ship(1)", "ship(2)"))
    assert shell.rewake("replay", "--all").returncode == 5


def test_what_is_no_run_has_no_line(served: Shell) -> None:
    """An entry of the list whose run was removed, or never came to be, hinders no deploy."""
    asyncio.run(_listed(str(served.folder / ".rewake" / "rewake.db")))
    replay = served.rewake("replay", "--all")
    assert (replay.returncode, replay.stderr) == (0, "2 replayed: 2 same\n")


async def _listed(file: str) -> None:
    database = open_existing(Address(file))
    await database.table.put(view_key(View("gone", "quick", 1)), View("gone", "quick", 1))
    await database.table.close()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "RUN, or --all"),
        (["one", "--all"], "takes no RUN"),
        (["--all", "--pdb"], "no --pdb"),
        (["one", "--state", "done"], "narrows --all"),
        (["--all", "--state", "parked"], "no state 'parked'"),
    ],
)
def test_options_that_contradict_are_refused(shell: Shell, options: list[str], told: str) -> None:
    """One line, exit code 2."""
    shell.write("app.py", APP)
    replay = shell.rewake("replay", *options)
    assert (replay.returncode, replay.stdout) == (2, "")
    assert told in replay.stderr
    assert replay.stderr.count("\n") == 1


def test_cleanup_is_not_shown(served: Shell) -> None:
    """A replay ends with the body's cleanup, of which nothing happens and nothing is shown."""
    replay = served.rewake("replay", "two")
    assert replay.returncode == 0
    assert "undoing" not in replay.stdout + replay.stderr
    assert "cleaning" not in replay.stdout + replay.stderr


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("Order(note))", "Order(note * 2))", ['ship({"note":"a"})', 'ship({"note":"aa"})']),
        ("Order(note))", "Order('b' * 500))", ['ship({"note":"a"})', 'ship({"note":"bbb']),
    ],
)
def test_pickled_arguments_are_shown(served: Shell, old: str, new: str, lines: list[str]) -> None:
    """A difference in arguments that are more than JSON is seen."""
    served.write("app.py", APP.replace(old, new))
    replay = served.rewake("replay", "one")
    assert replay.returncode == 5
    shown = replay.stdout.splitlines()[-2:]
    assert [part in line for part, line in zip(lines, shown, strict=True)] == [True, True]


def test_two_long_arguments_that_look_alike_differ(shell: Shell) -> None:
    """Where both are cut to the same text, the error says which argument and field differ."""
    shell.write("app.py", APP)
    given = '{"note": "' + "a" * 500 + '"}'
    assert shell.rewake("run", "app.py:quick", "--input", given, "--id", "one").returncode == 0
    shell.write("app.py", APP.replace("Order(note))", "Order(note + 'b'))"))
    replay = shell.rewake("replay", "one")
    assert replay.returncode == 5
    recorded, asked, told = replay.stdout.splitlines()[-3:]
    assert recorded.split()[1:] == asked.split()[1:]
    lengths = "(recorded a str of length 500, asked for a str of length 501)"
    assert f": order.note differs {lengths} (" in told
    assert told.endswith("app.py, line 20)")


def test_another_end_is_seen(served: Shell) -> None:
    """A result that is more than JSON, and another now, is a difference."""
    served.write(
        "app.py",
        APP.replace("return await ship(Order(note))", "await ship(Order(note)); return Order('b')"),
    )
    assert served.rewake("replay", "one").returncode == 5
