"""With a codec: nothing of users can be read in the database, and who lacks the key waits."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rewake import (
    TaskError,
    approval,
    bind,
    callback,
    sleep,
    step,
    task,
    task_context,
    workflow,
)
from rewake.authoring.approval import Approval, Decision
from rewake.codecs import AesGcm, CheckpointForged
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.errors import CheckpointUnreadable, ReadableElsewhere, RunConflict
from rewake.kinds import OutcomeKind, Purpose
from rewake.records import Scheduled, Value, Withdrawn
from rewake.signing.secret import Secret
from rewake.states import LIVE, RunState
from rewake.stores.keys import header_key, operation_key
from rewake.stores.memory import MemoryTable
from rewake.values.run_codec import RunCodec
from rewake.values.sealing import SEALED
from tests.support.virtual import SECRET, TABLES, Bench, Ended, virtually

CODEC = AesGcm({"2026": bytes(32)})
SEALING = SECRET.with_codec(CODEC)
URL = "https://app.example"
CANARY = "canary-4711"
SENT: list[str] = []


@dataclass
class Order:
    """An object that is stored as a pickle, where no type says what it is."""

    number: str


@task(retries=1)
async def fails_once(word: str) -> str:
    context = task_context()
    assert context is not None
    context.logger.info("an attempt logs %s", word)
    sys.stdout.write(f"an attempt prints {word}\n")
    if context.attempt == 1:
        raise ValueError(f"an attempt fails with {word}")
    return f"the result is {word}"


@task
async def fails(word: str) -> None:
    raise type(f"Of{word.replace('-', '')}", (Exception,), {})(f"it failed with {word}")


@task
async def pickled(order: Any) -> Any:
    return [order, (order.number,)]


@task
async def large(word: str) -> str:
    return f"{word} " * 20_000


@task
async def send(url: str) -> None:
    SENT.append(url)


async def swallowed(word: str) -> str:
    try:
        await fails(word)
    except TaskError as error:
        return f"{error.type} {error.message} {error.traceback}"
    return ""


@workflow
async def everywhere(word: str, order: Any = None) -> Any:
    """Puts a word into every place that a workflow has."""
    logging.getLogger("app").warning("a body logs %s", word)
    sys.stdout.write(f"a body prints {word}\n")
    found = [await fails_once(word), await swallowed(word)]
    found.append(await step("says", lambda: f"a step says {word}"))
    try:
        await step("reads", lambda: int(word), retries=1)
    except TaskError as error:
        found.append(error.message)
    found.append((await pickled(Order(word)))[0].number)
    found.append(str(len(await large(word))))
    found.append(await task(lambda: f"a closure has {word}"))
    asked = approval(
        "boss",
        description=f"may {word}?",
        form={"why": {"type": "string", "title": f"why {word}", "default": word}},
        timeout=timedelta(days=1),
    )
    answer = await asked
    found.append(answer.value["why"] + (answer.comment or ""))
    several = approval("several", approvers=[f"{word}-1", f"{word}-2"], quorum=2)
    found.append(str((await several).decisions))
    taken = approval("taken", approvers=[word])
    await step("asked", lambda: word)
    taken.cancel(f"not needed: {word}")
    for _ in range(2):
        wait = callback("machine", timeout=timedelta(days=1))
        await send(wait.url)
        try:
            found.append(await wait)
        except TaskError as error:
            found.append(error.message)
    try:
        await sleep(1000)
    except asyncio.CancelledError:
        raise ValueError(f"cancelled, and then {word}") from None
    return found


async def put_everywhere(bench: Bench, word: str) -> str:
    """Run `everywhere` to its end: it is cancelled with a reason, and fails with a message."""
    SENT.clear()
    run = (await bench.start("everywhere", word=word, order=Order(word))).run
    await asyncio.sleep(30)
    decided = Approval(Decision.APPROVED, value={"why": word}, comment=word)
    await Approvals(bench.engine).decide(run, "boss", decided)
    await asyncio.sleep(1)
    await let_several_decide(bench, run, word)
    callbacks = Callbacks(bench.engine)
    await callbacks.complete(SENT[0].rpartition("/")[2], {"word": word})
    await asyncio.sleep(1)
    await callbacks.fail(SENT[1].rpartition("/")[2], word.title(), f"it says {word}")
    await asyncio.sleep(1)
    await bench.engine.cancel(run, f"because of {word}")
    await asyncio.sleep(1)
    return run


async def let_several_decide(bench: Bench, run: str, word: str) -> None:
    """One hands the vote on, the other approves, and so does the delegate."""
    of = Approvals(bench.engine)
    await of.delegate(run, "several", f"{word}-1", f"{word}-3", f"{word} is away")
    for who, decides in ((f"{word}-2", False), (f"{word}-3", True)):
        vote = Approval(Decision.APPROVED, {"why": word}, who, f"{word} said {'so ' * 900}")
        ballot = await of.decide(run, "several", vote)
        assert (ballot.decision is not None) is decides
    await asyncio.sleep(1)


def stored(table: Any) -> bytes:
    """All that a table has written."""
    if isinstance(table, MemoryTable):
        return repr(vars(table)).encode()
    folder = Path(table._path).parent
    return b"".join(each.read_bytes() for each in folder.iterdir())


MEMBERS = [everywhere, fails_once, fails, pickled, large, send]


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [0, 256])
def test_no_word_of_a_user_is_in_the_database(table: str, cached: int) -> None:
    """What is put into every place that users have is nowhere in the file, and is all there."""
    found: dict[bool, bytes] = {}

    async def body(bench: Bench) -> None:
        run = await put_everywhere(bench, CANARY)
        with pytest.raises(Ended):
            await bench.result(run)
        header, history = await bench.engine.history(run, whole=True)
        assert header.state in (RunState.FAILED, RunState.CANCELLED), header.error
        logs = await bench.engine.logs(run)
        said = " ".join(line.message for batch in logs for line in batch.lines)
        assert said.count(CANARY) >= 6
        assert CANARY in repr(history)
        whys = [each.why for each in history.entries if isinstance(each, Withdrawn)]
        assert f"not needed: {CANARY}" in whys
        found[bench.secret is SEALING] = stored(bench.table)

    for secret in (SECRET, SEALING):
        virtually(MEMBERS, body, table=table, url=URL, cached=cached, secret=secret)
    plain, sealed = found[False], found[True]
    words = (CANARY, CANARY.title(), CANARY.replace("-", ""))
    for word in words:
        assert word.encode() in plain
        assert word.encode() not in sealed
    # Nor is it in the pickles of the plain one only because they are in base64.
    assert b"Order" not in sealed


def test_a_list_of_approvals_is_not_spoiled_by_one_that_cannot_be_read() -> None:
    """Who lacks the key of a run is shown that its approval is there, and those of others."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("votes", word=CANARY)).run
        await asyncio.sleep(20)
        vote = Approval(Decision.APPROVED, None, f"{CANARY}-1", "as I see it")
        await Approvals(bench.engine).decide(run, "several", vote)
        header = await bench.engine.get(run)
        for secret, people in ((SEALING, [f"{CANARY}-2"]), (SECRET, [])):
            (found,) = await Approvals(bench.another(secret)).open_in(header)
            assert (found.matter.asked.key, found.ballot.waits_for) == ("several", people)

    virtually([votes], body, secret=SEALING)


