"""Join items: what they count, who may open them, and that nothing waits for what has arrived."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.clock import SystemClock
from rewake.errors import StoreUnavailable
from rewake.kinds import Kind, OutcomeKind
from rewake.ledger import Join
from rewake.records import Failure, Header, Operation, Outcome, Started, Value
from rewake.states import RunState
from rewake.stores.answers import Arrived, Committed, Delivery, RunClaim
from rewake.stores.joins import may_be_open, until_heard
from rewake.stores.keys import join_key
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.table import Key, Spread, Written
from tests.stores.test_processes import Nobody

DONE = Outcome(OutcomeKind.OK, Value("json", msgspec.Raw(b"1")))
FAILED = Outcome(OutcomeKind.ERROR, origin=Failure("ValueError", "no"))
KEYS = [f"t.{n}" for n in range(2, 14)]


class Table(MemoryTable):
    """Reports as many writes of join items as failed as it is told to, and does them; has a log."""

    def __init__(self) -> None:
        super().__init__(spread=Spread(3, first=1))
        self.denies = 0
        self.log: list[str] = []

    async def update(self, key: Key, **changes: object) -> Written:
        written: Written = await super().update(key, **changes)  # type: ignore[arg-type]
        self.log.append(key.sort[0])
        if key.sort == "J" and self.denies:
            self.denies -= 1
            raise StoreUnavailable("it was done, and is denied")
        return written


class Heard(Nobody):
    """Hears of what arrives."""

    def hear(self, run: str, number: int, key: str) -> None:
        pass

    def called_off(self, run: str) -> None:
        pass


async def claimed(store: Store) -> Header:
    """A run that was just claimed."""
    header = Header("r", "main", 1, seed=1, runtime=1)
    await store.start(header, Started(1, Value("json", msgspec.Raw(b"{}"))))
    found = await store.claim("r", RunClaim("turn", 1, 60_000))
    assert isinstance(found, Header)
    return found


def play(body: Callable[[Store, Table, Header], Awaitable[None]]) -> None:
    async def main() -> None:
        table, marks = Table(), iter(map(str, range(10_000)))
        store = Store(table, table, mark=lambda: next(marks), clock=SystemClock(), here=Heard())
        await body(store, table, await claimed(store))

    asyncio.run(main())


async def park(
    store: Store, held: Header, counts: Counter[int], spared: int = 0
) -> Committed | Arrived:
    """Park for a barrier around `KEYS`, of which so many are counted in each shard."""
    opened = await store.open_joins(held, counts, spared=spared == len(KEYS))
    assert opened is not None
    gap = len(KEYS) - counts.total() + len(counts)
    parked = await store.park(opened, [], gap=gap, spared=spared, wake=None, check_at=10**15)
    assert isinstance(parked, Committed | Arrived)
    return parked


async def arrive(
    store: Store, key: str, outcome: Outcome = DONE, *, spared: bool = False
) -> Delivery:
    operation = Operation("r", key, Kind.TASK)
    return await store.deliver(operation, outcome, 5, joined=True, spared=spared)


async def joins(table: Table) -> list[Join]:
    return [await table.get(join_key("r", shard)) or Join() for shard in range(3)]


def test_the_header_hears_of_the_last_of_each_shard() -> None:
    """And the run wakes with the last of all, neither before nor later."""

    async def body(store: Store, table: Table, held: Header) -> None:
        counts = store.joined(KEYS)
        assert (counts.total(), len(counts)) == (12, 3)
        assert isinstance(await park(store, held, counts), Committed)
        told = [await arrive(store, key) for key in KEYS]
        assert [each.wake for each in told] == [False] * 11 + [True]
        assert (await store.header("r")).arrivals == 3
        assert [each.missing for each in await joins(table)] == [0, 0, 0]

    play(body)


def test_few_are_not_counted() -> None:
    """Nor those that lie with their run, nor any on a table that spreads nothing."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert store.joined(["t", "u"]) == store.joined(["t.2"]) == Counter()
        assert not (await store.deliver(Operation("r", "t", Kind.TASK), DONE, 5, joined=True)).wake
        assert (await store.header("r")).arrivals == 1

    play(body)


def test_whoever_finds_an_item_closed_arrives_at_the_header() -> None:
    """Before it is opened, after it was closed, and where all that it waits for was counted."""

    async def body(store: Store, table: Table, held: Header) -> None:
        await arrive(store, KEYS[0])
        assert (await store.header("r")).arrivals == 1
        held = await store.header("r")
        parked = await park(store, held, store.joined(KEYS[1:]))
        assert isinstance(parked, Committed)
        assert await store.close_joins(parked.header) == 2
        await arrive(store, KEYS[1])
        assert (await store.header("r")).arrivals == 2

    play(body)


def test_what_arrives_before_they_are_open_makes_the_park_fail() -> None:
    """It was not read, and no join item waits for it: the turn has to read again."""

    async def body(store: Store, table: Table, held: Header) -> None:
        await arrive(store, KEYS[0])
        assert isinstance(await park(store, held, store.joined(KEYS)), Arrived)

    play(body)


def test_the_header_says_that_they_may_be_open_before_they_are() -> None:
    """Else whoever goes on with the run would not close them."""

    async def body(store: Store, table: Table, held: Header) -> None:
        table.log.clear()
        opened = await store.open_joins(held, store.joined(KEYS))
        assert table.log == ["H", "J", "J", "J"]
        assert opened is not None
        assert may_be_open(await store.header("r"))
        closed = await store.close_joins(opened)
        opened.joins = closed
        committed = await store.commit(opened, [], progress=False)
        assert isinstance(committed, Committed)
        assert not may_be_open(committed.header)

    play(body)


