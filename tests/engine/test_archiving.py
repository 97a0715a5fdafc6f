"""Ended runs are archived before they are removed, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from unittest.mock import patch

import pytest

from rewake import step, task, workflow
from rewake.codecs import AesGcm
from rewake.engine.keeping import keeping as engine_keeping
from rewake.engine.runs.listing import Wanted
from rewake.errors import RunNotFound, StoreUnavailable
from rewake.keep import keep_in, keep_of
from rewake.signing.secret import Secret
from rewake.states import RunState
from rewake.stores.archive import day_of
from tests.engine.test_keeping import left
from tests.support.archiving import Kept
from tests.support.virtual import SECRET, TABLES, Bench, Ended, virtually

HOUR = 3_600
SLOW: Any = {"sweep": 60_000, "lease": 7_200_000}


@task
async def double(n: int) -> int:
    logging.getLogger("doubling").warning("once")
    return 2 * n


@workflow(keep={"done": "1h+archive", "failed": "1h+archive", "cancelled": "1h"})
async def kept(n: int = 1) -> int:
    if n < 0:
        raise ValueError("no")
    first = await step("first", lambda: n)
    return sum(await asyncio.gather(*(double(first) for _ in range(n))))


@workflow(keep="1h")
async def plain() -> None:
    pass


MEMBERS = (double, kept, plain)


async def ended(bench: Bench, n: int = 1) -> str:
    """The id of a run that has ended, and is to be archived."""
    run = (await bench.start("kept", n=n)).run
    try:
        await bench.result(run)
    except Ended:
        assert n < 0
    return run


async def is_there(bench: Bench, run: str) -> bool:
    """Whether a run can be found."""
    try:
        await bench.engine.get(run)
    except RunNotFound:
        return False
    return True


# --- the policy ----------------------------------------------------------------------------------


def test_what_is_archived_is_said_by_state() -> None:
    """In a setting and for a workflow alike; what a workflow does not say, the setting does."""
    keep = keep_in("done=7d,failed=90d+archive").after(keep_in("1h+archive"))
    assert keep.archived == {RunState.FAILED, RunState.CANCELLED}
    assert keep.spans[RunState.DONE] == keep_of({"done": "7d"}).spans[RunState.DONE]
    assert keep_of("30d+archive").archived == set(keep.spans)
    assert keep_of({"done": None, "failed": "5m+archive"}).archived == {RunState.FAILED}


@pytest.mark.parametrize("text", ["forever+archive", "+archive", "done=+archive", "1d+archives"])
def test_what_cannot_be_archived_is_refused(text: str) -> None:
    """What is kept for ever is never archived, and what is mistyped must remove nothing."""
    with pytest.raises(ValueError, match="keep"):
        keep_in(text)


# --- archiving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [None, AesGcm({"k": bytes(32)})], ids=["plain", "sealed"])
@pytest.mark.parametrize("table", TABLES)
def test_a_run_is_archived_before_it_goes(table: str, codec: Any) -> None:
    """Once, under the day of its end; sealed where the store is; of others nothing is."""
    secret, place = SECRET.with_codec(codec), Kept()

    async def body(bench: Bench) -> None:
        place.fill(bench.engine, secret)
        run, failed = await ended(bench, 3), await ended(bench, -1)
        other = await bench.start("plain")
        day = day_of(await bench.engine.get(run))
        await asyncio.sleep(0.9 * HOUR)
        assert place.documents == {}
        await asyncio.sleep(0.2 * HOUR)
        assert not any([await is_there(bench, each) for each in (run, failed, other.run)])
        assert place.runs == sorted([run, failed])
        name = "0.json.gz" if codec is None else "0.json.gz.sealed"
        assert (day, run, name) in place.documents
        told = place.told(run, secret)
        assert (told["run"]["id"], told["run"]["state"]) == (run, "done")
        assert [each["state"] for each in told["operations"]] == ["done"] * 4
        assert [each["message"] for each in told["lines"]] == ["once"] * 3
        assert told["entries"][-1]["type"] == "finished"
        assert place.told(failed, secret)["run"]["error"]["message"] == "no"

    virtually(MEMBERS, body, table=table, secret=secret, **SLOW)


def test_a_long_run_is_archived_in_steps() -> None:
    """Sweep by sweep, so that no sweep is long; and it is what it is at once."""
    place, at_once = Kept(), Kept()

    async def body(bench: Bench) -> None:
        run = await ended(bench, 150)
        await at_once.archiving(bench.engine, SECRET).whole(await bench.engine.get(run))
        place.fill(bench.engine, SECRET)
        bench.engine.services.keeping.hurry()
        with patch.object(engine_keeping, "STEPS", 2):
            await asyncio.sleep(1.02 * HOUR)
            assert place.documents == {}
            assert await is_there(bench, run)
            await asyncio.sleep(0.5 * HOUR)
        assert not await is_there(bench, run)
        shown, whole = place.told(run, SECRET), at_once.told(run, SECRET)
        assert len(shown["operations"]) == 151
        assert shown == whole

    virtually(MEMBERS, body, **SLOW)


def test_what_cannot_be_archived_stays_and_keeps_no_other() -> None:
    """While the archive is away, or this process has none; then it goes."""
    place = Kept()

    async def body(bench: Bench) -> None:
        run, other = await ended(bench), (await bench.start("plain")).run
        await asyncio.sleep(1.1 * HOUR)
        assert (await is_there(bench, run), await is_there(bench, other)) == (True, False)
        place.fill(bench.engine, SECRET)
        place.away = True
        await asyncio.sleep(1 * HOUR)
        assert place.calls > 1
        assert await is_there(bench, run)
        place.away = False
        await asyncio.sleep(0.3 * HOUR)
        assert (await is_there(bench, run), place.runs) == (False, [run])

    virtually(MEMBERS, body, **SLOW)


def test_what_another_process_could_read_is_not_archived_unread() -> None:
    """Who has no key leaves it to who has: it would be gone with the run."""
    secret, place = SECRET.with_codec(AesGcm({"k": bytes(32)})), Kept()

    async def body(bench: Bench) -> None:
        run = await ended(bench)
        blind = Secret("a secret of the virtual world").with_codec(AesGcm({"j": bytes(32)}))
        place.fill(bench.engine, blind)
        await asyncio.sleep(1.2 * HOUR)
        assert (await is_there(bench, run), place.documents) == (True, {})
        other = bench.another()
        place.fill(other, secret)
        other.open()
        await asyncio.sleep(0.1 * HOUR)
        assert (await is_there(bench, run), place.runs) == (False, [run])
        await other.close()

    virtually(MEMBERS, body, secret=secret, **SLOW)


def test_many_that_cannot_be_read_are_not_all_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some stay due, and the others are due later; whoever has their key archives all."""
    monkeypatch.setattr(engine_keeping, "PASSED", 5)
    secret, place = SECRET.with_codec(AesGcm({"k": bytes(32)})), Kept()

    async def body(bench: Bench) -> None:
        runs = sorted([await ended(bench) for _ in range(60)])
        place.fill(
            bench.engine,
            Secret("a secret of the virtual world").with_codec(AesGcm({"j": bytes(32)})),
        )
        store: Any = bench.engine.services.store
        asked, to_remove = list[int](), store.to_remove

        async def counted(now: int, limit: int) -> Any:
            found = await to_remove(now, limit)
            asked.append(len(found))
            return found

        store.to_remove = counted
        await asyncio.sleep(1.3 * HOUR)
        assert asked[-1] == 5
        other = bench.another()
        place.fill(other, secret)
        other.open()
        await asyncio.sleep(12 * HOUR)
        assert place.runs == runs
        assert asked[-1] == 0

    virtually(MEMBERS, body, secret=secret, **SLOW)


