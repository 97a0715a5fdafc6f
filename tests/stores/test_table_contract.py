"""What `WholeTable` promises, sentence by sentence, of every table that runs without a cloud."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewake.errors import CheckpointUnreadable
from rewake.kinds import Kind, OutcomeKind
from rewake.records import (
    Chunk,
    Header,
    Item,
    LogBatch,
    LogLine,
    Operation,
    Outcome,
    Scheduled,
    Value,
    View,
)
from rewake.states import RunState
from rewake.stores.table import Check, Due, Key, Op, Page, Written, holds
from tests.support.new_tables import POSTGRES, new_table
from tests.support.stores import WholeTable

H = Key("R#1", "H")
KINDS = ["memory", "sqlite", "sqlite-unthreaded", "sealed", *POSTGRES]
Body = Callable[..., Awaitable[None]]
Call = tuple[str, dict[str, Any]]


def run(kind: str, body: Body) -> None:
    """Run `body` with a new, empty table, in an event loop of its own."""

    async def main(table: WholeTable) -> None:
        try:
            await body(table)
        finally:
            await table.close()

    with new_table(kind) as table:
        asyncio.run(main(table))


def of_tables(*kinds: Any) -> Callable[[Body], Callable[..., None]]:
    """Makes a test of an async function that takes a table: one for each kind of table."""

    def decorate(body: Body) -> Callable[..., None]:
        @wraps(body)
        def test(kind: str, **others: Any) -> None:
            run(kind, lambda table: body(table, **others))

        # pytest asks for what the signature names: a kind where the function takes a table.
        _, *others = inspect.signature(body).parameters.values()
        kind = inspect.Parameter("kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        test.__signature__ = inspect.Signature([kind, *others])  # type: ignore[attr-defined]
        parametrised: Callable[..., None] = pytest.mark.parametrize("kind", kinds)(test)
        return parametrised

    return decorate


every_table = of_tables(*KINDS)
shared_tables = of_tables("memory", "sqlite", POSTGRES[0])


def header(**changes: Any) -> Header:
    """A header, but for `changes`."""
    base = Header(run="1", workflow="main", created=1, seed=7, runtime=1)
    return msgspec.structs.replace(base, **changes)


def operation(key: str, **changes: Any) -> Operation:
    """An operation, but for `changes`."""
    return msgspec.structs.replace(Operation(run="1", key=key, kind=Kind.TASK), **changes)


def one(attribute: str, op: Op, value: Any = None) -> list[list[Check]]:
    """The condition that is one check."""
    return [[Check(attribute, op, value)]]


def sorts(page: Page) -> list[str]:
    """The sort keys of a page."""
    return [key.sort for key, _ in page.items]


# --- get and put -------------------------------------------------------------------------------

VALUE = Value("json", msgspec.Raw(b'{"a":[1,"\xc3\xa9"]}'))
ENTRY = Scheduled("fetch", Kind.TASK, "fetch", "d1", VALUE, due=5)
SAMPLES: list[tuple[Key, Item]] = [
    (H, header(state=RunState.PARKED, due=5, tail=[ENTRY], cancel="why")),
    (Key("R#1", "C#3#w"), Chunk("C#1#w", [ENTRY])),
    (Key("R#1", "O#fetch"), operation("fetch", outcome=Outcome(OutcomeKind.OK, VALUE), at=9)),
    (Key("R#1", "L#fetch#1#1"), LogBatch("1", "fetch", 1, [LogLine(3, "info", "hello")])),
    (Key("V", "main#1"), View("1", "main", 1)),
    (Key("V", "H"), View("1", "main", 1)),
]


@pytest.mark.parametrize(("key", "item"), SAMPLES, ids=lambda value: type(value).__name__)
@every_table
async def test_what_was_put_is_got(table: WholeTable, key: Key, item: Item) -> None:
    """Every type of item comes back equal, and of its own type."""
    assert (await table.put(key, item)).ok
    found = await table.get(key)
    assert type(found) is type(item)
    assert msgspec.json.encode(found) == msgspec.json.encode(item)


@every_table
async def test_a_missing_item_is_none(table: WholeTable) -> None:
    """`get` answers None where there is no item, in a known partition or not."""
    assert await table.get(H) is None
    await table.put(H, header())
    assert await table.get(Key("R#1", "O#x")) is None


@every_table
async def test_put_writes_the_whole_item(table: WholeTable) -> None:
    """A second `put` leaves nothing of the first, and answers what now stands."""
    await table.put(H, header(due=5, cancel="why"))
    written = await table.put(H, header(epoch=2))
    assert written.ok
    assert written.item == await table.get(H) == header(epoch=2)
    assert await table.due(100, limit=10) == []


@every_table
async def test_put_absent_never_overwrites(table: WholeTable) -> None:
    """With `absent`, the first one stays and is answered to the second."""
    assert (await table.put(H, header(epoch=1), absent=True)).ok
    second = await table.put(H, header(epoch=2), absent=True)
    assert not second.ok
    assert second.item == await table.get(H) == header(epoch=1)


@every_table
async def test_nothing_is_shared_by_reference(table: WholeTable) -> None:
    """Changing what was handed in or out does not change what is stored."""
    given, tail = header(), [ENTRY]
    put = await table.put(H, given)
    updated = await table.update(H, set={"tail": tail})
    got = await table.get(H)
    for item in (given, put.item, updated.item, got):
        item.tail.append(ENTRY)
        item.epoch = 99
    tail.append(ENTRY)
    assert await table.get(H) == header(tail=[ENTRY])


@every_table
async def test_what_cannot_be_read_back_is_not_written(table: WholeTable) -> None:
    """An item under another type's key, or an attribute of the wrong type, is refused."""
    with pytest.raises(CheckpointUnreadable, match="no form that this Rewake knows"):
        await table.put(Key("R#1", "C#1"), header())
    await table.put(H, header())
    with pytest.raises(CheckpointUnreadable):
        await table.update(H, set={"epoch": "two"})
    with pytest.raises(ValueError, match="workflow cannot be removed"):
        await table.update(H, set={"workflow": None})
    assert await table.get(H) == header()
    assert await table.get(Key("R#1", "C#1")) is None


