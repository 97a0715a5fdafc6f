"""In a run that began encrypted, nothing that was put into the database unencrypted is believed."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from rewake import approval, task, workflow
from rewake.authoring.approval import Approval, Decision
from rewake.codecs import AesGcm, CheckpointForged
from rewake.engine.outside.approvals import Approvals
from rewake.records import Scheduled, Value
from rewake.signing.links import Link, LinkUse
from rewake.states import RunState
from rewake.stores.keys import operation_key, run_partition
from rewake.stores.table import Key
from rewake.testing.clock import EPOCH
from rewake.views.approvals import approval_view
from rewake.views.values import Values
from tests.support.virtual import SECRET, Bench, Ended, virtually

SEALING = SECRET.with_codec(AesGcm({"2026": bytes(32)}))
YES = Approval(Decision.APPROVED, approver="ann")
paid: list[tuple[str, int]] = []


@task(retries=3)
async def pay(to: str, amount: int) -> str:
    paid.append((to, amount))
    if len(paid) == 1:
        raise ConnectionError("no bank")
    return to


@workflow
async def pays() -> str:
    return await pay("ann", 1)


@workflow
async def asks() -> list[Any]:
    answer = await approval("boss", description="1 EUR", approvers=["ann", "bob"], quorum=2)
    return [answer.decision, [vote.approver for vote in answer.decisions]]


@pytest.mark.parametrize("began", ["encrypted", "plain"])
def test_no_task_is_called_with_arguments_that_were_put_there(began: str) -> None:
    """Its run gets an error; one that began before there were keys is carried out as it is."""
    paid.clear()

    async def body(bench: Bench) -> None:
        run = (await bench.start("pays")).run
        await asyncio.sleep(0.2)
        args = Value("json", msgspec.Raw(b'[["eve",1000],{}]'))
        if began == "encrypted":
            await bench.table.update(operation_key(run, "pay"), set={"args": args})
        await bench.engine.close()
        bench.secret = SEALING
        other = bench.another()
        other.open()
        if began == "plain":
            assert await bench.result(run) == "ann"
        else:
            with pytest.raises(Ended) as ended:
                await bench.result(run)
            assert ended.value.failure is not None
            assert "CheckpointForged" in ended.value.failure.message
        assert paid == [("ann", 1)] * (2 if began == "plain" else 1)
        await other.close()

    virtually([pays, pay], body, secret=SEALING if began == "encrypted" else SECRET)


async def asked(bench: Bench) -> str:
    run = (await bench.start("asks")).run
    await asyncio.sleep(1)
    bench.engine.services.cache.clear()
    return run


def test_nobody_decides_on_a_text_that_was_put_there() -> None:
    """It is shown neither by a link nor in a list, and nothing is decided."""

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        header = await bench.engine.get(run)
        place = Key(run_partition(run), header.base)
        chunk = await bench.table.get(place)
        text = b'{"form":null,"description":"1000 EUR","link":["%b","https://x","0",0]}'
        args = Value("json", msgspec.Raw(text % SECRET.id.encode()))
        entries = [
            msgspec.structs.replace(each, args=args) if isinstance(each, Scheduled) else each
            for each in chunk.entries
        ]
        await bench.table.put(place, msgspec.structs.replace(chunk, entries=entries))
        approvals = Approvals(bench.engine)
        about = (run, "boss", 0, "ann", "", EPOCH * 2, "0", SECRET.id)
        with pytest.raises(CheckpointForged):
            await approvals.look(Link(LinkUse.APPROVE, *about))
        with pytest.raises(CheckpointForged):
            await approvals.decide(run, "boss", YES)
        [found] = await approvals.open_in(header)
        values = Values(SEALING, run, sealed=True)
        assert "1000 EUR" not in str(approval_view(found.matter.asked, values))

    virtually([asks], body, secret=SEALING)


def test_no_vote_counts_that_was_put_there() -> None:
    """Who writes a vote of somebody else into the database has not voted for them."""

    async def body(bench: Bench) -> None:
        run = await asked(bench)
        approvals = Approvals(bench.engine)
        await approvals.decide(run, "boss", YES)
        place = operation_key(run, "boss")
        mine = (await bench.table.get(place)).votes
        forged = b'{"id":"x","round":0,"at":0,"by":"bob","action":"approve"}'
        votes = [*mine, Value("json", msgspec.Raw(forged))]
        await bench.table.update(place, set={"votes": votes})
        with pytest.raises(CheckpointForged):
            await approvals.ballot(run, "boss")
        await bench.table.update(place, set={"votes": mine})
        await approvals.decide(run, "boss", msgspec.structs.replace(YES, approver="bob"))
        assert await bench.result(run) == ["approved", ["ann", "bob"]]
        assert (await bench.engine.get(run)).state is RunState.DONE

    virtually([asks], body, secret=SEALING)