def test_a_run_of_a_workflow_that_nobody_has_is_archived() -> None:
    """Nobody can tell any more whether it was to be."""
    place = Kept()

    async def body(bench: Bench) -> None:
        place.fill(bench.engine, SECRET)
        run = (await bench.start("plain")).run
        await bench.result(run)
        del bench.engine.app.workflows["plain"]
        await asyncio.sleep(1.1 * HOUR)
        assert (await is_there(bench, run), place.runs) == (False, [run])

    virtually(MEMBERS, body, **SLOW)


def test_a_retried_run_has_another_document() -> None:
    """Should it go on after it was archived, what it comes to is archived too."""
    place = Kept()

    async def body(bench: Bench) -> None:
        place.fill(bench.engine, SECRET)
        run = await ended(bench, -1)
        archiving = place.archiving(bench.engine, SECRET)
        await archiving.whole(await bench.engine.get(run))
        await bench.engine.retry(run)
        with pytest.raises(Ended):
            await bench.result(run)
        await asyncio.sleep(1.1 * HOUR)
        assert not await is_there(bench, run)
        assert sorted(name for _, _, name in place.documents) == ["0.json.gz", "1.json.gz"]

    virtually(MEMBERS, body, **SLOW)


def test_an_archive_that_does_not_answer_holds_nothing_up() -> None:
    """Sweeps go on beside it, and so does what else is to be removed, once it has said so."""
    place = Kept()

    async def body(bench: Bench) -> None:
        place.fill(bench.engine, SECRET)
        archiving: Any = bench.engine.services.keeping.archiving
        tried = 0

        async def hang(*_: Any, **__: Any) -> None:
            nonlocal tried
            tried += 1
            await asyncio.sleep(0.1 * HOUR)
            raise StoreUnavailable("it did not answer")

        put, archiving._archive.put = archiving._archive.put, hang
        runs = [await ended(bench) for _ in range(30)]
        other = (await bench.start("plain")).run
        await asyncio.sleep(1.05 * HOUR)
        assert tried == 1
        lost, before = bench.lose_first_messages(), bench.seconds
        await bench.result((await bench.start("kept")).run)
        assert (len(lost), bench.seconds - before < 200) == (1, True)
        await asyncio.sleep(0.5 * HOUR)
        assert not await is_there(bench, other)
        assert all([await is_there(bench, run) for run in runs])
        archiving._archive.put = put
        await asyncio.sleep(1.5 * HOUR)
        assert set(runs) <= set(place.runs)

    virtually(MEMBERS, body, **SLOW)


