"""The address of a callback is a recorded fact: it is the same wherever its run is replayed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest

from rewake import TaskError, callback, sleep, task, uuid4, workflow
from rewake.engine.engine import Engine
from rewake.engine.outside.callbacks import Callbacks
from rewake.errors import LinkExpired, StuckError
from rewake.signing.secret import Secret
from rewake.views.runs import run_view
from tests.engine.test_callbacks import SENT, URL, send, token_of
from tests.support.virtual import SECRET, Bench, Ended, virtually

OLD, NEW = "a secret of the virtual world", "another secret of that world"


@workflow
async def sends_twice() -> Any:
    wait = callback("payment")
    await send(wait.url)
    await sleep(60)
    await send(wait.url)
    return await wait


def elsewhere(bench: Bench, *, url: str = URL, secret: Secret = SECRET) -> Engine:
    """One more process on the same table, which was set up otherwise; it is the bench's now."""
    other = bench.another()
    other.services.settings = replace(other.services.settings, url=url)
    other.services.secret = secret
    bench.engine = other
    return other


@pytest.mark.parametrize(
    ("url", "secret"),
    [("https://moved.example/below", SECRET), ("", SECRET), (URL, Secret(NEW, OLD))],
    ids=["moved", "no address", "rotated"],
)
def test_no_change_of_the_setup_changes_a_link(url: str, secret: Secret) -> None:
    """The second time it is handed on, by another process, it is the same, and it opens the same.

    A task is asked for with it, so that another link would make the run stuck.
    """

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "sends_twice")
        await bench.engine.close()
        other = elsewhere(bench, url=url, secret=secret)
        other.open()
        await asyncio.sleep(70)
        assert len(SENT) == 2
        assert SENT[0] == SENT[1]
        await Callbacks(other).complete(token, "paid")
        assert await bench.result(run) == "paid"

    virtually([sends_twice, send], body, url=URL)


def test_without_its_key_a_link_waits_for_it() -> None:
    """A process that lacks the key that signed it puts the run back, one that has it goes on."""

    async def body(bench: Bench) -> None:
        run, _ = await token_of(bench, "sends_twice")
        await bench.engine.close()
        other = elsewhere(bench, secret=Secret(NEW))
        other.open()
        await asyncio.sleep(70)
        header = await other.get(run)
        assert header.state in ("ready", "parked")
        assert len(SENT) == 1
        await other.close()
        elsewhere(bench, secret=Secret(NEW, OLD)).open()
        await asyncio.sleep(70)
        assert SENT[0] == SENT[1]

    virtually([sends_twice, send], body, url=URL)


def test_without_an_address_the_run_waits_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    """It is not stuck: a process with `REWAKE_URL` carries it on. No `except` takes the refusal."""

    @workflow
    async def swallows() -> Any:
        try:
            wait = callback("payment")
            await send(wait.url)
        except BaseException:
            await sleep(1)
            return "swallowed"
        return await wait

    async def body(bench: Bench) -> None:
        with caplog.at_level(logging.WARNING, "rewake.engine"):
            run = (await bench.start("swallows")).run
            await asyncio.sleep(30)
        header = await bench.engine.get(run)
        assert header.state == "ready"
        assert "REWAKE_URL is not set" in str(run_view(header).held_up)
        assert "REWAKE_URL is not set" in caplog.text
        await bench.engine.close()
        other = elsewhere(bench, url=URL)
        other.open()
        await asyncio.sleep(5)
        await Callbacks(other).complete(SENT[-1].rpartition("/")[2], "paid")
        assert await bench.result(run) == "paid"
        assert run_view(await other.get(run)).held_up is None

    SENT.clear()
    virtually([swallows, send], body)


def test_an_address_that_is_read_later_is_known_by_then() -> None:
    """A callback is not asked for where no address is known: it would never have one."""

    @workflow
    async def reads_later() -> Any:
        wait = callback("payment")
        await sleep(5)
        await send(wait.url)
        return await wait

    async def body(bench: Bench) -> None:
        run = (await bench.start("reads_later")).run
        await asyncio.sleep(30)
        await bench.engine.close()
        other = elsewhere(bench, url=URL)
        other.open()
        await asyncio.sleep(20)
        await Callbacks(other).complete(SENT[-1].rpartition("/")[2], "paid")
        assert await bench.result(run) == "paid"

    SENT.clear()
    virtually([reads_later, send], body)


