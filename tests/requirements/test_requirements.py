"""What Amazon's conformance suite asks of an SDK for durable functions, asked of Rewake."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from rewake.engine.outside.callbacks import Callbacks
from rewake.records import Scheduled
from tests.docs.test_guarantees import names_in
from tests.requirements import callbacks, children, many, steps
from tests.requirements.asked import ASKED, Asked, Send, called, urls
from tests.requirements.elsewhere import DOES_NOT_APPLY, ELSEWHERE
from tests.support.emptied import emptied
from tests.support.virtual import Bench, Ended, virtually

SUITES = {"1": 20, "2": 5, "3": 18, "4": 19, "5": 16, "6": 13, "7": 15, "8": 22, "9": 20, "10": 7}
"""How many requirements each suite has."""
SHOWN = (steps, callbacks, children, many)
"""The modules that fill `ASKED`."""
_emptied = emptied(called, urls)


def test_each_requirement_has_its_place() -> None:
    """It is shown by a workflow here, or by a test elsewhere, or does not apply: one of these."""
    wanted = [f"{suite}-{n}" for suite, most in SUITES.items() for n in range(1, most + 1)]
    placed = [*ASKED, *ELSEWHERE, *DOES_NOT_APPLY]
    assert sorted(placed) == sorted(wanted)
    assert all(each.says for each in ASKED.values())
    for _, named in ELSEWHERE.values():
        file, _, test = named.partition("::")
        assert test in names_in(file), named


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
@pytest.mark.parametrize("suite", [each for each in SUITES if each != "10"])
def test_what_is_asked_for(suite: str, cached: int) -> None:
    """Each workflow of a suite comes to what it has to, warm and replayed from nothing."""
    rows = [each for each in ASKED.values() if each.number.partition("-")[0] == suite]
    seen: dict[str, Any] = {}

    async def body(bench: Bench) -> None:
        async with asyncio.TaskGroup() as group:
            for row in rows:
                group.create_task(carry_out(bench, row, seen))

    members = [*(row.workflow for row in rows), *children.CHILDREN]
    virtually(members, body, cached=cached, url="https://app.example")
    assert seen == {row.number: (row.gives, row.fails, set()) for row in rows}
    counted = {row.number: row.called for row in rows if row.called is not None}
    assert {number: called[number] for number in counted} == counted


async def carry_out(bench: Bench, row: Asked, seen: dict[str, Any]) -> None:
    """Carry out a workflow, and write down what it came to."""
    run = (await bench.start(row.workflow.name)).run
    sending = asyncio.create_task(send_all(bench, row.sends))
    value, error = None, ""
    try:
        value = await bench.result(run)
    except Ended as ended:
        error = type_of(ended)
    await sending
    _, history = await bench.engine.history(run)
    keys = {each.key for each in history.entries if isinstance(each, Scheduled)}
    seen[row.number] = (value, error, set(row.keys) - keys)


def type_of(ended: Ended) -> str:
    """The type of the error of a run, of a `TaskError` that of the function."""
    assert ended.failure is not None
    told, message = ended.failure.type, ended.failure.message
    return message.partition(":")[0] if told == "TaskError" else told


async def send_all(bench: Bench, sends: Sequence[Send]) -> None:
    """Send to callbacks, each at its time."""
    machine, passed = Callbacks(bench.engine), 0.0
    for send in sends:
        await asyncio.sleep(send.after - passed)
        passed = send.after
        token = urls[send.to].rpartition("/")[2]
        if send.how == "complete":
            await machine.complete(token, send.value)
        elif send.how == "fail":
            await machine.fail(token, *send.value)
        else:
            await machine.heartbeat(token)