# --- deaths --------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_whoever_dies_over_it_leaves_it_whole(after: bool) -> None:
    """At whichever call to the store or the archive: no run goes that is not archived, once."""
    deaths = 0

    async def body(bench: Bench, nth: int) -> None:
        nonlocal deaths
        place, run = Kept(), await ended(bench, 2)
        mortal = bench.another()
        place.fill(mortal, SECRET)
        calls = nth

        def mortally(whole: Any) -> Any:
            async def call(*args: Any, **how: Any) -> Any:
                nonlocal calls
                calls -= 1
                if calls == 0 and not after:
                    await asyncio.Event().wait()
                found = await whole(*args, **how)
                if calls <= 0:
                    await asyncio.Event().wait()
                return found

            return call

        store: Any = mortal.services.store
        for name in ("standing", "remove", "clear", "settle_stone", "last"):
            setattr(store, name, mortally(getattr(store, name)))
        archive: Any = mortal.services.keeping.archiving
        archive._archive.put = mortally(archive._archive.put)
        await asyncio.sleep(1.01 * HOUR)
        doomed = asyncio.ensure_future(mortal.services.keeping.sweep())
        await asyncio.sleep(1)
        deaths += calls <= 0
        assert await is_there(bench, run) or place.runs == [run]
        place.fill(bench.engine, SECRET)
        for _ in range(8):
            await asyncio.sleep(0.1 * HOUR)
            await bench.engine.services.keeping.sweep()
        assert (await is_there(bench, run), place.runs) == (False, [run])
        assert await left(bench, run) == ["H"]
        assert len(place.told(run, SECRET)["operations"]) == 3
        doomed.cancel()

    for nth in range(1, 12):
        before = deaths
        virtually(MEMBERS, lambda bench, nth=nth: body(bench, nth), sweeps=False, **SLOW)  # type: ignore[misc]
        if deaths == before:
            break
    assert (deaths > 4, nth < 11) == (True, True)


# --- people --------------------------------------------------------------------------------------


def test_purged_runs_are_archived_first() -> None:
    """By the request itself; a dry run archives nothing."""
    place = Kept()

    async def body(bench: Bench) -> None:
        place.fill(bench.engine, SECRET)
        run = await ended(bench)
        later = bench.engine.services.clock.now() + 1
        await asyncio.sleep(1)
        await bench.engine.purge(Wanted(), later, dry_run=True)
        assert place.documents == {}
        await bench.engine.purge(Wanted(), later)
        assert (await is_there(bench, run), place.runs) == (False, [run])

    virtually(MEMBERS, body, **SLOW)


def test_what_a_run_came_to_on_an_earlier_day_is_erased_too() -> None:
    """It had been archived, and went on; also if the process that erases has no archive."""
    place = Kept()

    async def body(bench: Bench) -> None:
        run = await ended(bench, -1)
        archiving = place.archiving(bench.engine, SECRET)
        await archiving.whole(await bench.engine.get(run))
        await asyncio.sleep(2 * HOUR)
        await bench.engine.retry(run)
        with pytest.raises(Ended):
            await bench.result(run)
        header = await bench.engine.get(run)
        [day] = [day for day, _, _ in place.documents]
        assert day < day_of(header)
        await archiving.whole(header)
        await bench.engine.erase(run)
        assert len(place.documents) == 2
        other = bench.another()
        place.fill(other, SECRET)
        other.open()
        await asyncio.sleep(4 * HOUR)
        assert place.documents == {}

    virtually(MEMBERS, body, **SLOW, remembered=4 * HOUR * 1000)


def test_an_erased_run_is_not_in_the_archive() -> None:
    """Neither archived by that, nor left there, also if it had gone before, while its id is known;
    and what is archived late by who stood still since goes too.
    """
    place = Kept()

    async def body(bench: Bench) -> None:
        place.fill(bench.engine, SECRET)
        run = await ended(bench)
        header = await bench.engine.get(run)
        late = place.archiving(bench.engine, SECRET)
        await late.whole(header)
        document = dict(place.documents)
        await bench.engine.erase(run)
        assert place.documents == {}
        place.documents |= document
        await asyncio.sleep(0.3 * HOUR)
        assert place.documents == {}
        gone = await ended(bench)
        await asyncio.sleep(1.2 * HOUR)
        assert place.runs == [gone]
        with pytest.raises(RunNotFound):
            await bench.engine.erase(gone)
        assert place.documents == {}
        place.documents[day_of(header), gone, "0.json.gz"] = b"late"
        await asyncio.sleep(4 * HOUR)
        assert place.documents == {}

    virtually(MEMBERS, body, **SLOW, remembered=4 * HOUR * 1000)
