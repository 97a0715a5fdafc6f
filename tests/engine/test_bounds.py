"""What is stored has bounds: a header is one write unit, every item fits into DynamoDB."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rewake import task, workflow
from rewake.authoring.workflow import LONGEST_NAME
from rewake.engine.engine import _DIGITS, unique_names
from rewake.engine.runs.runs import LONGEST_REASON
from rewake.engine.settings import LONGEST_WHERE, Settings
from rewake.engine.starts.starting import LONGEST_KEY
from rewake.errors import AppError, InvalidInput
from rewake.kinds import Kind, OutcomeKind
from rewake.noted import Try
from rewake.records import CancelRequested, Header, Operation, Outcome
from rewake.states import RunState
from rewake.stores.items import encode
from rewake.stores.keys import chunk_key, header_key
from rewake.stores.memory import MAX_ITEM
from rewake.stores.operations import MOST_TRIES
from rewake.stores.table import Key, Written
from rewake.stores.turns import _bounded
from rewake.stores.writes import HEADER_BYTES, room_for_tail
from rewake.streamed import LogBatch
from rewake.values.failures import failure_of
from rewake.values.loglines import LogLines
from tests.support.virtual import Bench, virtually

NUMBER, MOMENT, UNIQUE = 999_999, 253_402_300_799_999, "f" * 13
WHERE = "h" * LONGEST_WHERE
TODAY = 9_999_999_999_999
"""The latest moment of a machine's clock that has as many digits as today's."""
LONG = "w" * LONGEST_NAME
LONG_ERROR = 'é"\0' * 500


def longest(run: str, key: str, **more: Any) -> Header:
    """A header with each of its other fields at its longest, its tail full."""
    header = Header(run, LONG, TODAY, seed=2**53, runtime=99)
    header.state = max(RunState, key=lambda state: len(msgspec.json.encode(state)))
    for name in ("epoch", "count", "arrivals", "cancels", "rest"):
        setattr(header, name, NUMBER)
    header.deaths = header.strikes = header.round = 99  # stuck, or given up, long before
    header.due = header.wake = MOMENT
    for name in ("created", "check_at", "written", "clock"):  # never far ahead
        setattr(header, name, TODAY)
    header.process = UNIQUE  # or a lease, which is shorter
    header.gap, header.apart, header.digest, header.key = -NUMBER, True, "f" * 16, key
    header.owner = header.taken = UNIQUE
    header.mark = f"{UNIQUE}@{NUMBER}"
    header.where = WHERE
    header.base = chunk_key(run, 10**7, UNIQUE).sort
    header.changed = more.get("changed", TODAY)
    header.hold = more.get("hold", False)
    header.answer = UNIQUE
    header.tail = [CancelRequested(MOMENT, "")]
    left = room_for_tail(header) - len(msgspec.json.encode(header.tail))
    header.tail = [CancelRequested(MOMENT, "x" * left)] if left >= 0 else []
    return msgspec.structs.replace(header, **more)


@pytest.mark.parametrize(
    ("run", "key"), [("r" * 128, ""), (f"key-{'f' * 32}.{NUMBER}", '"' * (LONGEST_KEY // 2))]
)
def test_the_longest_header_is_one_write_unit(run: str, key: str) -> None:
    """A header of the longest values is at most 1 KiB with its key, without `cancel` and `error`.

    So it is of a run that somebody holds, if it never was stuck. With a reason and an error, and a
    `lost_turn`, it is still a small item.
    """
    header, where = longest(run, key), header_key(run)
    place = len(where.partition) + len(where.sort)
    assert len(encode(header)) + place <= HEADER_BYTES
    assert len(encode(longest(run, key, hold=True, changed=0))) + place <= HEADER_BYTES
    settled = longest(run, key, changed=0)
    held = msgspec.structs.replace(settled, owner="", process="", apart=False, changed=TODAY)
    assert len(encode(held)) <= len(encode(settled))
    lost = Try(NUMBER, None, MOMENT, WHERE, lost=True)
    error = _bounded("\0" * 9_999)
    reason = "\0" * (LONGEST_REASON // 6)
    header = longest(run, key, cancel=reason, error=error, lost_turn=lost)
    assert len(encode(header)) + place <= 4 * HEADER_BYTES


@task
async def echo(text: str) -> str:
    return text


@workflow(name=LONG)
async def echoes() -> None:
    for size in range(60):
        await echo("x" * size)


def test_a_stored_header_is_bounded_at_each_moment() -> None:
    """No write of a run with the longest key and workflow makes its header longer than 1 KiB."""

    async def body(bench: Bench) -> None:
        table: Any = bench.table
        update, sizes = table.update, []

        async def measured(key: Key, **how: Any) -> Written:
            written: Written = await update(key, **how)
            if isinstance(written.item, Header):
                sizes.append(len(encode(written.item)) + len(key.partition) + len(key.sort))
            return written

        table.update = measured
        header, _ = await bench.engine.start(LONG, {}, idempotency_key="k" * LONGEST_KEY)
        await bench.engine.result(header.run, 60)
        assert len(sizes) > 8
        assert max(sizes) <= HEADER_BYTES

    virtually([echo, echoes], body)


@workflow
async def complains() -> None:
    for size in range(20):
        await echo("x" * size)
        if size == 17:
            raise ValueError(LONG_ERROR)


@pytest.mark.parametrize("stuck", [False, True])
def test_an_error_makes_a_header_no_longer(stuck: bool) -> None:
    """Of a run that failed or is stuck: the history that was in it moves to a chunk, whole."""

    async def body(bench: Bench) -> None:
        if stuck:
            bench.engine.services.work.closing = True
            header = await bench.start("complains")
            store, claim = bench.engine.services.store, bench.engine.services.run_claim
            held = await store.claim(header.run, claim(header.run))
            assert isinstance(held, Header)
            now = claim(header.run).now
            await store.commit(held, [CancelRequested(now, "x" * 40)] * 4, progress=False)
            held = await store.header(header.run)
            assert held.tail
            await store.stick(held, LONG_ERROR)
        else:
            header = await bench.start("complains")
            await bench.engine.result(header.run, 60)
        found = await bench.engine.get(header.run)
        assert len(found.error) > 60
        where = header_key(header.run)
        size = len(encode(found)) + len(where.partition) + len(where.sort)
        assert size <= HEADER_BYTES
        entries = (await bench.engine.services.store.entries(found)).entries
        assert len(entries) == found.count

    virtually([echo, complains], body)


def test_the_names_of_claims_and_processes_are_short() -> None:
    """A name of a claim has 13 characters after hundreds of millions, and is no other's."""
    names = unique_names()
    made = {names() for _ in range(4_000)}
    assert len(made) == 4_000
    assert {len(name) for name in made} == {9, 10, 11}
    assert sum(len(_DIGITS) ** length for length in range(1, 13 - 8 + 1)) > 900_000_000
    assert len(Settings().where) <= LONGEST_WHERE
    assert Settings(where=f"{'h' * 40}:7").where == f"{'h' * (LONGEST_WHERE - 2)}:7"


