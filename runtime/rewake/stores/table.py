"""The contract of a database: single-item conditional writes, and one index on due times.

A `Table` holds items (the structs of `rewake.records`) under a partition and a sort key. It is the
part of DynamoDB that DynamoDB does well, and nothing more: no transactions, no scans. Conditions
and changes are data, so that a table can compile them (DynamoDB), or evaluate them under a lock
(memory) or inside a transaction (SQLite). The protocol that keeps a run safe on top of it is
written once, in `rewake.stores.protocol`.
"""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import msgspec

from rewake.records import Item, Millis

T = TypeVar("T")

Op = Literal["=", "<", "<=", "absent", "present", "in"]


class Key(msgspec.Struct, frozen=True, array_like=True, order=True):
    """The place of an item."""

    partition: str
    sort: str


class Check(msgspec.Struct, frozen=True, array_like=True):
    """One test of one attribute of the stored item.

    A missing item has no attributes; an attribute that is None is absent. `=`, `<`, `<=` and
    `in` are false for an absent attribute.
    """

    attribute: str
    op: Op
    value: Any = None

    def holds(self, item: Item | None) -> bool:
        """Whether the test is true of `item`."""
        return holds([[self]], item)

    def holds_of(self, value: Any) -> bool:
        """Whether the test is true of an attribute with this value, which is not None."""
        return _TESTS[self.op](value, self.value)


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    "absent": lambda _, __: False,
    "present": lambda _, __: True,
    "in": lambda actual, value: actual in value,
}
"""The tests of an attribute that is there."""

When = Sequence[Sequence[Check]]
"""A condition: at least one of these alternatives, in which all checks hold. Empty: always."""


def holds(when: When, item: Item | None) -> bool:
    """Whether `item` (None: there is none) meets the condition."""
    # Plain loops: this is tested on every write.
    for checks in when:
        for check in checks:
            actual = None if item is None else getattr(item, check.attribute)
            if actual is None:
                if check.op != "absent":
                    break
            elif not _TESTS[check.op](actual, check.value):
                break
        else:
            return True
    return not when


class Written(msgspec.Struct, frozen=True):
    """The result of a conditional write.

    `item` is the whole item as it stands after the write, or, when the condition did not hold
    (`ok` is False), as it was found: None if there is none.
    """

    ok: bool
    item: Any


class Page(msgspec.Struct, frozen=True):
    """Items in sort-key order, and the cursor of the next page (None: there is none)."""

    items: list[tuple[Key, Any]]
    cursor: str | None


class Spread(msgspec.Struct, frozen=True):
    """How far a table wants items spread over partitions. `stores/layout.py` has what follows.

    It says where stored items lie, so it is one for ever, for each kind of table.
    """

    shards: int = 1
    """Over how many partitions the items lie of what many write at once. 1: all stay together."""
    first: int = 256
    """So many operations of a run lie together, at least: only what is wider is spread."""


class Due(msgspec.Struct, frozen=True, array_like=True, order=True):
    """An entry of the due index."""

    due: Millis
    key: Key


class Indexed(NamedTuple):
    """Where an item stands in the due index: its due time in the part of its tag."""

    due: Millis
    tag: str


def indexed(item: Item | None) -> Indexed | None:
    """Where an item stands in the due index; None: not in it."""
    due: Millis | None = getattr(item, "due", None)
    return None if due is None else Indexed(due, getattr(item, "tag", ""))


def is_moved(before: Item | None, after: Item | None) -> bool:
    """Whether an item stands elsewhere in the due index than before, or no more, or now does."""
    due: Millis | None = getattr(before, "due", None)
    if due != getattr(after, "due", None):
        return True
    return due is not None and getattr(before, "tag", "") != getattr(after, "tag", "")


class Table(Protocol):
    """The contract that every backend keeps; `rewake.conformance.TableContract` checks it.

    Reads of items are strongly consistent. The due index may lag behind the items; it is a
    hint, and its reader checks the item. It has a part for each tag, and an item is in the part
    of its `tag` (one without that attribute, or with an empty one, in that of the empty tag), so
    that whoever looks at one part never passes what waits in another. Every method may raise
    `StoreUnavailable`, and a write that did so may or may not have happened.
    """

    @property
    def joins(self) -> bool:
        """Whether `together` makes one write of many, so that none of them waits for another."""
        ...

    @property
    def spread(self) -> Spread:
        """How far items are spread, because one partition takes so many writes and no more."""
        ...

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        ...

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, which differ, in their order; None for each that is missing.

        Any number of keys. Each is read for itself: they need not be of one moment.
        """
        ...

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        ...

    async def update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Item | None = None,
    ) -> Written:
        """Set attributes (None removes one) and add to numbers, if `when` holds.

        A missing item fails the write, unless `create` is given: then the condition is tested
        against no item, and the changes are made to `create`. A due time is only set, and never
        added to.
        """
        ...

    async def query(
        self,
        partition: str,
        prefix: str = "",
        *,
        limit: int | None = None,
        cursor: str | None = None,
        reverse: bool = False,
    ) -> Page:
        """Items of a partition whose sort key starts with `prefix`, in sort-key order.

        `limit` bounds the items returned; `cursor` comes from the page before, and is opaque.
        """
        ...

    async def due(
        self,
        until: Millis,
        *,
        limit: int,
        tag: str = "",
        partition: str | None = None,
        after: Due | None = None,
    ) -> list[Due]:
        """The earliest entries of the due index at or before `until`, by due time.

        Those of one moment come in an order of the table's own, which is always the same. Only
        those of `tag`; with `partition`, only those of its items; with `after`, only those behind
        that entry, whether or not it is there. One with an empty key is before all of its moment.
        """
        ...

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items; a missing one is no error.

        With `when`, each only if its condition holds at that moment; others stay, without error.
        """
        ...

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`, and its calls of this table as close together as the backend can.

        SQLite makes one transaction of it, and one commit of all that is waiting. If another of
        these fails, it may run `work` again, after it has undone what that wrote. Others only run
        it: the protocol never relies on more than single writes.
        """
        ...

    async def close(self) -> None:
        """Close the database."""
        ...