@workflow
async def votes(word: str) -> None:
    await approval("several", approvers=[f"{word}-1", f"{word}-2"], quorum=2)


@workflow
async def waits(word: str) -> str:
    found = await fails_once(word)
    await sleep(100)
    return f"{found} {await swallowed(word)}"


async def leave(engine: Any) -> None:
    """Close a process, and leave the table to others."""

    async def nothing() -> None:
        """It stays open."""

    engine.services.store.close = nothing
    await engine.close()


def other_secret(codec: AesGcm | None) -> Secret:
    return SECRET.with_codec(codec)


@pytest.mark.parametrize("codec", [None, AesGcm({"other": bytes(32)})], ids=["none", "other"])
@pytest.mark.parametrize("table", TABLES)
def test_a_process_without_the_key_leaves_the_run_alone(
    table: str, codec: AesGcm | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It puts back what it cannot read and records nothing; who has the key ends it as ever."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits", word=CANARY)).run
        await asyncio.sleep(20)
        await leave(bench.engine)
        without = bench.another(other_secret(codec))
        without.open()
        await asyncio.sleep(500)
        kept = await without.get(run)
        assert kept.state in LIVE
        assert (kept.deaths, kept.strikes) == (0, 0)
        assert "is put back for another process" in caplog.text
        assert "REWAKE_ENCRYPTION_KEYS" in caplog.text
        assert CANARY not in caplog.text.partition("is put back")[2]
        await leave(without)
        bench.engine = bench.another()
        bench.engine.open()
        assert str(await bench.result(run)).count(CANARY) >= 2

    virtually([waits, fails_once, fails], body, table=table, secret=SEALING)


