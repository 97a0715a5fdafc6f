"""Crashes and replays in an environment of `rewake.testing`."""

from __future__ import annotations

import warnings
from datetime import timedelta

import pytest

from rewake.errors import NonDeterminismError, UsageError
from rewake.testing import Environment
from rewake.testing.loop import VirtualLoop, for_ever
from tests.testing import shop


@pytest.fixture(autouse=True)
def _anew() -> None:
    shop.forget()


@pytest.mark.parametrize("replays", [True, False])
@pytest.mark.parametrize("before", [True, False])
def test_a_process_dies_at_each_commit(*, before: bool, replays: bool) -> None:
    """Killed at any commit, a run ends as it would have; only what was not committed is redone."""
    done, number = set[tuple[int, int]](), 1
    while True:
        shop.forget()
        with Environment(shop, replays=replays) as server:
            began = server.now
            server.crash(**{"before" if before else "after": number})
            assert server.start("order", {"number": 3}, id="o").result()[0] == "order 3"
            assert server.now - began < timedelta(minutes=1), "it was found again late"
            if len(server._world.processes) == 1:  # there were fewer commits
                break
            done.add((len(shop.noted), len(shop.charged)))
        number += 1
    assert number > 6
    assert done == ({(1, 1), (2, 1), (1, 2)} if before else {(1, 1)})


def test_a_process_dies_now() -> None:
    """What is under way when the process dies begins again, in another one."""
    with Environment(shop) as server:
        run = server.start(shop.trial, "ada")
        server.advance(13 * 86_400 + 300)  # in the middle of the task
        assert server.get(run.id)["state"] == "suspended"
        calls = server.fake(shop.remind)
        server.crash()

        assert run.result() == "ada, the trial ends tomorrow"
        assert calls == [{"user": "ada"}]


def test_a_body_that_differs_fails_the_test() -> None:
    """The first commit after which a replay would differ raises, with the place and the run."""
    with (
        pytest.raises(NonDeterminismError, match=r"step 2.*shop\.py") as told,
        Environment(shop) as server,
    ):
        server.start(shop.wild)
    assert "of wild, replayed from nothing after its commit" in told.value.__notes__[0]


def test_without_replays_it_is_as_it_would_be_warm() -> None:
    """Replays can be left out, for a test of what they would hide or slow down."""
    with Environment(shop, replays=False) as server:
        assert server.start(shop.wild).result() == 1
    assert len(shop.moods) == 1


@pytest.mark.parametrize("how", [{"before": 0}, {"after": -1}, {"before": 1, "after": 1}])
def test_a_crash_that_cannot_be(how: dict[str, int]) -> None:
    """A commit is counted from 1, and one is named."""
    with Environment(shop) as server, pytest.raises(UsageError, match="counted from 1"):
        server.crash(**how)


async def _is_cut_off() -> None:
    made = for_ever()  # and not awaited yet, as its process dies
    await for_ever()
    await made


def test_what_a_crash_cuts_off_warns_of_nothing() -> None:
    """Else a test that makes its warnings errors would fail by a crash that it asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = VirtualLoop()
        loop.create_task(_is_cut_off())
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