# --- conditions and updates --------------------------------------------------------------------

NEW = header(workflow="new")
FOUND = {"none": None, "absent": header(), "five": header(due=5)}
CHECKS: list[tuple[Op, Any, set[str]]] = [
    # a test of `due`, and of which of the found ones it is true
    ("=", 5, {"five"}),
    ("=", 6, set()),
    ("<", 6, {"five"}),
    ("<", 5, set()),
    ("<=", 5, {"five"}),
    ("<=", 4, set()),
    ("in", [4, 5], {"five"}),
    ("in", [], set()),
    ("absent", None, {"none", "absent"}),
    ("present", None, {"five"}),
]


@pytest.mark.parametrize(("op", "value", "true_of"), CHECKS)
@every_table
async def test_checks(table: WholeTable, op: Op, value: Any, true_of: set[str]) -> None:
    """Each test is true when its sentence says, also of no item and of an absent attribute."""
    for name, item in FOUND.items():
        await table.delete([H])
        if item is not None:
            await table.put(H, item)
        written = await table.update(H, when=one("due", op, value), create=NEW)
        assert written.ok is (name in true_of), name
        assert written.item == (item or NEW if written.ok else item)
        assert await table.get(H) == written.item


@every_table
async def test_a_condition_is_alternatives_of_checks(table: WholeTable) -> None:
    """One alternative of which all checks hold is enough, and is needed."""
    await table.put(H, header(state=RunState.PARKED, epoch=3))
    parked = Check("state", "=", RunState.PARKED)
    epoch, other = Check("epoch", "=", 3), Check("epoch", "=", 4)
    assert (await table.update(H, when=[[other], [parked, epoch]])).ok
    assert not (await table.update(H, when=[[parked, other], [other]])).ok
    assert not (await table.update(H, when=[[other]])).ok


