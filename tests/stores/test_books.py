"""The book of a limit, by itself: who comes in, in which order, and when a rate lets one begin."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake.ledger import Limit, Waiter
from rewake.limited import Limited, LimitKind
from rewake.stores import books

CONCURRENCY = Limited(LimitKind.CONCURRENCY, "l", "", 2)


def in_order(arrivals: list[tuple[str, int]]) -> list[int]:
    """The numbers of those who came, by share and priority, in the order of their line."""
    book, places = books.blank(CONCURRENCY), []
    for number, (share, priority) in enumerate(arrivals):
        book, time = books.queued(book, share)
        places.append((books.place_of(time, priority, number, ""), number))
    return [number for _, number in sorted(places)]


def test_who_came_first_goes_first() -> None:
    """Of one share and priority the line is in the order of arrival."""
    assert in_order([("a", 0)] * 5) == [0, 1, 2, 3, 4]


def test_shares_alternate() -> None:
    """One that comes late has its turn after one more of each other share."""
    assert in_order([("a", 0)] * 4 + [("b", 0)] * 2) == [0, 4, 1, 5, 2, 3]


def test_nobody_is_passed_for_ever() -> None:
    """Of a higher priority a thousand go first, and no more than that for each level."""
    late = [("b", 1)] * 1_500
    found = in_order([("a", 0), *late])
    assert found.index(0) == 1_000


@given(st.lists(st.sampled_from("abcde"), max_size=60), st.integers(0, 20))
def test_no_more_hold_it_than_it_allows(arrivals: list[str], leave: int) -> None:
    """Whoever comes and leaves, the holders are few, each is one, and all get in at last."""
    book, line, came = books.blank(CONCURRENCY), list[Waiter](), list[str]()
    for number, share in enumerate(arrivals):
        who = Waiter(f"r{number}", "k", since=number)
        book, time = books.queued(book, share)
        line.append(Waiter(who.run, who.key, time=time, since=number))
        line.sort(key=lambda each: (each.time, each.since))
        if number % 3 == leave % 3 and book.holders:
            first = book.holders[0]
            book = books.left(book, first.run, first.key, first.grant)
        book, new = books.let_in(book, line[:3], f"g{number}", number, 2)
        line = [each for each in line if each not in new]
        came += [each.run for each in new]
        assert len(book.holders) <= 2
    while line:
        first = book.holders[0]
        book = books.left(book, first.run, first.key, first.grant)
        book, new = books.let_in(book, line[:3], f"e{len(line)}", 99, 2)
        line = [each for each in line if each not in new]
        came += [each.run for each in new]
    assert sorted(came) == sorted(f"r{number}" for number in range(len(arrivals)))


def test_a_place_is_given_back_by_its_grant_alone() -> None:
    """Who has read an older state gives nothing back that was taken anew since."""
    who = Waiter("r", "k")
    book = books.entered(books.blank(CONCURRENCY), who, "g1", 5)
    again = books.entered(book, who, "g2", 6)
    assert books.left(again, "r", "k", "g1") == again
    assert not books.left(again, "r", "k", "g2").holders


@given(
    st.integers(1, 50),
    st.integers(1, 5_000),
    st.integers(1, 5),
    st.lists(st.integers(0, 400), min_size=1, max_size=80),
)
def test_a_rate_is_kept_over_any_span(count: int, per: int, burst: int, pauses: list[int]) -> None:
    """In any span no more begin than its length allows, and as many more as a burst."""
    limit = Limited(LimitKind.RATE, "l", "", count, per, burst)
    book, now, moments = Limit(limit.id, limit.kind, "l"), 1_000_000, list[int]()
    for pause in pauses:
        now += pause
        book, moment = books.reserved(book, limit, now, wait=True)
        book.written = now
        moments.append(moment)
        assert moment >= now
    every = max(1, per * 1000 // count) / 1000
    for i, first in enumerate(moments):
        for j in range(i, len(moments)):
            assert j - i + 1 <= (moments[j] - first + 1) / every + burst + 1


def test_a_rate_survives_a_clock_that_is_set_back() -> None:
    """A moment that was reserved by a clock ahead by a year is not a year away."""
    limit = Limited(LimitKind.RATE, "l", "", 1, 1_000)
    year = 365 * 86_400_000
    book, _ = books.reserved(books.blank(limit), limit, year, wait=True)
    book.written = year
    _, moment = books.reserved(book, limit, 5_000, wait=True)
    assert moment <= 6_000


def test_a_throttle_takes_nothing_when_it_refuses() -> None:
    """What is refused moves no moment."""
    limit = Limited(LimitKind.THROTTLE, "l", "", 1, 1_000)
    book, _ = books.reserved(books.blank(limit), limit, 5_000, wait=False)
    same, moment = books.reserved(book, limit, 5_100, wait=False)
    assert same is book
    assert moment == 6_000


def test_a_throttle_lets_through_who_was() -> None:
    """Who comes again takes nothing more, until many others have come; nobody else gets through."""
    limit = Limited(LimitKind.THROTTLE, "l", "", 100, 1_000, 100)
    book, _ = books.reserved(books.blank(limit), limit, 5_000, wait=False, who="a")
    same, moment = books.reserved(book, limit, 5_000, wait=False, who="a")
    assert same is book
    assert moment == 5_000
    for number in range(books.LATELY):
        book, _ = books.reserved(book, limit, 5_000, wait=False, who=f"other {number}")
    assert len(book.lately) == books.LATELY
    assert books.reserved(book, limit, 5_000, wait=False, who="a")[0] is not book


@pytest.mark.parametrize("shares", [10, 10_000])
def test_a_book_stays_small(shares: int) -> None:
    """What it keeps of shares is bounded, however many there are."""
    book = books.blank(CONCURRENCY)
    for number in range(shares):
        book, _ = books.queued(book, f"tenant {number}")
    assert len(book.ahead) <= books.SHARES


@pytest.mark.parametrize(("key", "most"), [("look_up", 1_000), ("ü" * 400, 200)])
def test_a_book_has_room_for_its_holders(key: str, most: int) -> None:
    """However long their names are, more come in only while its item has room for them."""
    book = books.blank(Limited(LimitKind.CONCURRENCY, "l", "", 1_000))
    for number in range(1_000):
        if not books.is_free(book, 1_000):
            break
        who = Waiter(f"018bcfe5680000000000{number:04}", f"{key}.{number}")
        book = books.entered(book, who, "0123456789abcdef", 1_700_000_000_000)
    assert most <= len(book.holders)
    assert len(msgspec.json.encode(book)) < 380 * 1024
    assert books.is_free(book, 2_000) == (most == 1_000)
