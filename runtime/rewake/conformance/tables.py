"""What a `Table` promises, sentence by sentence."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewake.conformance.concurrency import ConcurrentTables
from rewake.conformance.model import KEYS, Call, Model, calls
from rewake.conformance.running import with_a_table
from rewake.conformance.samples import (
    CHECKS,
    ENTRY,
    FOUND,
    NEW,
    NOW,
    SAMPLES,
    H,
    header,
    one,
    operation,
    sorts,
)
from rewake.errors import CheckpointUnreadable, ReadableElsewhere
from rewake.ledger import View
from rewake.records import Item
from rewake.states import RunState
from rewake.stores.shelf import Shelf
from rewake.stores.table import Check, Due, Key, Op, Page, Table

_stories = st.lists(calls, max_size=25)


class TableContract(ConcurrentTables):
    """The tests of a table. A class that inherits them says how to make one, by `table`.

    `lag`, `threads` and `examples` say what may be expected of it.
    """

    # --- get and put ---------------------------------------------------------------------------

    @pytest.mark.parametrize(("key", "item"), SAMPLES, ids=lambda value: type(value).__name__)
    @with_a_table
    async def test_what_was_put_is_got(self, table: Table, key: Key, item: Item) -> None:
        """Every type of item comes back equal, and of its own type."""
        assert (await table.put(key, item)).ok
        found = await table.get(key)
        assert type(found) is type(item)
        assert msgspec.json.encode(found) == msgspec.json.encode(item)

    @with_a_table
    async def test_a_missing_item_is_none(self, table: Table) -> None:
        """`get` answers None where there is no item, in a known partition or not."""
        assert await table.get(H) is None
        await table.put(H, header())
        assert await table.get(Key("R#1", "O#x")) is None

    @with_a_table
    async def test_many_are_got_in_the_order_asked(self, table: Table) -> None:
        """Of any partitions and types, however many; None stands for each that is missing."""
        keys = [Key(f"R#{n % 7}", f"O#{n}") for n in range(230)]
        for key in keys[::2]:
            await table.put(key, operation(key.sort))
        await table.put(H, header())
        found = await table.get_many([H, *keys[::-1]])
        expected = [operation(key.sort) if n % 2 == 0 else None for n, key in enumerate(keys)]
        assert found == [header(), *expected[::-1]]
        assert await table.get_many([]) == []

    @with_a_table
    async def test_many_are_read_as_they_were_written(self, table: Table) -> None:
        """What was written before the call is found, like by `get`."""
        for epoch in range(3):
            await table.put(H, header(epoch=epoch))
            assert await table.get_many([Key("R#2", "H"), H]) == [None, header(epoch=epoch)]

    @with_a_table
    async def test_put_writes_the_whole_item(self, table: Table) -> None:
        """A second `put` leaves nothing of the first, and answers what now stands."""
        await table.put(H, header(due=5, cancel="why"))
        written = await table.put(H, header(epoch=2))
        assert written.ok
        assert written.item == await table.get(H) == header(epoch=2)
        await self.due(table, [], 100, limit=10)

    @with_a_table
    async def test_put_absent_never_overwrites(self, table: Table) -> None:
        """With `absent`, the first one stays and is answered to the second."""
        assert (await table.put(H, header(epoch=1), absent=True)).ok
        second = await table.put(H, header(epoch=2), absent=True)
        assert not second.ok
        assert second.item == await table.get(H) == header(epoch=1)

    @with_a_table
    async def test_nothing_is_shared_by_reference(self, table: Table) -> None:
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

    @with_a_table
    async def test_what_cannot_be_read_back_is_not_written(self, table: Table) -> None:
        """An item under another type's key, or an attribute of the wrong type, is refused."""
        with pytest.raises(CheckpointUnreadable, match="no form that this Rewake knows") as wrong:
            await table.put(Key("R#1", "C#1"), header())
        # It is ours, and wrong: no newer version is waited for, which could read it.
        assert not isinstance(wrong.value, ReadableElsewhere)
        await table.put(H, header())
        with pytest.raises(CheckpointUnreadable):
            await table.update(H, set={"epoch": "two"})
        with pytest.raises(ValueError, match="workflow cannot be removed"):
            await table.update(H, set={"workflow": None})
        assert await table.get(H) == header()
        assert await table.get(Key("R#1", "C#1")) is None

    # --- conditions and updates ----------------------------------------------------------------

    @pytest.mark.parametrize(("op", "value", "true_of"), CHECKS)
    @with_a_table
    async def test_checks(self, table: Table, op: Op, value: Any, true_of: set[str]) -> None:
        """Each test is true when its sentence says, also of no item and of an absent attribute."""
        for name, item in FOUND.items():
            await table.delete([H])
            if item is not None:
                await table.put(H, item)
            written = await table.update(H, when=one("due", op, value), create=NEW)
            assert written.ok is (name in true_of), name
            assert written.item == (item or NEW if written.ok else item)
            assert await table.get(H) == written.item

    @with_a_table
    async def test_a_condition_is_alternatives_of_checks(self, table: Table) -> None:
        """One alternative of which all checks hold is enough, and is needed."""
        await table.put(H, header(state=RunState.PARKED, epoch=3))
        parked = Check("state", "=", RunState.PARKED)
        epoch, other = Check("epoch", "=", 3), Check("epoch", "=", 4)
        assert (await table.update(H, when=[[other], [parked, epoch]])).ok
        assert not (await table.update(H, when=[[parked, other], [other]])).ok
        assert not (await table.update(H, when=[[other]])).ok

    @with_a_table
    async def test_update_sets_removes_and_adds(self, table: Table) -> None:
        """`set` replaces, None removes, `add` counts (from zero if absent); the rest stays."""
        await table.put(H, header(owner="a", cancel="why", gap=3, seed=9))
        changes = {"owner": "b", "cancel": None, "state": "parked", "tail": [ENTRY]}
        written = await table.update(H, set=changes, add={"gap": -5, "wake": 7})
        expected = header(owner="b", gap=-2, seed=9, wake=7, state=RunState.PARKED, tail=[ENTRY])
        assert written.ok
        assert written.item == await table.get(H) == expected
        assert type(written.item.state) is RunState
        # What is removed is its default again.
        await table.update(H, set={"owner": None, "tail": None, "gap": None})
        assert await table.get(H) == header(seed=9, wake=7, state=RunState.PARKED)

    @with_a_table
    async def test_set_and_add_of_one_attribute_is_refused(self, table: Table) -> None:
        """As in DynamoDB, an attribute cannot be set and added to; a due time only set."""
        await table.put(H, header())
        with pytest.raises(ValueError, match="epoch"):
            await table.update(H, set={"epoch": 1}, add={"epoch": 1})
        with pytest.raises(ValueError, match="due"):
            await table.update(H, add={"due": 1})
        with pytest.raises((AttributeError, TypeError)):
            await table.update(H, set={"no_such": 1})
        assert await table.get(H) == header()

    @with_a_table
    async def test_a_failed_condition_changes_nothing_and_tells_what_is_there(
        self, table: Table
    ) -> None:
        """`ok` is False, and `item` the whole item as it was found."""
        await table.put(H, header(epoch=3))
        written = await table.update(H, when=one("epoch", "=", 2), set={"owner": "me"})
        assert not written.ok
        assert written.item == await table.get(H) == header(epoch=3)

    @with_a_table
    async def test_an_update_of_a_missing_item_fails(self, table: Table) -> None:
        """Without `create` a missing item fails the write, even with no condition."""
        for when in ([], one("epoch", "absent")):
            written = await table.update(H, when=when, set={"epoch": 1})
            assert (written.ok, written.item, await table.get(H)) == (False, None, None)

    @with_a_table
    async def test_create_is_the_item_that_is_changed_where_there_is_none(
        self, table: Table
    ) -> None:
        """The condition is tested against no item; `create` itself is left as it was."""
        new = header()
        assert not (await table.update(H, when=one("epoch", "=", 0), create=new)).ok
        made = await table.update(H, when=one("epoch", "absent"), add={"epoch": 1}, create=new)
        assert made.ok
        assert made.item == await table.get(H) == header(epoch=1)
        again = await table.update(H, add={"epoch": 1}, create=header(owner="never"))
        assert again.item == await table.get(H) == header(epoch=2)
        assert new == header()

    @with_a_table
    async def test_what_a_newer_version_wrote_survives(self, table: Table) -> None:
        """An update leaves attributes as they are that this version does not know."""
        await table.put(H, header(owner="a"))
        if await self.stored(table, H, novelty="kept") is None:
            pytest.skip("what is stored cannot be looked at")
        assert await table.get(H) == header(owner="a")
        await table.update(H, set={"owner": "b", "due": 5}, add={"arrivals": 1})
        await table.update(H, set={"owner": None, "due": None})
        assert await table.get(H) == header(arrivals=1)
        stored = await self.stored(table, H)
        assert stored is not None
        assert stored["novelty"] == "kept"

    # --- query ---------------------------------------------------------------------------------

    @with_a_table
    async def test_query_is_one_partition_and_prefix_in_order(self, table: Table) -> None:
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
    @with_a_table
    async def test_pages(self, table: Table, limit: int, reverse: bool) -> None:
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

    @with_a_table
    async def test_without_a_limit_all_items_come(self, table: Table) -> None:
        """A query without `limit` is complete and has no cursor."""
        for i in range(150):
            await table.put(Key("V", f"main#{i:03}"), View(str(i), "main", i))
        page = await table.query("V", "main#")
        assert [view.created for _, view in page.items] == list(range(150))
        assert page.cursor is None

    # --- due index, deletes --------------------------------------------------------------------

    @with_a_table
    async def test_due_is_sparse_ordered_and_bounded(self, table: Table) -> None:
        """Only items with a due time up to the moment, the earliest first, at most `limit`."""
        for i, due in enumerate([30, 10, None, 20, 40]):
            await table.put(Key(f"R#{i}", "H"), header(due=due))
        await table.put(Key("R#1", "O#x"), operation("x", due=15))
        first = [Due(10, Key("R#1", "H")), Due(15, Key("R#1", "O#x")), Due(20, Key("R#3", "H"))]
        await self.due(table, [*first, Due(30, Key("R#0", "H"))], 30, limit=10)
        assert await table.due(30, limit=2) == first[:2]
        assert await table.due(9, limit=10) == []

    @with_a_table
    async def test_the_due_index_follows_the_item(self, table: Table) -> None:
        """A due time that is moved, removed or deleted with its item is so in the index."""
        await table.put(H, header(due=10))
        await table.update(H, set={"due": 20})
        await self.due(table, [Due(20, H)], 100, limit=10)
        await table.update(H, set={"due": None})
        await self.due(table, [], 100, limit=10)
        await table.update(H, set={"due": 30})
        await table.delete([H])
        await self.due(table, [], 100, limit=10)

    @pytest.mark.parametrize("tag", ["", "gpu"])
    @pytest.mark.parametrize("partition", [None, "R#1"])
    @with_a_table
    async def test_the_due_index_is_read_in_pages(
        self, table: Table, partition: str | None, tag: str
    ) -> None:
        """Pages of any size are the whole in one order, also of a moment; none comes twice.

        The entry behind which one goes on need not be there any more, and one with an empty key is
        before its moment. What has another tag is never among them.
        """
        every = [Due(NOW + 50, Key(f"R#{run}", f"O#{n}")) for run in "12" for n in range(6)]
        if not tag:
            every += [Due(NOW + 10 * n, Key(f"R#{run}", "H")) for n, run in enumerate("12", 1)]
        for due in every:
            sort = due.key.sort
            item = header() if sort == "H" else operation(sort, tag=tag)
            item.due = due.due
            await table.put(due.key, item)
            other = Key(due.key.partition, f"O#other-{due.due}{sort}")
            apart = operation(other.sort, due=due.due, tag="" if tag else "gpu")
            await table.put(other, apart)
        whole = await self.due(table, every, NOW + 99, limit=20, tag=tag)
        wanted = [due for due in whole if partition in (None, due.key.partition)]
        asked: dict[str, Any] = {"partition": partition, "tag": tag}
        assert await table.due(NOW + 50, limit=20, **asked) == wanted
        of_one = [due for due in wanted if due.due == NOW + 50]
        for moment, left in ((NOW + 50, of_one), (NOW + 51, [])):
            before = Due(moment, Key("", ""))
            assert await table.due(NOW + 99, limit=20, after=before, **asked) == left
        for size in (1, 2, 3, 20):
            seen: list[Due] = []
            while page := await table.due(
                NOW + 99, limit=size, after=seen[-1] if seen else None, **asked
            ):
                seen += page
            assert seen == wanted
        await table.delete([wanted[2].key])
        await self.due(table, [wanted[3]], NOW + 99, limit=1, after=wanted[2], **asked)
        assert await table.due(NOW + 9, limit=1, after=wanted[0], **asked) == []

    @with_a_table
    async def test_a_tag_is_a_part_of_the_due_index(self, table: Table) -> None:
        """An item is found under its tag alone, and follows it, also if its due time stays."""
        key = Key("R#1", "O#a")

        async def is_found(*tags: str) -> None:
            for tag in ("", "cpu", "gpu"):
                wanted = [Due(5, key)] if tag in tags else []
                await self.due(table, wanted, 9, limit=9, tag=tag)

        await table.update(key, create=operation("a", tag="gpu"), set={"due": 5})
        await is_found("gpu")
        await table.update(key, set={"owner": "me"})
        await is_found("gpu")
        await table.update(key, set={"tag": "cpu"})
        await is_found("cpu")
        await table.update(key, set={"due": 6})
        await self.due(table, [Due(6, key)], 9, limit=9, tag="cpu")
        await table.update(key, set={"tag": "", "due": 5})
        await is_found("")
        await table.update(key, set={"tag": "gpu", "due": None})
        await is_found()
        await table.update(key, set={"due": 5})
        await is_found("gpu")
        await table.put(key, operation("a", due=5))
        await is_found("")
        await table.put(key, operation("a", due=5, tag="gpu"))
        await table.delete([key])
        await is_found()

    @with_a_table
    async def test_delete(self, table: Table) -> None:
        """The named items are gone, the others stay, and a missing one is no error."""
        keys = [Key("R#1", f"O#{i}") for i in range(4)]
        for key in keys:
            await table.put(key, operation(key.sort))
        await table.delete([keys[0], keys[2], Key("R#9", "H")])
        assert sorts(await table.query("R#1")) == ["O#1", "O#3"]
        await table.delete([])
        await table.delete([keys[0]])
        assert (await table.put(keys[0], operation("again"), absent=True)).ok

    @with_a_table
    async def test_delete_on_a_condition(self, table: Table) -> None:
        """Each item is removed only if the condition holds of it; the others stay, in silence."""
        keys = [Key("R#1", f"O#{i}") for i in range(3)]
        for attempts, key in enumerate(keys):
            await table.put(key, operation(key.sort, attempts=attempts, due=5))
        few = one("attempts", "<", 2)
        await table.delete([*keys, Key("R#9", "O#x")], when=few)
        assert sorts(await table.query("R#1")) == ["O#2"]
        await self.due(table, [Due(5, keys[2])], 9, limit=9)
        await table.delete(keys, when=[*few, *one("attempts", "=", 2)])
        assert sorts(await table.query("R#1")) == []

    # --- together ------------------------------------------------------------------------------

    @with_a_table
    async def test_together_sees_its_own_writes_and_answers(self, table: Table) -> None:
        """Work in `together` may use every method, nests, and its value is the answer."""

        async def work() -> str:
            await table.put(H, header(due=3))
            assert (await table.get(H)).due == 3
            await self.due(table, [Due(3, H)], 5, limit=1)
            if isinstance(table, Shelf):
                await table.put_blob("1", "a", b"x")
                assert await table.get_blob("1", "a") == b"x"
            await table.together(lambda: table.update(H, add={"epoch": 1}))
            await table.put(Key("R#1", "O#x"), operation("x"))
            await table.delete([Key("R#1", "O#x")])
            return sorts(await table.query("R#1"))[0]

        assert await table.together(work) == "H"
        assert await table.get(H) == header(due=3, epoch=1)

    @with_a_table
    async def test_together_raises_what_the_work_raises(self, table: Table) -> None:
        """An error of the work reaches the caller as it is, and the table goes on."""

        class Died(BaseException):
            pass

        for error in (KeyError("mine"), Died(), asyncio.CancelledError()):

            async def work(error: BaseException = error) -> None:
                raise error

            with pytest.raises(type(error)):
                await table.together(work)
        assert (await table.put(H, header())).ok

    # --- against a model -----------------------------------------------------------------------

    def test_tables_do_what_a_dict_would(self) -> None:
        """Any sequence of calls answers, and leaves, what a plain dict would."""

        @settings(max_examples=self.examples, deadline=None)
        @given(story=_stories)
        def told(story: list[Call]) -> None:
            self.run(lambda table: self._compare(table, story))

        told()

    def test_tables_do_together_what_a_dict_would(self) -> None:
        """The same holds for a sequence that is one transaction, where there are such."""

        @settings(max_examples=max(1, self.examples // 4), deadline=None)
        @given(story=_stories)
        def told(story: list[Call]) -> None:
            self.run(lambda table: table.together(lambda: self._compare(table, story)))

        told()

    async def _compare(self, table: Table, story: list[Call]) -> None:
        """Do the same to the table and to a model, and see the same."""
        model = Model()
        for name, arguments in story:
            expected = getattr(model, name)(**arguments)
            if name == "due":
                whole = await self.due(table, expected, **{**arguments, "limit": len(KEYS)})
                assert await table.due(**arguments) == whole[: arguments["limit"]]
                continue
            answer = await getattr(table, name)(**arguments)
            assert (answer.items if isinstance(answer, Page) else answer) == expected
        for key in KEYS:
            assert await table.get(key) == model.items.get(key)
