"""Suspended instances in memory."""

from __future__ import annotations

from typing import cast

from rewake.engine.instances.cache import Cache
from rewake.records import Header
from rewake.replay.execution import Execution


class Instance:
    """An execution, as far as the cache knows one."""

    dropped = 0

    def drop(self) -> None:
        self.dropped += 1


def header(run: str, count: int = 1, mark: str = "m") -> Header:
    found = Header(run, "main", 0, seed=1, runtime=1)
    found.count, found.mark = count, mark
    return found


def made(cache: Cache, at: Header) -> Instance:
    instance = Instance()
    cache.keep(at, cast(Execution, instance))
    return instance


def test_an_instance_is_taken_once_by_the_header_it_was_kept_with() -> None:
    """It goes on from exactly where it was; the next to ask replays."""
    cache = Cache(2)
    instance = made(cache, header("a"))
    kept = cache.take("a")
    assert kept is not None
    assert kept.execution is cast(Execution, instance)
    assert kept.is_at(header("a"))
    assert cache.take("a") is None
    assert instance.dropped == 0


def test_an_instance_that_was_overtaken_is_behind() -> None:
    """Another count, or another writer's mark at the same count: it is not there yet."""
    cache = Cache(4)
    for other in (header("a", count=2), header("a", mark="n")):
        made(cache, header("a"))
        kept = cache.take("a")
        assert kept is not None
        assert not kept.is_at(other)


def test_the_one_kept_longest_goes_first() -> None:
    """The cache is bounded; what leaves it is dropped."""
    cache = Cache(2)
    first, second, third = (made(cache, header(run)) for run in "abc")
    assert (first.dropped, second.dropped, third.dropped) == (1, 0, 0)
    cache.clear()
    assert (first.dropped, second.dropped, third.dropped) == (1, 1, 1)


def test_a_cache_without_room_keeps_nothing() -> None:
    """With a size of 0 every resume is a replay."""
    instance = made(Cache(0), header("a"))
    assert instance.dropped == 1


def test_a_newer_instance_of_a_run_replaces_the_older() -> None:
    """A run has one instance at the most."""
    cache = Cache(4)
    old, new = made(cache, header("a")), made(cache, header("a", count=2))
    assert (old.dropped, new.dropped) == (1, 0)
    cache.drop("a")
    assert new.dropped == 1