def test_a_callback_that_a_deploy_adds_is_a_difference() -> None:
    """A replay says so, also where no address is known; it does not wait for one."""
    added = [False]

    @workflow
    async def deployed() -> Any:
        if added[0]:
            await send(callback("payment").url)
        await sleep(60)

    async def body(bench: Bench) -> None:
        run = (await bench.start("deployed")).run
        await asyncio.sleep(1)
        await bench.engine.close()
        added[0] = True
        elsewhere(bench, url="").open()
        with pytest.raises(StuckError, match="ran past the history"):
            await bench.result(run)

    virtually([deployed, send], body, url=URL)


def test_a_link_draws_nothing_from_the_body() -> None:
    """The ids that a body draws are the same with a callback before them as without."""

    @workflow
    async def draws(asks: bool) -> Any:
        if asks:
            callback("payment")
        return str(uuid4())

    async def body(bench: Bench) -> None:
        drawn = []
        for asks in (True, False):
            header, _ = await bench.engine.start("draws", {"asks": asks}, run=f"r{asks}")
            drawn.append((header.seed, await bench.result(header.run)))
        (one, first), (other, second) = drawn
        assert (one == other) == (first == second)

    virtually([draws], body, url=URL)


def test_no_two_links_are_the_same() -> None:
    """Each callback of each run has its own, which opens no other."""

    @workflow
    async def two() -> Any:
        for wait in (one := callback("a"), other := callback("a")):
            await send(wait.url)
        return [await one, await other]

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "two")
        first = SENT[-2].rpartition("/")[2]
        callbacks = Callbacks(bench.engine)
        await callbacks.complete(token, 2)
        await callbacks.complete(first, 1)
        assert await bench.result(run) == [1, 2]

    virtually([two, send], body, url=URL)


def test_what_is_asked_for_anew_after_a_retry_has_another_link() -> None:
    """The link from before the cut is worth nothing then, neither before nor after that."""
    failing = [True]

    @task
    async def flaky() -> None:
        if failing[0]:
            raise ValueError("no")

    @workflow
    async def compensates() -> Any:
        try:
            await flaky()
        except TaskError:
            await send(callback("payment").url)
            await sleep(5)
            raise
        await sleep(5)
        wait = callback("payment")
        await send(wait.url)
        return await wait

    async def body(bench: Bench) -> None:
        run, old = await token_of(bench, "compensates")
        with pytest.raises(Ended):
            await bench.result(run)
        failing[0] = False
        await bench.engine.retry(run, discard_cleanup=True)
        callbacks = Callbacks(bench.engine)
        for _ in range(2):
            await asyncio.sleep(3)
            with pytest.raises(LinkExpired, match="retried"):
                await callbacks.complete(old, "stolen")
        new = SENT[-1].rpartition("/")[2]
        assert new != old
        await callbacks.complete(new, "paid")
        assert await bench.result(run) == "paid"

    virtually([compensates, flaky, send], body, url=URL)


def test_a_wait_that_a_retry_opens_again_keeps_its_link() -> None:
    """A machine has no other: its link is a fact of before the cut, and ends the wait anew.

    What was sent to it before is forgotten with the failure that it led to, and its time begins
    again.
    """

    @workflow
    async def fails() -> Any:
        wait = callback("payment", timeout=10)
        await send(wait.url)
        return await wait

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "fails")
        callbacks = Callbacks(bench.engine)
        await callbacks.fail(token, "Declined", "no cover")
        with pytest.raises(Ended):
            await bench.result(run)
        await asyncio.sleep(100)
        await bench.engine.retry(run)
        await asyncio.sleep(1)
        await callbacks.complete(token, "paid")
        assert await bench.result(run) == "paid"

    virtually([fails, send], body, url=URL)


def test_a_result_that_the_type_of_now_does_not_take_makes_the_run_stuck() -> None:
    """What was sent is kept, and once the type is mended the run goes on with it."""
    kinds: list[Any] = [int]

    @workflow
    async def typed() -> Any:
        wait = callback("payment", result=kinds[0])
        await send(wait.url)
        await sleep(10)
        return await wait

    async def body(bench: Bench) -> None:
        run, token = await token_of(bench, "typed")
        await bench.engine.close()
        kinds[0] = str
        other = elsewhere(bench)
        await Callbacks(other).complete(token, 7, carry_on=False)
        other.open()
        with pytest.raises(StuckError, match="does not fit the type"):
            await bench.result(run)
        kinds[0] = int
        await other.resume(run)
        assert await bench.result(run) == 7

    virtually([typed, send], body, url=URL)
