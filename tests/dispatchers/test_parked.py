"""What nobody can act on is parked where a person sees it, and sent again from there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rewake.aws.queue import Outgoing
from rewake.dispatchers.receiving import TRIES
from rewake.records import Invocation, Millis
from tests.support.queued import DEAD, QUEUE, Account
from tests.support.sqs import LIMIT
from tests.support.virtual import Bench, virtually


def queued(body: Callable[[Bench, Account], Awaitable[None]], account: Account) -> None:
    """Run `body` with one process whose messages go through a queue, and with no sweeps."""
    virtually([], lambda bench: body(bench, account), carrier=account, sweeps=False)


def test_the_largest_message_there_can_be_is_parked() -> None:
    """Though there is no room in it for the reason: it would come again for as long as it lives."""

    async def body(bench: Bench, account: Account) -> None:
        await account.sqs.queue(QUEUE).send([Outgoing("x" * LIMIT)])
        await asyncio.sleep(60)
        assert not account.waiting
        assert [len(each.body) for each in account.dead] == [LIMIT]

    queued(body, Account())


def test_all_that_is_parked_is_sent_again_however_large() -> None:
    """A request that sends has room for one of the largest, and for no other beside it."""

    async def body(bench: Bench, account: Account) -> None:
        dead = account.sqs.queue(DEAD)
        texts = ["small", "x" * LIMIT, "another", *("y" * (LIMIT // 3) + end for end in "abcd")]
        for each in texts:
            await dead.send([Outgoing(each)])
        letters = bench.engine.services.dispatcher.dead_letters
        assert letters is not None
        assert await letters.redrive(None) == len(texts)
        assert sorted(each.body for each in account.waiting) == sorted(texts)
        assert account.dead == []

    queued(body, Account(consumes=False))


def test_a_message_whose_handler_fails_is_parked_in_the_end() -> None:
    """It comes again a few times, later each time, and is then put where a person sees it; what is
    sent again from there is as it was.
    """
    failing = True
    seen: list[float] = []

    async def handler(invocation: Invocation) -> Millis | None:
        seen.append(asyncio.get_running_loop().time())
        if failing:
            raise RuntimeError("of a kind that nobody foresaw")
        return None

    async def body(bench: Bench, account: Account) -> None:
        nonlocal failing
        account.consumes = True  # what comes is for this one, and not for the engine
        dispatcher = account(bench.engine.services.clock)
        dispatcher.open(handler)
        await dispatcher.dispatch([Invocation("poison", "key")])
        await asyncio.sleep(40)
        assert len(seen) == TRIES
        assert not account.waiting
        [parked], _ = await dispatcher.dead_letters.page(10)
        assert (parked.run, parked.key) == ("poison", "key")
        assert "RuntimeError" in parked.reason
        assert "foresaw" not in parked.reason

        failing = False
        assert await dispatcher.dead_letters.redrive("another") == 0
        assert await dispatcher.dead_letters.redrive(parked.id) == 1
        await asyncio.sleep(2)
        assert len(seen) == TRIES + 1
        assert not account.waiting
        assert not account.dead
        await dispatcher.close()

    queued(body, Account(consumes=False))