@pytest.mark.parametrize("table", TABLES)
def test_one_process_of_two_lacks_the_key(table: str) -> None:
    """While keys are rolled out, each run ends, whoever meets it first."""

    async def body(bench: Bench) -> None:
        bench.another(other_secret(AesGcm({"other": bytes(32)}))).open()
        runs = [(await bench.start("waits", word=f"{CANARY}-{n}")).run for n in range(5)]
        for run in runs:
            assert CANARY in await bench.result(run)

    virtually([waits, fails_once, fails], body, table=table, secret=SEALING, cached=0)


@workflow
async def cancelled() -> str:
    try:
        await sleep(1000)
    except asyncio.CancelledError as error:
        return str(error)
    return ""


def test_a_reason_that_cannot_be_read_is_waited_for() -> None:
    """A body that is cancelled is given the reason, or waits for a process that can read it."""
    new = AesGcm({"2027": bytes(range(32)), "2026": bytes(32)})

    async def body(bench: Bench) -> None:
        run = (await bench.start("cancelled")).run
        await asyncio.sleep(5)
        other = bench.another(other_secret(new))
        await other.cancel(run, CANARY)
        await asyncio.sleep(100)
        assert (await bench.engine.get(run)).state in LIVE
        await leave(bench.engine)
        other.open()
        bench.engine, bench.secret = other, other_secret(new)
        assert await bench.result(run) == CANARY

    virtually([cancelled], body, secret=SEALING)


def test_keys_are_changed_under_a_run() -> None:
    """A run that began under one key ends under the next, with the same digests."""
    new = AesGcm({"2027": bytes(range(32)), "2026": bytes(32)})

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits", word=CANARY)).run
        await asyncio.sleep(20)
        await leave(bench.engine)
        bench.engine = bench.another(other_secret(new))
        bench.engine.open()
        bench.secret = other_secret(new)
        assert str(await bench.result(run)).count(CANARY) >= 2
        assert b'"2027' not in stored(bench.table)

    virtually([waits, fails_once, fails], body, secret=SEALING)