@every_table
async def test_update_sets_removes_and_adds(table: WholeTable) -> None:
    """`set` replaces, None removes, `add` counts (from zero if absent); the rest stays."""
    await table.put(H, header(owner="a", cancel="why", gap=3, seed=9))
    changes = {"owner": "b", "cancel": None, "state": "parked", "tail": [ENTRY]}
    written = await table.update(H, set=changes, add={"gap": -5, "due": 7})
    expected = header(owner="b", gap=-2, seed=9, due=7, state=RunState.PARKED, tail=[ENTRY])
    assert written.ok
    assert written.item == await table.get(H) == expected
    assert type(written.item.state) is RunState
    # What is removed is its default again.
    await table.update(H, set={"owner": None, "tail": None, "gap": None})
    assert await table.get(H) == header(seed=9, due=7, state=RunState.PARKED)


@every_table
async def test_set_and_add_of_one_attribute_is_refused(table: WholeTable) -> None:
    """As in DynamoDB, an attribute cannot be set and added to in one write."""
    await table.put(H, header())
    with pytest.raises(ValueError, match="epoch"):
        await table.update(H, set={"epoch": 1}, add={"epoch": 1})
    with pytest.raises((AttributeError, TypeError)):
        await table.update(H, set={"no_such": 1})
    assert await table.get(H) == header()


@every_table
async def test_a_failed_condition_changes_nothing_and_tells_what_is_there(
    table: WholeTable,
) -> None:
    """`ok` is False, and `item` the whole item as it was found."""
    await table.put(H, header(epoch=3))
    written = await table.update(H, when=one("epoch", "=", 2), set={"owner": "me"})
    assert not written.ok
    assert written.item == await table.get(H) == header(epoch=3)


@every_table
async def test_an_update_of_a_missing_item_fails(table: WholeTable) -> None:
    """Without `create` a missing item fails the write, even with no condition."""
    for when in ([], one("epoch", "absent")):
        written = await table.update(H, when=when, set={"epoch": 1})
        assert (written.ok, written.item, await table.get(H)) == (False, None, None)


@every_table
async def test_create_is_the_item_that_is_changed_where_there_is_none(table: WholeTable) -> None:
    """The condition is tested against no item; `create` itself is left as it was."""
    new = header()
    assert not (await table.update(H, when=one("epoch", "=", 0), create=new)).ok
    made = await table.update(H, when=one("epoch", "absent"), add={"epoch": 1}, create=new)
    assert made.ok
    assert made.item == await table.get(H) == header(epoch=1)
    again = await table.update(H, add={"epoch": 1}, create=header(owner="never"))
    assert again.item == await table.get(H) == header(epoch=2)
    assert new == header()


# --- query -------------------------------------------------------------------------------------


@every_table
async def test_query_is_one_partition_and_prefix_in_order(table: WholeTable) -> None:
    """Only items of the partition with the prefix come, in sort-key order or its reverse."""
    names = ["b", "a", "a\U0001f600", "a\ue000", "a\0", "é"]
    for name in names:
        await table.put(Key("R#1", f"O#{name}"), operation(name))
        await table.put(Key("R#10", f"O#{name}"), operation(name))
    await table.put(Key("R#1", "O"), operation("bare"))
    await table.put(H, header())
    expected = [f"O#{name}" for name in sorted(names)]
    assert sorts(await table.query("R#1", "O#")) == expected
    assert sorts(await table.query("R#1", "O#", reverse=True)) == expected[::-1]
    assert sorts(await table.query("R#1")) == ["H", "O", *expected]
    assert sorts(await table.query("R#1", "O#a")) == [x for x in expected if "a" in x]
    assert sorts(await table.query("R#2")) == []
    page = await table.query("R#1", "H")
    assert page == Page([(H, header())], None)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [1, 3, 4, 7, 8])