def test_a_holder_that_was_overtaken_opens_nothing() -> None:
    """It stood still after its header was written; another has closed, and perhaps opened, them."""

    async def body(store: Store, table: Table, held: Header) -> None:
        counts = store.joined(KEYS)
        number = store._number

        async def later(
            run: str, shard: int, number: int, missing: int = 0, spared: bool = False
        ) -> None:
            pass

        store._number = later  # type: ignore[method-assign]
        opened = await store.open_joins(held, counts)
        store._number = number  # type: ignore[method-assign]
        assert opened is not None
        opened.joins = await store.close_joins(opened)
        await number("r", 0, 1, -4)  # at last
        assert [each.missing for each in await joins(table)] == [0, 0, 0]
        assert isinstance(await park(store, opened, counts), Committed)
        before = await joins(table)
        await number("r", 0, 1, -9)
        await number("r", 0, 2, 0)
        assert await joins(table) == before
        # One whose claim is over does not come so far.
        assert await store.open_joins(held, counts) is None

    play(body)


def test_a_repeated_opening_does_not_begin_to_count_again() -> None:
    """The database denied a write that it had done, and something was counted before the next."""

    async def body(store: Store, table: Table, held: Header) -> None:
        counts = store.joined(KEYS)
        table.denies = 3
        assert isinstance(await park(store, held, counts), Committed)
        for key in KEYS[:-1]:
            await arrive(store, key)
        shard = store.layout.shard(KEYS[-1])
        assert shard is not None
        await store._number("r", shard, 1, -counts[shard])
        assert (await arrive(store, KEYS[-1])).wake

    play(body)


def test_a_count_that_was_denied_wakes_early_and_never_late() -> None:
    """It is counted twice: what is missing when the run wakes comes to the header."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert isinstance(await park(store, held, store.joined(KEYS)), Committed)
        told = []
        for key in KEYS:
            table.denies = key in KEYS[:3]
            told.append(await arrive(store, key))
        assert told[-1].wake
        assert (await store.header("r")).gap <= 0

    play(body)


def test_a_failure_is_not_counted() -> None:
    """It wakes the run at once."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert isinstance(await park(store, held, store.joined(KEYS)), Committed)
        assert (await arrive(store, KEYS[0], FAILED)).wake
        header = await store.header("r")
        assert (header.state, header.gap <= 0) == (RunState.PARKED, True)

    play(body)


def test_failures_that_are_all_borne_are_counted_as_successes_are() -> None:
    """The header hears of the last of each shard, as if none had failed."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert isinstance(await park(store, held, store.joined(KEYS), len(KEYS)), Committed)
        told = [await arrive(store, key, FAILED, spared=True) for key in KEYS]
        assert [each.wake for each in told] == [False] * 11 + [True]
        assert (await store.header("r")).arrivals == 3

    play(body)


@pytest.mark.parametrize("borne", [1, 4, 9])
def test_a_run_wakes_with_the_first_failure_that_it_does_not_bear(borne: int) -> None:
    """The header hears of each failure, and counts them; its shards count on."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert isinstance(await park(store, held, store.joined(KEYS), borne), Committed)
        told = [await arrive(store, key, FAILED, spared=True) for key in KEYS[: borne + 1]]
        assert [each.wake for each in told] == [False] * borne + [True]

    play(body)


@pytest.mark.parametrize("borne", [1, 4, 9])
def test_borne_failures_do_not_wake_a_run_before_its_last_arrival(borne: int) -> None:
    """As many fail as it bears, first or last, and it wakes once, when all have arrived."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert isinstance(await park(store, held, store.joined(KEYS), borne), Committed)
        outcomes = [FAILED] * borne + [DONE] * (len(KEYS) - borne)
        mixed = outcomes[::2] + outcomes[1::2]
        told = [
            await arrive(store, key, outcome, spared=True)
            for key, outcome in zip(KEYS, mixed, strict=True)
        ]
        assert [each.wake for each in told] == [False] * 11 + [True]

    play(body)


def test_a_failure_wakes_a_run_that_bears_none_whatever_its_message_says() -> None:
    """The run has waited for something else since the message was sent: its header decides."""

    async def body(store: Store, table: Table, held: Header) -> None:
        assert isinstance(await park(store, held, store.joined(KEYS)), Committed)
        assert (await arrive(store, KEYS[0], FAILED, spared=True)).wake

    play(body)


@given(
    st.lists(st.integers(1, 200), min_size=1, max_size=6),
    st.integers(0, 50),
    st.floats(0, 1),
    st.randoms(use_true_random=False),
)
def test_where_some_are_enough_the_run_never_wakes_late(
    sizes: list[int], beside: int, share: float, chance: random.Random
) -> None:
    """In whichever order they come: once as many have arrived as it needs, its header has heard."""
    counts, awaited = Counter(dict(enumerate(sizes))), sum(sizes) + beside
    needed = max(1, round(share * awaited))
    quiet = until_heard(counts, needed, awaited)
    assert all(0 < quiet[shard] <= counts[shard] for shard in quiet)
    gap = needed - (quiet.total() - len(quiet))
    assert gap >= 1
    left = Counter(quiet)
    order = [shard for shard, size in counts.items() for _ in range(size)] + [-1] * beside
    chance.shuffle(order)
    for shard in order[:needed]:
        if left[shard] > 1:
            left[shard] -= 1
        else:
            gap -= 1
    assert gap <= 0
