"""Each reason why a run does not go on has a code, a fix and a command."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from rewake import sleep, task, wait_for_approval, workflow
from rewake.app import App
from rewake.errors import NonDeterminismError
from rewake.reasons import LATE, REASONS, reason_of
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.states import RunState
from rewake.views.runs import run_view
from tests.support.virtual import Bench, virtually

REFERENCE = Path(__file__).parents[2] / "docs/reference.md"


@workflow
async def deadlocked() -> None:
    await asyncio.get_running_loop().create_future()


@workflow
async def fails() -> None:
    raise ValueError("no")


@workflow(timeout=5)
async def late() -> None:
    await sleep(100)


@workflow
async def spins() -> None:
    while True:  # noqa: ASYNC110 - that is the fault
        await asyncio.sleep(0)


@task(retries=0)
async def other() -> None: ...


@task(retries=0)
async def gives_much() -> str:
    return "x" * 10_000


@workflow
async def asks_for_much() -> str:
    return await gives_much()


@workflow
async def differs() -> None:
    await wait_for_approval("boss" if not changed else "other")


changed: list[bool] = []


@pytest.mark.parametrize(
    ("name", "state", "code"),
    [
        ("deadlocked", RunState.STUCK, "deadlock"),
        ("asks_for_much", RunState.FAILED, "limit"),
        ("fails", RunState.FAILED, "error"),
        ("late", RunState.FAILED, "timeout"),
        ("spins", RunState.STUCK, "spins"),
    ],
)
def test_what_stands_still_says_why(name: str, state: RunState, code: str) -> None:
    """The code, what to mend, and the command with the run's id are in the view of a run."""

    async def check(bench: Bench) -> None:
        run = (await bench.start(name)).run
        await asyncio.sleep(20)
        header = await bench.engine.get(run)
        reason = run_view(header).reason
        assert reason is not None
        assert (header.state, reason.code) == (state, code)
        assert run in reason.command
        assert reason.fix

    members = [deadlocked, asks_for_much, gives_much, fails, late, spins]
    virtually(members, check, value=5_000)


def test_a_difference_is_a_mismatch() -> None:
    """Code that does otherwise than the history says: the fix names how to see where."""

    async def check(bench: Bench) -> None:
        changed.clear()
        run = (await bench.start("differs")).run
        await asyncio.sleep(5)
        changed.append(True)
        await bench.engine.cancel(run)
        await asyncio.sleep(5)
        reason = run_view(await bench.engine.get(run)).reason
        assert reason is not None
        assert (reason.code, f"rewake replay {run}" in reason.fix) == ("mismatch", True)
        assert reason.command == f"rewake runs resume {run}"

    virtually([differs, other], check, cached=0)


def test_what_waits_for_another_process_says_for_which() -> None:
    """A run whose workflow this app lacks, or whose key this process lacks, is held up."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("late")).run
        await asyncio.sleep(1)
        header = await bench.engine.get(run)
        told = str(_error(lambda: App().workflow("late")))
        header.state, header.error = RunState.READY, told
        reason = run_view(header).reason
        assert reason is not None
        assert reason.code == "code-missing"
        header.error = "it was signed by key 1, which is none of this process's (REWAKE_SECRET)"
        reason = run_view(header).reason
        assert reason is not None
        assert reason.code == "secret-gone"
        header.error = ""
        assert run_view(header).reason is None

    virtually([late], check, secret=Secret("a secret of the reasons"))


def _error(act: object) -> Exception:
    try:
        act()  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("NonDeterminismError: a: b", "mismatch"),
        ("CheckpointForged: x", "forged"),
        ("CheckpointUnreadable: x", "unreadable"),
        ("LimitReached: x", "limit"),
        ("StuckError: its process died 5 times in a row", "poison"),
        ("blocked: its body has kept the loop", "spins"),
        ("KeyError: 'x'", "unforeseen"),
        ("", "unforeseen"),
    ],
)
def test_each_error_of_a_stuck_run_has_a_code(error: str, code: str) -> None:
    """Also one that nobody foresaw, and one whose text is gone."""
    found = reason_of(Header("r", "w", 0, seed=0, runtime=1, state=RunState.STUCK), error)
    assert found is not None
    assert found.code == code


def test_the_reference_has_every_code() -> None:
    """And no other: programs may act on them."""
    section = REFERENCE.read_text().partition("### Why a run does not go on")[2].partition("\n#")[0]
    told = set(re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE))
    assert told == {row.reason.code for row in REASONS} | {*LATE}
    assert NonDeterminismError.__name__ in {row.error for row in REASONS}