@every_table
async def test_pages(table: WholeTable, limit: int, reverse: bool) -> None:
    """Pages hold at most `limit` items; together they are the whole, each item once."""
    expected = [f"O#{i}" for i in range(7)]
    for sort in expected:
        await table.put(Key("R#1", sort), operation(sort))
    seen: list[str] = []
    cursor: str | None = None
    while cursor is not None or not seen:
        page = await table.query("R#1", "O#", limit=limit, cursor=cursor, reverse=reverse)
        assert len(page.items) <= limit
        seen += sorts(page)
        cursor = page.cursor
    assert seen == (expected[::-1] if reverse else expected)


@every_table
async def test_without_a_limit_all_items_come(table: WholeTable) -> None:
    """A query without `limit` is complete and has no cursor."""
    for i in range(150):
        await table.put(Key("V", f"main#{i:03}"), View(str(i), "main", i))
    page = await table.query("V", "main#")
    assert [view.created for _, view in page.items] == list(range(150))
    assert page.cursor is None


# --- due index, deletes, blobs -----------------------------------------------------------------


@every_table
async def test_due_is_sparse_ordered_and_bounded(table: WholeTable) -> None:
    """Only items with a due time at or before the moment, the earliest first, at most `limit`."""
    for i, due in enumerate([30, 10, None, 20, 40]):
        await table.put(Key(f"R#{i}", "H"), header(due=due))
    await table.put(Key("R#1", "O#x"), operation("x", due=15))
    first = [Due(10, Key("R#1", "H")), Due(15, Key("R#1", "O#x")), Due(20, Key("R#3", "H"))]
    assert await table.due(30, limit=10) == [*first, Due(30, Key("R#0", "H"))]
    assert await table.due(30, limit=2) == first[:2]
    assert await table.due(9, limit=10) == []


@every_table
async def test_the_due_index_follows_the_item(table: WholeTable) -> None:
    """A due time that is moved, removed or deleted with its item is so in the index."""
    await table.put(H, header(due=10))
    await table.update(H, set={"due": 20})
    assert await table.due(100, limit=10) == [Due(20, H)]
    await table.update(H, set={"due": None})
    assert await table.due(100, limit=10) == []
    await table.update(H, set={"due": 30})
    await table.delete([H])
    assert await table.due(100, limit=10) == []


@every_table
async def test_delete(table: WholeTable) -> None:
    """The named items are gone, the others stay, and a missing one is no error."""
    keys = [Key("R#1", f"O#{i}") for i in range(4)]
    for key in keys:
        await table.put(key, operation(key.sort))
    await table.delete([keys[0], keys[2], Key("R#9", "H")])
    assert sorts(await table.query("R#1")) == ["O#1", "O#3"]
    await table.delete([])
    await table.delete([keys[0]])
    assert (await table.put(keys[0], operation("again"), absent=True)).ok


@every_table
async def test_blobs(table: WholeTable) -> None:
    """A blob is kept under its run; the first writing of a name stands."""
    data = bytes(range(256)) * 4000
    await table.put_blob("1", "a", data)
    await table.put_blob("1", "a", b"other")
    await table.put_blob("2", "a", b"")
    assert await table.get_blob("1", "a") == data
    assert await table.get_blob("2", "a") == b""
    with pytest.raises(CheckpointUnreadable):
        await table.get_blob("1", "b")


# --- together ----------------------------------------------------------------------------------


