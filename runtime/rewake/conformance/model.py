"""A table written to be read rather than to be fast, and random stories of calls for it."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from rewake.kinds import Kind
from rewake.records import Operation
from rewake.stores.table import Check, Due, Key, Written, holds

Call = tuple[str, dict[str, Any]]

SORTS = ["O#", "O#a", "O#a.2", "O#b"]
KEYS = [Key(partition, sort) for partition in ("R#1", "R#2") for sort in SORTS]

_keys = st.sampled_from(KEYS)
_dues = st.none() | st.integers(0, 9)
_tags = st.sampled_from(["", "gpu"])
_items = st.builds(Operation, st.just("1"), st.just("a"), st.just(Kind.TASK), due=_dues, tag=_tags)
_checks = st.one_of(
    st.builds(Check, st.just("attempts"), st.sampled_from(["=", "<", "<="]), st.integers(0, 3)),
    st.builds(Check, st.just("due"), st.sampled_from(["absent", "present"])),
    st.builds(Check, st.just("due"), st.just("in"), st.lists(st.integers(0, 9))),
)
_conditions = st.lists(st.lists(_checks, max_size=2), max_size=2)


def _call(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Call]:
    """A call of a table's method."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


def _is_a_former_page_s(query: Call) -> bool:
    """Whether the cursor could be of a former page of the same query."""
    cursor = query[1]["cursor"]
    return cursor is None or cursor.startswith(query[1]["prefix"])


calls: st.SearchStrategy[Call] = st.one_of(
    _call("put", key=_keys, item=_items, absent=st.booleans()),
    _call(
        "update",
        key=_keys,
        when=_conditions,
        set=st.fixed_dictionaries({"due": _dues}, optional={"tag": _tags}),
        add=st.fixed_dictionaries({"attempts": st.integers(-2, 2)}),
        create=st.none() | _items,
    ),
    _call("delete", keys=st.lists(_keys, max_size=3), when=_conditions),
    _call("get_many", keys=st.lists(_keys, max_size=3)),
    _call(
        "query",
        partition=st.sampled_from(["R#1", "R#2", "R#3"]),
        prefix=st.sampled_from(["", *SORTS]),
        limit=st.none() | st.integers(1, 3),
        cursor=st.none() | st.sampled_from(SORTS),
        reverse=st.booleans(),
    ).filter(_is_a_former_page_s),
    _call("due", until=st.integers(0, 9), limit=st.integers(1, 4), tag=_tags),
)
"""A call of a table, with everything that it may be asked for."""


class Model:
    """The contract over a plain dict."""

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

    def delete(self, keys: list[Key], when: Any) -> None:
        gone = {key for key in keys if key in self.items and holds(when, self.items[key])}
        self.items = {key: item for key, item in self.items.items() if key not in gone}

    def get_many(self, keys: list[Key]) -> list[Any]:
        return [self.items.get(key) for key in keys]

    def query(
        self, partition: str, prefix: str, limit: int | None, cursor: str | None, reverse: bool
    ) -> list[tuple[Key, Any]]:
        sorts = sorted(key.sort for key in self.items if key.partition == partition)
        sorts = [sort for sort in sorts if sort.startswith(prefix)]
        if cursor is not None:
            sorts = [sort for sort in sorts if (sort < cursor if reverse else sort > cursor)]
        found = [Key(partition, sort) for sort in (sorts[::-1] if reverse else sorts)]
        return [(key, self.items[key]) for key in found[:limit]]

    def due(self, until: int, tag: str, **_: Any) -> list[Due]:
        """All of them: where a page ends within a moment, only a table knows with which."""
        found = [(key, item) for key, item in self.items.items() if item.tag == tag]
        due = sorted((item.due, key) for key, item in found if item.due is not None)
        return [Due(moment, key) for moment, key in due if moment <= until]
