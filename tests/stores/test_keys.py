"""Where items live: no two share a place, and each is found by its prefix alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rewake.kinds import Kind
from rewake.ledger import Process, View
from rewake.records import Chunk, Header, Item, Operation
from rewake.stores.items import decode, encode
from rewake.stores.keys import (
    CHUNKS,
    OPERATIONS,
    chunk_key,
    chunk_number,
    header_key,
    log_key,
    logs_of,
    operation_key,
    process_key,
    view_key,
)
from rewake.stores.table import Key
from rewake.streamed import LogBatch

NAMES = st.text("abc.2[]/", min_size=1, max_size=8)


def test_a_key_tells_the_type_of_its_item() -> None:
    """A table decodes an item by its key alone."""
    items: dict[Key, Item] = {
        header_key("r"): Header("r", "main", 5, 1, 1),
        operation_key("r", "Hello"): Operation("r", "Hello", Kind.TASK),
        chunk_key("r", 3, "mark"): Chunk("", []),
        log_key("r", "", 1, 0): LogBatch("r", "", 1, []),
        process_key("p"): Process("p", "here:1"),
        view_key(View("H", "main", 5)): View("H", "main", 5),
    }
    for key, item in items.items():
        assert decode(key, encode(item)) == item


def test_keys_are_where_they_always_were() -> None:
    """The layout is the stored format: a database that is there is still read."""
    assert header_key("r") == header_key("r").__class__("R#r", "H")
    assert operation_key("r", "a/b").sort == "O#a/b"
    assert chunk_key("r", 12, "m").sort == "C#00000012#m"
    assert log_key("r", "a", 2, 3).sort == "L#a#0002#0003"
    assert process_key("p") == Key("P#p", "P")
    assert view_key(View("r", "main", 7)).partition == "V"


@given(st.integers(0, 10**8 - 1), NAMES)
def test_a_chunk_tells_its_number(number: int, mark: str) -> None:
    """Chunks are numbered from 0 in the order in which they were written."""
    assert chunk_number(chunk_key("r", number, mark).sort) == number
    assert chunk_number("") == -1


@given(NAMES, NAMES)
def test_the_log_of_one_operation_is_not_that_of_another(one: str, other: str) -> None:
    """The prefix of a key's log does not catch the log of a key that begins like it."""
    caught = log_key("r", other, 1, 0).sort.startswith(logs_of(one))
    assert caught == (one == other)


@given(st.integers(1, 2**43), st.integers(1, 2**43))
def test_views_are_sorted_newest_first(one: int, other: int) -> None:
    """A list of runs needs no sorting."""
    first, second = (view_key(View("r", "main", each)).sort for each in (one, other))
    assert (first < second) == (one > other)


def test_prefixes_are_apart() -> None:
    """What is read by a prefix is of one type."""
    assert not header_key("r").sort.startswith((OPERATIONS, CHUNKS))
    assert not operation_key("r", CHUNKS).sort.startswith(CHUNKS)