@every_table
async def test_together_sees_its_own_writes_and_answers(table: WholeTable) -> None:
    """Work in `together` may use every method, nests, and its value is the answer."""

    async def work() -> str:
        await table.put(H, header(due=3))
        assert (await table.get(H)).due == 3
        assert await table.due(5, limit=1) == [Due(3, H)]
        await table.put_blob("1", "a", b"x")
        assert await table.get_blob("1", "a") == b"x"
        await table.together(lambda: table.update(H, add={"epoch": 1}))
        await table.put(Key("R#1", "O#x"), operation("x"))
        await table.delete([Key("R#1", "O#x")])
        return sorts(await table.query("R#1"))[0]

    assert await table.together(work) == "H"
    assert await table.get(H) == header(due=3, epoch=1)


@every_table
async def test_together_raises_what_the_work_raises(table: WholeTable) -> None:
    """An error of the work reaches the caller as it is, and the table goes on."""

    class Died(BaseException):
        pass

    for error in (KeyError("mine"), Died(), asyncio.CancelledError()):

        async def work(error: BaseException = error) -> None:
            raise error

        with pytest.raises(type(error)):
            await table.together(work)
    assert (await table.put(H, header())).ok


# --- concurrency -------------------------------------------------------------------------------


@every_table
async def test_no_addition_is_lost(table: WholeTable) -> None:
    """Sixteen tasks that add one each, again and again, make the sum."""
    await table.put(H, header())

    async def work() -> None:
        for _ in range(10):
            await table.update(H, add={"arrivals": 1})

    await asyncio.gather(*(work() for _ in range(16)))
    assert (await table.get(H)).arrivals == 160


@every_table
async def test_one_of_many_wins(table: WholeTable) -> None:
    """Of conditional writes that exclude each other exactly one succeeds; the rest see it."""
    made = await asyncio.gather(*(table.put(H, header(seed=i), absent=True) for i in range(16)))
    assert [write.ok for write in made].count(True) == 1
    assert len({write.item.seed for write in made}) == 1
    free = one("owner", "=", "")
    claims = (table.update(H, when=free, set={"owner": f"p{i}"}) for i in range(16))
    written = await asyncio.gather(*claims)
    (winner,) = [write for write in written if write.ok]
    assert {write.item.owner for write in written} == {winner.item.owner}


@shared_tables
async def test_a_table_serves_the_loops_of_many_threads(table: WholeTable) -> None:
    """Every method may be called from any loop of any thread, and no addition is lost."""

    async def adds(table: WholeTable) -> None:
        for _ in range(20):
            await table.update(H, add={"arrivals": 1})
            assert (await table.get(H)).arrivals > 0

    await table.put(H, header())
    threads = [threading.Thread(target=lambda: asyncio.run(adds(table))) for _ in range(4)]
    for thread in threads:
        thread.start()
    await adds(table)
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert (await table.get(H)).arrivals == 100


@every_table
async def test_a_cancelled_caller_harms_nobody(table: WholeTable) -> None:
    """Whether or not its write happened, the others' did and the table goes on."""
    await table.put(H, header())
    doomed = asyncio.create_task(table.update(H, set={"owner": "doomed"}))
    other = asyncio.create_task(table.update(H, add={"epoch": 1}))
    await asyncio.sleep(0)
    doomed.cancel()
    assert (await other).ok
    await asyncio.wait([doomed])
    found = await table.get(H)
    assert found.epoch == 1
    assert found.owner in {"", "doomed"}


# --- against a model ---------------------------------------------------------------------------

SORTS = ["O#", "O#a", "O#a.2", "O#b"]
KEYS = [Key(partition, sort) for partition in ("R#1", "R#2") for sort in SORTS]

keys = st.sampled_from(KEYS)
dues = st.none() | st.integers(0, 9)
items = st.builds(Operation, st.just("1"), st.just("a"), st.just(Kind.TASK), due=dues)
checks = st.one_of(
    st.builds(Check, st.just("attempts"), st.sampled_from(["=", "<", "<="]), st.integers(0, 3)),
    st.builds(Check, st.just("due"), st.sampled_from(["absent", "present"])),
    st.builds(Check, st.just("due"), st.just("in"), st.lists(st.integers(0, 9))),
)