def test_a_run_from_before_the_codec_goes_on() -> None:
    """What was stored in plain text stays readable, and what follows is encrypted."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits", word=CANARY)).run
        await asyncio.sleep(20)
        await leave(bench.engine)
        bench.engine = bench.another(SEALING)
        bench.engine.open()
        bench.secret = SEALING
        assert str(await bench.result(run)).count(CANARY) >= 2
        _, history = await bench.engine.history(run)
        codecs = [
            item.outcome.value.codec
            for item in history.operations.values()
            if item.outcome is not None and item.outcome.value is not None
        ]
        assert codecs == ["json"]
        last: Any = history.entries[-1]
        assert last.outcome.value.codec == SEALED

    virtually([waits, fails_once, fails], body)


# --- digests -----------------------------------------------------------------------------------


@workflow
async def calls(word: str) -> str:
    return await fails_once(word)


def test_digests_say_nothing() -> None:
    """Each run has digests of its own, so that nobody can try what the arguments were."""

    async def body(bench: Bench) -> None:
        digests: list[str] = []
        for _ in range(3):
            run = (await bench.start("calls", word="yes")).run
            await bench.result(run)
            header, history = await bench.engine.history(run)
            digests.append(header.digest)
            digests += [each.digest for each in history.entries if isinstance(each, Scheduled)]
            assert header.digest_key
        assert len(set(digests)) == 3

    virtually([calls, fails_once], body, secret=SEALING)


@workflow
async def binds(word: str) -> str:
    call = bind(pickled, word)
    return (await approval("boss", binds=call)).decision


def test_nor_does_that_of_a_bound_call() -> None:
    """What an approval binds has another digest in each run."""

    async def body(bench: Bench) -> None:
        found = set()
        for _ in range(2):
            run = (await bench.start("binds", word="yes")).run
            await asyncio.sleep(1)
            _, history = await bench.engine.history(run)
            found |= {each.digest for each in history.entries if isinstance(each, Scheduled)}
        assert len(found) == 2
        assert "" not in found

    virtually([binds, pickled], body, secret=SEALING)


def test_starts_are_compared_all_the_same() -> None:
    """The same arguments under a key are one run, others a conflict, also after a rotation."""
    new = AesGcm({"2027": bytes(range(32)), "2026": bytes(32)})

    async def body(bench: Bench) -> None:
        first, _ = await bench.engine.start("calls", {"word": "yes"}, idempotency_key="k")
        for engine in (bench.engine, bench.another(other_secret(new))):
            same = await engine.start("calls", {"word": "yes"}, idempotency_key="k")
            assert (same[0].run, same[1]) == (first.run, False)
            with pytest.raises(RunConflict):
                await engine.start("calls", {"word": "no"}, idempotency_key="k")
        for codec in (None, AesGcm({"other": bytes(32)})):
            engine = bench.another(other_secret(codec))
            with pytest.raises(ReadableElsewhere):
                await engine.start("calls", {"word": "yes"}, idempotency_key="k")

    virtually([calls, fails_once], body, secret=SEALING)


# --- forgeries ---------------------------------------------------------------------------------


@task
async def answer(number: int) -> int:
    return number


@workflow
async def takes() -> int:
    await sleep(10)
    first = await answer(1)
    await sleep(100)
    return first


def forged_value() -> Value:
    other = SECRET.with_codec(AesGcm({"2026": bytes(range(32))}))
    return RunCodec(other, "r").encode(2, key="answer", purpose="result")


@pytest.mark.parametrize("how", ["moved", "forged", "changed", "plain"])
def test_what_was_put_into_the_store_is_never_loaded(how: str) -> None:
    """A result that was moved, forged or changed makes the run stuck, with an error of its own."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("takes")).run for _ in range(2)]
        await asyncio.sleep(50)
        where = [operation_key(run, "answer") for run in runs]
        mine, other = [(await bench.table.get(each)).outcome for each in where]
        body = bytes(mine.value.body)
        values = {
            "plain": Value("json", type(mine.value.body)(b"2")),
            "moved": other.value,
            "forged": forged_value(),
            "changed": Value(SEALED, type(mine.value.body)(body[:-9] + b'AAAAAAA="')),
        }
        outcome = type(mine)(OutcomeKind.OK, values[how])
        await bench.table.update(where[0], set={"outcome": outcome})
        bench.engine.services.cache.clear()
        await asyncio.sleep(200)
        header = await bench.engine.get(runs[0])
        assert header.state is RunState.STUCK
        assert header.error.startswith("CheckpointForged: cannot read the result of answer")
        assert await bench.result(runs[1]) == 1

    virtually([takes, answer], body, secret=SEALING)


