"""Lines of log in a bounded space."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rewake.values.loglines import BATCH, LIMIT, LONGEST, LogLines


@given(st.lists(st.text("ab\n", max_size=6), max_size=20))
def test_pieces_make_the_lines_of_the_whole(pieces: list[str]) -> None:
    """Text that is printed in any pieces gives the lines of the whole text."""
    lines = LogLines()
    for at, piece in enumerate(pieces):
        lines.write(at, "STDOUT", piece)
    found = [line.message for batch in lines.take(0) for line in batch]
    whole = "".join(pieces).split("\n")
    assert found == (whole if whole[-1] else whole[:-1])
    assert lines.take(0) == []


@given(st.lists(st.integers(0, 2 * LONGEST), max_size=150))
def test_nothing_grows_beyond_its_bound(lengths: list[int]) -> None:
    """No line, batch or log is larger than it may be, and none is empty or lost within that."""
    lines = LogLines()
    for length in lengths:
        lines.add(1, "INFO", "x" * length)
    batches = lines.take(1)
    flat = [line for batch in batches for line in batch]
    size = sum(len(line.message) for line in flat)
    assert size <= LIMIT + 2 * LONGEST
    assert all(len(line.message) <= LONGEST + 50 for line in flat)
    assert all(sum(len(line.message) for line in batch) <= BATCH for batch in batches if batch[1:])
    assert all(batches)
    assert len(flat) == len(lengths) or size > LIMIT - 2 * LONGEST


def test_lines_of_nothing_are_bounded_too() -> None:
    """A line's end counts, so that a log of empty lines has an end."""
    lines = LogLines()
    for _ in range(LIMIT + 10):
        lines.add(1, "INFO", "")
    assert sum(len(batch) for batch in lines.take(1)) <= LIMIT + 1


def test_what_is_kept_already_counts() -> None:
    """A log that goes on in another process has only the room that is left."""
    first, second = LogLines(), LogLines()
    for _ in range(2 * LIMIT // LONGEST):
        first.add(1, "INFO", "x" * LONGEST)
    for batch in first.take(1):
        second.count(batch)
    second.add(2, "INFO", "too late")
    assert second.take(2) == []


def test_a_progress_bar_costs_what_it_prints() -> None:
    """Pieces without an end are joined once; a long line ends; so does one by a carriage return."""
    lines = LogLines()
    for _ in range(LIMIT // 4):
        lines.write(0, "STDOUT", ".......... ")
    (batches,) = [[line for batch in lines.take(1) for line in batch]]
    assert sum(len(line.message) for line in batches) <= LIMIT + LONGEST
    assert max(len(line.message) for line in batches) < 2 * LONGEST

    bar = LogLines()
    bar.write(0, "STDOUT", "10 %\r20 %\r")
    bar.write(0, "STDOUT", "100 %\r\ndone\n")
    said = [line.message for batch in bar.take(1) for line in batch]
    assert said == ["10 %", "20 %", "100 %", "done"]