def call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """A call of a table's method."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


def is_a_former_page_s(query: Call) -> bool:
    """Whether the cursor could be of a former page of the same query."""
    cursor = query[1]["cursor"]
    return cursor is None or cursor.startswith(query[1]["prefix"])


calls = st.one_of(
    call("put", key=keys, item=items, absent=st.booleans()),
    call(
        "update",
        key=keys,
        when=st.lists(st.lists(checks, max_size=2), max_size=2),
        set=st.fixed_dictionaries({"due": dues}),
        add=st.fixed_dictionaries({"attempts": st.integers(-2, 2)}),
        create=st.none() | items,
    ),
    call("delete", keys=st.lists(keys, max_size=3)),
    call(
        "query",
        partition=st.sampled_from(["R#1", "R#2", "R#3"]),
        prefix=st.sampled_from(["", *SORTS]),
        limit=st.none() | st.integers(1, 3),
        cursor=st.none() | st.sampled_from(SORTS),
        reverse=st.booleans(),
    ).filter(is_a_former_page_s),
    call("due", until=st.integers(0, 9), limit=st.integers(1, 4)),
)


class Model:
    """The contract over a plain dict, written to be read rather than to be fast."""

    def __init__(self) -> None:
        self.items: dict[Key, Any] = {}

    def put(self, key: Key, item: Any, absent: bool) -> Written:
        if absent and key in self.items:
            return Written(False, self.items[key])
        self.items[key] = item
        return Written(True, item)

    def update(self, key: Key, when: Any, set: Any, add: Any, create: Any) -> Written:
        found = self.items.get(key)
        base = create if found is None else found
        if base is None or not holds(when, found):
            return Written(False, found)
        attempts = base.attempts + add["attempts"]
        return self.put(key, msgspec.structs.replace(base, attempts=attempts, **set), False)

    def delete(self, keys: list[Key]) -> None:
        self.items = {key: item for key, item in self.items.items() if key not in keys}

    def query(
        self, partition: str, prefix: str, limit: int | None, cursor: str | None, reverse: bool
    ) -> list[tuple[Key, Any]]:
        sorts = sorted(key.sort for key in self.items if key.partition == partition)
        sorts = [sort for sort in sorts if sort.startswith(prefix)]
        if cursor is not None:
            sorts = [sort for sort in sorts if (sort < cursor if reverse else sort > cursor)]
        found = [Key(partition, sort) for sort in (sorts[::-1] if reverse else sorts)]
        return [(key, self.items[key]) for key in found[:limit]]

    def due(self, until: int, limit: int) -> list[Due]:
        found = sorted((item.due, key) for key, item in self.items.items() if item.due is not None)
        return [Due(due, key) for due, key in found if due <= until][:limit]


async def compare(table: WholeTable, story: list[Call]) -> None:
    """Do the same to the table and to a model, and see the same."""
    model = Model()
    for name, arguments in story:
        answer = await getattr(table, name)(**arguments)
        expected = getattr(model, name)(**arguments)
        assert (answer.items if isinstance(answer, Page) else answer) == expected
    for key in KEYS:
        assert await table.get(key) == model.items.get(key)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(story=st.lists(calls, max_size=25))
def test_tables_do_what_a_dict_would(kind: str, story: list[Call]) -> None:
    """Any sequence of calls answers, and leaves, what a plain dict would."""
    run(kind, lambda table: compare(table, story))


@pytest.mark.parametrize("kind", ["sqlite", *POSTGRES])
@settings(max_examples=15, deadline=None)
@given(story=st.lists(calls, max_size=15))
def test_tables_do_together_what_a_dict_would(kind: str, story: list[Call]) -> None:
    """The same holds for a sequence that is one transaction."""
    run(kind, lambda table: table.together(lambda: compare(table, story)))