@pytest.mark.parametrize("how", ["forged", "plain"])
def test_a_vote_that_was_put_into_the_store_never_counts(how: str) -> None:
    """What nobody encrypted for this run is no vote, and no vote after it makes it one."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("votes", word="ann")).run
        await asyncio.sleep(20)
        of, said = Approvals(bench.engine), Approval(Decision.APPROVED, None, "ann-1")
        await of.decide(run, "several", said)
        where = operation_key(run, "several")
        kept = (await bench.table.get(where)).votes
        plain = RunCodec(SEALING, run).opened(kept[0], key="several", purpose=Purpose.APPROVAL)
        other = RunCodec(SECRET.with_codec(AesGcm({"2026": bytes(range(32))})), run)
        told = RunCodec(SECRET, run).decode(plain, key="several", purpose=Purpose.APPROVAL)
        forged = other.encode(told, key="several", purpose=Purpose.APPROVAL)
        await bench.table.update(where, set={"votes": [plain if how == "plain" else forged]})
        with pytest.raises(CheckpointForged):
            await of.decide(run, "several", Approval(Decision.APPROVED, None, "ann-2"))
        assert (await bench.engine.get(run)).state in LIVE

    virtually([votes], body, secret=SEALING)


def test_an_error_that_was_changed_is_never_seen() -> None:
    """A failure whose text was changed in the store makes the run stuck."""

    @workflow
    async def looks() -> str:
        await sleep(10)
        found = await swallowed("x")
        await sleep(100)
        return found

    async def body(bench: Bench) -> None:
        run = (await bench.start("looks")).run
        await asyncio.sleep(50)
        where = operation_key(run, "fails")
        outcome = (await bench.table.get(where)).outcome
        text = outcome.failure.message[:-8] + "AAAAAAA="
        failure = type(outcome.failure)(outcome.failure.type, text)
        bad = type(outcome)(outcome.kind, origin=failure)
        await bench.table.update(where, set={"outcome": bad})
        bench.engine.services.cache.clear()
        await asyncio.sleep(200)
        header = await bench.engine.get(run)
        assert header.state is RunState.STUCK
        assert header.error.startswith("CheckpointForged")

    virtually([looks, fails], body, secret=SEALING)


def test_a_digest_key_that_was_changed_is_refused() -> None:
    """A run whose digest key is none goes nowhere."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("takes")).run for _ in range(2)]
        await asyncio.sleep(1)
        other = (await bench.table.get(header_key(runs[1]))).digest_key
        await bench.table.update(header_key(runs[0]), set={"digest_key": other})
        bench.engine.services.cache.clear()
        await asyncio.sleep(50)
        header = await bench.engine.get(runs[0])
        assert header.state is RunState.STUCK
        assert "CheckpointForged" in header.error

    virtually([takes, answer], body, secret=SEALING)


def test_a_text_that_looks_encrypted_is_a_text() -> None:
    """Nobody outside can stop a run by an error that begins as an encrypted one does."""

    @task
    async def odd() -> None:
        raise ValueError("\uffff\uffffAAAA")

    @workflow
    async def told() -> str:
        try:
            await odd()
        except TaskError as error:
            return error.message
        return ""

    async def body(bench: Bench) -> None:
        assert await bench.run("told") == "AAAA"

    for secret in (SECRET, SEALING):
        virtually([told, odd], body, secret=secret)


def test_the_error_names_its_place() -> None:
    """A value that cannot be read here says which it is, and what is missing."""
    value = RunCodec(SEALING, "r").encode(1, key="k", purpose="result")
    with pytest.raises(ReadableElsewhere, match="the result of k in run r: key 2026 encrypted it"):
        RunCodec(other_secret(AesGcm({"o": bytes(32)})), "r").decode(
            value, key="k", purpose="result"
        )
    with pytest.raises(CheckpointUnreadable, match="this process has no keys"):
        RunCodec(SECRET, "r").decode(value, key="k", purpose="result")