def test_longer_names_are_refused() -> None:
    """A workflow's name or an idempotency key that the header has no room for is refused."""
    with pytest.raises(AppError, match="at most 64 bytes"):
        workflow(name=LONG + "w")(echoes.function)

    async def body(bench: Bench) -> None:
        for key in ("", "k" * (LONGEST_KEY + 1), "\0" * 50):
            with pytest.raises(InvalidInput) as refused:
                await bench.engine.start(LONG, {}, idempotency_key=key)
            assert refused.value.field == "Idempotency-Key"
        header, _ = await bench.engine.start(LONG, {}, idempotency_key="k" * LONGEST_KEY)
        assert header.key == "k" * LONGEST_KEY

    virtually([echo, echoes], body)


def test_an_item_of_the_longest_values_fits() -> None:
    """An operation with the longest errors, and a batch of any lines, stay below 400 KB."""
    made = type("E" * 500_000, (ValueError,), {})
    failure = failure_of(made("\0" * 500_000), NUMBER)
    over = Try(NUMBER, MOMENT, MOMENT, WHERE, failure.type, failure.message[:160])
    operation = Operation("r" * 128, "k" * 512, Kind.TASK)
    operation.tries, operation.failure = [over] * MOST_TRIES, failure
    operation.outcome = Outcome(OutcomeKind.ERROR, origin=failure)
    assert len(encode(operation)) < MAX_ITEM
    for text, level in (("\0" * 100_000, "INFO"), ("", "L" * 500_000), ("\ud800" * 999, "\0" * 99)):
        log = LogLines()
        for _ in range(3_000):
            log.add(MOMENT, level, text)
        for batch in log.take(MOMENT):
            assert len(encode(LogBatch("r" * 128, "k" * 512, NUMBER, batch))) < MAX_ITEM
